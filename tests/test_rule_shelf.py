# SPDX-License-Identifier: AGPL-3.0-or-later
"""The active rules: those of orthanc.json before those made over REST."""

from dataclasses import replace

from builders import configured
from dicom_router.rules.rule import Origin, Rule
from dicom_router.rules.shelf import RuleShelf


def rule(name: str) -> Rule:
    section = {
        "Destinations": {"ARCHIVE": {"Modality": "ARCHIVE"}},
        "Rules": [{"Name": name, "Match": {}, "Send": ["ARCHIVE"]}],
    }
    (made,) = configured(section).rules
    return made


def kept(name: str, **changes: object) -> Rule:
    return replace(rule(name), origin=Origin.DATABASE, **changes)  # type: ignore[arg-type]


def test_rules_of_the_configuration_come_first_and_keep_their_name() -> None:
    shelf = RuleShelf([rule("a")])
    shelf.replace_kept([kept("b"), kept("a")])
    assert [(each.name, each.origin) for each in shelf.all()] == [("a", rule("a").origin), ("b", Origin.DATABASE)]


def test_its_triggers_are_those_of_the_rules_that_are_switched_on_now() -> None:
    shelf = RuleShelf([rule("a")])
    assert shelf.triggers() == {"StableStudy"}
    shelf.replace_kept([kept("b", trigger="NewInstance"), kept("c", trigger="StableSeries", enabled=False)])
    assert shelf.triggers() == {"StableStudy", "NewInstance"}
    shelf.replace_kept([])
    assert shelf.triggers() == {"StableStudy"}
