# SPDX-License-Identifier: AGPL-3.0-or-later
"""All warnings about a list of rules."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from dicom_router.deliveries.delivery import Priority
from dicom_router.destination import Destination, Kind, Verify
from dicom_router.problems import Problem
from dicom_router.rules.index import is_indexed
from dicom_router.rules.match import Match
from dicom_router.rules.rule import Rule, Send
from dicom_router.rules.schedule import both, never_opens
from dicom_router.rules.warnings.holdable import unholdable
from dicom_router.rules.warnings.literals import (
    Case,
    Form,
    Formula,
    Literal,
    cases,
    conflict,
    follows,
    formula,
    possible,
)
from dicom_router.rules.warnings.sameness import what_it_does
from dicom_router.transfer_syntaxes import SYNTAXES

NOUNS = {Kind.MODALITY: "modality", Kind.PEER: "peer", Kind.DICOM_WEB: "DICOMweb server"}


@dataclass(frozen=True)
class Surroundings:
    """What the rules stand in. `known`: the names that Orthanc knows now, by kind, where it was asked for them."""

    destinations: Mapping[str, Destination]
    effective: Callable[[Destination, Mapping[str, object]], Destination]  # a destination with the options of a Send
    now: datetime
    known: Mapping[Kind, frozenset[str]] = field(default_factory=dict)
    plugins: frozenset[str] | None = None  # those that Orthanc has loaded, None when it was not asked


class _Considered:
    """A rule with its conditions as they are reasoned about."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    @cached_property
    def formula(self) -> Formula | Literal:
        return formula(self.rule.match, self.rule.trigger)

    @cached_property
    def cases(self) -> list[Case] | None:
        return cases(self.formula)

    @cached_property
    def possible(self) -> list[Case] | None:
        """None when they are too many, or when there are none at all."""
        return (possible(self.cases) or None) if self.cases is not None else None

    def sees_what(self, other: Rule) -> bool:
        """It matches by the same facts of a resource as the other: what the index tells does not depend on `Sample`."""
        same_facts = self.rule.sample_every is other.sample_every or all(map(is_indexed, self.rule.match.keys))
        return self.rule.trigger == other.trigger and same_facts


def rule_warnings(rules: Sequence[Rule], around: Surroundings) -> dict[str, list[Problem]]:
    """The warnings of each rule by its name; paths are below the rule."""
    told: dict[str, list[Problem]] = {}
    stops: list[_Considered] = []
    twins: dict[Hashable, str] = {}
    considered_rules = [_Considered(rule) for rule in rules if rule.enabled]
    for rule in rules:
        if not rule.enabled:
            told[rule.name] = []
            continue
        considered = next(each for each in considered_rules if each.rule is rule)
        told[rule.name] = [
            *_without_effect(rule),
            *_contradiction(considered),
            *_chooses_nothing(rule),
            *_shadowed(considered, stops),
            *_twin(considered, twins),
            *_of_values(rule),
            *_of_sample(rule),
            *_of_sends(considered, around),
            *_of_alteration(rule, around),
            *_beside_anonymised(considered, considered_rules),
        ]
        if rule.stop:
            stops.append(considered)
    return told


def _without_effect(rule: Rule) -> Iterator[Problem]:
    if not (rule.final_sends or rule.process or rule.stop):
        yield Problem("Send", "This rule does nothing: it names no destination, and has neither Process nor Stop.")


def _contradiction(considered: _Considered) -> Iterator[Problem]:
    why = _contradicts(considered.cases)
    if why:
        yield Problem("Match", f"This rule never matches: {why}.")


def _chooses_nothing(rule: Rule) -> Iterator[Problem]:
    """`Instances` asks each instance by itself."""
    for path, match in (("Instances", rule.instances), *_instances_of_sends(rule)):
        why = _contradicts(cases(formula(match, "NewInstance"))) if match is not None else ""
        if why:
            yield Problem(path, f"This never chooses an instance: {why}.")


def _contradicts(found: list[Case] | None) -> str:
    """Why none of the cases can be; empty where one may be, or where they are too many to look at."""
    if found is None:
        return ""
    conflicts = [conflict(case) for case in found]
    if any(each is None for each in conflicts):
        return ""
    if not conflicts:
        return "a None in it rules everything out"
    only = conflicts[0] if len(conflicts) == 1 else None
    if only is None:
        return "its conditions contradict each other"
    one, other = only
    return f"{one.path} can never hold" if one is other else f"{one.path} and {other.path} contradict each other"


def _shadowed(considered: _Considered, stops: Sequence[_Considered]) -> Iterator[Problem]:
    """Each way in which the rule can match makes an earlier rule match that says Stop."""
    if not considered.possible:
        return
    earlier = [stop for stop in stops if stop.sees_what(considered.rule)]
    names: dict[str, None] = {}
    for case in considered.possible:
        stop = next((each for each in earlier if follows(case, each.formula)), None)
        if stop is None:
            return
        names[stop.rule.name] = None
    quoted = ", ".join(f'"{name}"' for name in names)
    yield Problem(
        "Match", f"This rule is never looked at: whatever it matches, {quoted} before it takes, and says Stop."
    )


