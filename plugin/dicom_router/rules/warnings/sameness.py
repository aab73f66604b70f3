# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a rule does, so that two which say it in other words can be found equal."""

import json
from collections.abc import Hashable, Mapping

from dicom_router.rules.match import Match
from dicom_router.rules.rule import Rule, Send
from dicom_router.rules.warnings.literals import Case, cases, formula, same_cases

# Two rules that differ in these alone do the same, or what they say is compared by its meaning below.
_WORDS = frozenset({"Name", "Description", "Tests"})
_BY_MEANING = frozenset(
    {"Enabled", "Trigger", "Level", "Match", "Sample", "Instances", "Send", "Schedule", "Delay", "Priority", "Stop"}
    | {"DeleteAfterSend", "Process", "Reroute"}
)
_OF_SEND = frozenset({"To", "FirstOf", "OneOf", "By", "After", "AndWhenBack", "Instances", "When", "From"})


def what_it_does(rule: Rule, found: list[Case] | None) -> Hashable:
    """Equal for rules that surely do the same; `found` are the cases of its match."""
    process = rule.process
    return (
        *(rule.trigger, rule.level, rule.sample_every, rule.stop, rule.delete_after_send),
        *(repr(rule.schedule), rule.delay, rule.priority),
        same_cases(found) if found is not None else _written(rule.source.get("Match")),
        _choice(rule.instances, rule.source.get("Instances")),
        (process.command, process.timeout, process.reroute) if process else None,
        _sends(rule.final_sends),
        _others(rule.source, _WORDS | _BY_MEANING),
    )


def _choice(match: Match | None, written: object) -> Hashable:
    if match is None:
        return None
    found = same_cases(cases(formula(match, "NewInstance")))
    return _written(written) if found is None else found


def _sends(sends: tuple[Send, ...]) -> Hashable:
    """Their order says nothing, unless a destination is named twice: then the first entry has it."""
    told = tuple(_send(send) for send in sends)
    members = [name for send in sends for name in send.members]
    return frozenset(told) if len(set(members)) == len(members) else told


def _send(send: Send) -> Hashable:
    return (
        *(send.choice, send.members, send.by_patient, send.after, send.and_when_back, send.from_input),
        send.when.pattern if send.when else None,
        _choice(send.instances, send.options.get("Instances")),
        _others(send.options, _OF_SEND, empty=True),
    )


def _others(said: Mapping[str, object], known: frozenset[str], *, empty: bool = False) -> str:
    """What is compared as it is written; what is empty is what it is by default, `empty` where that may differ."""
    return _written({key: value for key, value in said.items() if key not in known and (value or empty)})


def _written(what: object) -> str:
    return json.dumps(what, sort_keys=True, default=str)
