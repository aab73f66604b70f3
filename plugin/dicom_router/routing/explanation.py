# SPDX-License-Identifier: AGPL-3.0-or-later
"""Stored decisions about a study in sentences: what was said last of the study, its series, instances and patient."""

from collections.abc import Iterator, Sequence
from typing import Any

from dicom_router.rules.wording import sentence
from dicom_router.store.journal import StoredDecision

BY_HAND = "ByHand"
NONE_BY_HAND = "None of the rules that were tried by hand matched."
NOWHERE = "No rule matched, so the router sent it nowhere."
_ORDER = {"Study": 0, "Series": 1, "Instance": 2, "Patient": 3}
_ABOUT = {"Series": "A series of it: ", "Instance": "An instance of it: ", "Patient": "Its patient: "}


def sentences(stored: Sequence[StoredDecision]) -> list[str]:
    """For people who do not read JSON; `stored` newest first."""
    if not stored:
        return ["The router has not looked at this study: it is still being received, or came before the router did."]
    by_hand = [each for each in stored if each.trigger == BY_HAND]
    by_themselves = [each for each in stored if each.trigger != BY_HAND]
    return list(dict.fromkeys([*_told(by_themselves or by_hand), *_told(by_hand)]))


def _told(stored: Sequence[StoredDecision]) -> list[str]:
    verdicts = [*_last(stored)]
    if stored and not verdicts:
        return ["There were no rules when the study was looked at."]
    told = [_ABOUT.get(level, "") + sentence(verdict) for level, verdict in verdicts]
    skipped = all(verdict.get("Skipped") for _level, verdict in verdicts)
    if not skipped and not any(verdict["Matched"] for _level, verdict in verdicts):
        told.append(NOWHERE if stored[0].trigger != BY_HAND else NONE_BY_HAND)
    return told


def _last(stored: Sequence[StoredDecision]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The verdicts of the last decision about each resource; of many instances, what a rule said of one."""
    seen: set[str] = set()
    of_instances: dict[object, dict[str, Any]] = {}
    for decision in sorted(stored, key=lambda each: _ORDER.get(each.level, 0)):
        if decision.resource_id in seen:
            continue
        seen.add(decision.resource_id)
        for verdict in decision.verdicts:
            level = str(verdict.get("Level", decision.level))
            if level != "Instance":
                yield level, verdict
            elif verdict["Matched"] or verdict["Rule"] not in of_instances:
                of_instances[verdict["Rule"]] = verdict
    for verdict in of_instances.values():
        yield "Instance", verdict
