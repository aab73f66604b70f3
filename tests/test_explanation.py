# SPDX-License-Identifier: AGPL-3.0-or-later
from typing import Any

from dicom_router.routing.explanation import sentences
from dicom_router.store.journal import StoredDecision


def decision(
    number: int, level: str, resource: str, *verdicts: dict[str, Any], trigger: str = "StableStudy"
) -> StoredDecision:
    return StoredDecision(number, 1e9 + number, level, resource, trigger, [dict(verdict) for verdict in verdicts])


def verdict(rule: str, *, matched: bool, seen: str = "MR", **more: Any) -> dict[str, Any]:
    entry = {"Path": "Modality", "Operator": "Equals", "Expected": "CT", "Seen": [seen], "Matched": matched}
    told = {"Rule": rule, "Version": 3, "Origin": "Database", "Matched": matched, "Send": ["ARCHIVE"] * matched}
    return told | {"Failed": None if matched else entry, "Entries": [entry]} | more


def test_a_study_that_was_never_looked_at_is_told() -> None:
    assert sentences([]) == [
        "The router has not looked at this study: it is still being received, or came before the router did."
    ]


def test_a_study_that_no_rule_took_is_told_with_the_version_of_the_rule() -> None:
    assert sentences([decision(1, "Study", "s", verdict("all CT", matched=False))]) == [
        'Rule "all CT" did not match: Modality must be "CT", but it is "MR". (Version 3 of the rule.)',
        "No rule matched, so the router sent it nowhere.",
    ]


def test_only_the_last_decision_about_a_resource_counts() -> None:
    old, new = (decision(number, "Study", "s", verdict("all CT", matched=number == 2)) for number in (1, 2))
    assert sentences([new, old]) == ['Rule "all CT" matched and sends to ARCHIVE. (Version 3 of the rule.)']


def test_series_and_patient_are_told_after_the_study() -> None:
    told = sentences(
        [
            decision(3, "Patient", "p", verdict("patients", matched=True)),
            decision(2, "Series", "a", verdict("series", matched=True)),
            decision(1, "Study", "s", verdict("studies", matched=False)),
        ]
    )
    assert [line.split('"')[0] for line in told] == ["Rule ", "A series of it: Rule ", "Its patient: Rule "]


def test_of_many_instances_a_rule_tells_of_one_that_it_took() -> None:
    stored = [
        decision(number, "Instance", f"i{number}", verdict("at once", matched=number == 5))
        for number in range(9, 0, -1)
    ]
    (told,) = sentences(stored)
    assert told.startswith('An instance of it: Rule "at once" matched')


def test_what_becomes_of_a_copy_is_told() -> None:
    altered = {"RESEARCH": {"Anonymize": {"Keep": []}, "Transcode": "1.2.840.10008.1.2.4.80"}}
    told = verdict("copies", matched=True) | {"Send": ["ARCHIVE", "RESEARCH"], "Altered": altered}
    (line,) = sentences([decision(1, "Study", "s", told)])
    assert line.startswith('Rule "copies" matched and sends to ARCHIVE, RESEARCH (anonymized, as JPEG-LS Lossless).')


def test_what_was_tried_by_hand_hides_nothing_of_what_was_done() -> None:
    done = decision(1, "Study", "s", verdict("all CT", matched=True))
    tried = decision(2, "Study", "s", verdict("all MR", matched=False), trigger="ByHand")
    assert sentences([tried, done]) == [
        'Rule "all CT" matched and sends to ARCHIVE. (Version 3 of the rule.)',
        'Rule "all MR" did not match: Modality must be "CT", but it is "MR". (Version 3 of the rule.)',
        "None of the rules that were tried by hand matched.",
    ]