def _twin(considered: _Considered, twins: dict[Hashable, str]) -> Iterator[Problem]:
    rule = considered.rule
    same = twins.setdefault(what_it_does(rule, considered.cases), rule.name)
    if same != rule.name:
        yield Problem("", f'This rule does the same as "{same}".')


def _of_values(rule: Rule) -> Iterator[Problem]:
    for path, match in (("Match", rule.match), ("Instances", rule.instances), *_instances_of_sends(rule)):
        for told in unholdable(match.root) if match is not None else ():
            yield Problem(f"{path}.{told.path}", told.message)


def _of_sample(rule: Rule) -> Iterator[Problem]:
    """`Instances` chooses by what one instance of each series says, unless the rule asks for every one."""
    if rule.sample_every:
        return
    for path, match in (("Instances", rule.instances), *_instances_of_sends(rule)):
        keys = match.keys if match is not None else ()
        names = sorted(key.name for key in keys if key.level == "Instance" and not is_indexed(key))
        if names:
            message = (
                f"{', '.join(names)} is read from one instance of each series and holds for all of them; "
                'with "Sample": "Every" each instance is read.'
            )
            yield Problem(path, message)


def _instances_of_sends(rule: Rule) -> list[tuple[str, Match | None]]:
    return [(f"Send[{index}].Instances", send.instances) for index, send in enumerate(rule.final_sends)]


# --- destinations ----------------------------------------------------------------------------------------------------


def _of_sends(considered: _Considered, around: Surroundings) -> Iterator[Problem]:
    for index, send in enumerate(considered.rule.final_sends):
        path = f"Send[{index}]"
        for name in send.members:
            plain = around.destinations.get(name)
            if plain is not None:
                yield from _of_destination(considered, send, around.effective(plain, send.options), around, path)


def _of_destination(
    considered: _Considered, send: Send, destination: Destination, around: Surroundings, path: str
) -> Iterator[Problem]:
    rule, name = considered.rule, destination.name
    known = around.known.get(destination.kind)
    if known is not None and destination.target not in known:
        told = f'Orthanc does not know the {NOUNS[destination.kind]} "{destination.target}" of {name} now.'
        without = " Is its DICOMweb plugin loaded?" if destination.kind is Kind.DICOM_WEB and not known else ""
        yield Problem(path, told + without)
    returned = rule.process is None or send.from_input  # what a process makes of it goes anywhere
    if destination.aet and returned and _comes_from(considered, destination.aet):
        yield Problem(path, f"What came from {name} (AE title {destination.aet}) is not sent back there.")
    schedule = both(destination.schedule, rule.schedule) if rule.schedule else destination.schedule
    priority = send.options.get("Priority") or rule.priority or destination.priority
    if priority != Priority.URGENT and never_opens(schedule, around.now):
        yield Problem(path, f"The schedules of the rule and of {name} are never open at the same time.")
    if rule.delete_after_send and destination.verify is Verify.ACCEPTED:
        message = (
            f'DeleteAfterSend deletes what {name} has only accepted; with Verify "Counted" or "Committed" it is asked.'
        )
        yield Problem(path, message)


def _of_alteration(rule: Rule, around: Surroundings) -> Iterator[Problem]:
    for index, send in enumerate(rule.final_sends):
        made = rule.alteration(send)
        if made is None:
            continue
        syntax = SYNTAXES.get(made.transcode)
        if syntax is not None and syntax.needs_gdcm and around.plugins is not None and "gdcm" not in around.plugins:
            text = f"Orthanc encodes {syntax.name} with its GDCM plugin only, which is not loaded."
            yield Problem(f"Send[{index}].Transcode", text)
        if rule.delete_after_send and (made.method is not None or made.lossy):
            text = f"DeleteAfterSend deletes the original; {send.label} gets only an altered copy of it."
            yield Problem(f"Send[{index}]", text)


def _beside_anonymised(considered: _Considered, others: Sequence[_Considered]) -> Iterator[Problem]:
    """Another rule sends anonymised copies to where this one sends originals."""
    rule = considered.rule
    for index, send in enumerate(rule.final_sends):
        made = rule.alteration(send)
        if made is not None and made.anonymous:
            continue
        for other in others:
            shared = [name for name in send.members if name in _anonymised_by(other.rule)]
            if shared and _together(considered, other):
                text = (
                    f'"{other.rule.name}" sends anonymized copies to {shared[0]}: of what both rules match, '
                    "it gets no originals. What another trigger sends there, it does get."
                )
                yield Problem(f"Send[{index}]", text)


def _anonymised_by(rule: Rule) -> frozenset[str]:
    anonymous = [send for send in rule.final_sends if (made := rule.alteration(send)) is not None and made.anonymous]
    return frozenset(name for send in anonymous for name in send.members)


def _together(one: _Considered, other: _Considered) -> bool:
    """Both may match the same; also where that cannot be told."""
    if one.possible is None or other.possible is None:
        return True
    return any(conflict((*mine, *theirs)) is None for mine in one.possible for theirs in other.possible)


def _comes_from(considered: _Considered, aet: str) -> bool:
    """The rule asks for what this AE title sent."""
    return any(
        literal.key.name == "RemoteAET"
        and literal.form in (Form.SOME, Form.EVERY)
        and not literal.region.everything
        and literal.region.has(aet)
        for case in considered.possible or []
        for literal in case
    )
