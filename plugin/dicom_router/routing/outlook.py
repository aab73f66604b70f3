# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the rules make of a resource and of those around it: the same for routing, for a preview and for an explanation.

A rule looks at the resources that its trigger brings, and sends those of its level. Seen from a study, a rule for
series looks at each of its series, and one for patients at its patient.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from dicom_router.deliveries.instance import Instance
from dicom_router.rules.decision import Decision, Target, decide
from dicom_router.rules.privacy import without_patient
from dicom_router.rules.rule import Choice, Rule
from dicom_router.studies.selection import filter_of
from dicom_router.studies.study import ResourceFacts

LEVEL_OF: Final = {
    "NewInstance": "Instance",
    "StableSeries": "Series",
    "StableStudy": "Study",
    "StablePatient": "Patient",
}
# Our own timer looks where Orthanc's event got lost.
INSTEAD_OF: Final = {"QuietSeries": "StableSeries", "Quiet": "StableStudy", "QuietPatient": "StablePatient"}


@dataclass(frozen=True)
class Look:
    """The decision about one resource."""

    facts: ResourceFacts
    decision: Decision


@dataclass(frozen=True)
class Sending:
    """Instances of one resource that a rule sends somewhere."""

    look: Look
    target: Target
    facts: ResourceFacts  # of what is sent
    instances: list[Instance]
    instead: str = ""  # the rule that sends there anonymised, so that this is not sent

    @property
    def why_not(self) -> str:
        """Why nothing of it is sent, whatever the destination has; empty where something is."""
        if self.instead:
            return f'The rule "{self.instead}" sends anonymized copies there.'
        return "" if self.instances else "None of its instances is one that the rule sends."

    @property
    def anonymous(self) -> bool:
        """The destination must not learn whose it is."""
        made = self.target.rule.alteration(self.target.send)
        return made is not None and made.anonymous


def trigger_of(trigger: str) -> Collection[str]:
    """The triggers of the rules that are looked at; all of them for what is asked for by hand."""
    own = INSTEAD_OF.get(trigger, trigger)
    return (own,) if own in LEVEL_OF else tuple(LEVEL_OF)


def looks(facts: ResourceFacts, rules: Sequence[Rule], triggers: Collection[str], now: datetime) -> list[Look]:
    """One for each resource at or around `facts` that a rule with one of `triggers` is about; raises OrthancError.

    The resource itself is always looked at, also when there are no rules for it.
    """
    found = []
    for trigger, level in LEVEL_OF.items():
        mine = [rule for rule in rules if rule.trigger == trigger]
        if trigger in triggers and (mine or level == facts.level):
            found += [Look(each, decide(mine, each, now)) for each in facts.relatives(level)]
    return found


def sendings(look: Look, now: datetime) -> Iterator[Sending]:
    """What follows from a decision, before it is known what the destinations have; raises OrthancError."""
    for target in look.decision.targets:
        for unit in look.facts.relatives(target.rule.level):
            chosen = filter_of(target.rule, target.send).choose(unit, now)
            yield Sending(look, target, unit, chosen)


def privacy_first(sent: Sequence[Sending]) -> list[Sending]:
    """Who gets an anonymised copy gets no original beside it, whichever rule comes first. Anonymised ones lead."""
    first = [each for each in sent if each.anonymous]
    rules = {name: each.target.rule.name for each in first if each.instances for name in each.target.send.members}
    return [*first, *(_kept_from(each, rules) for each in sent if not each.anonymous)]


def _kept_from(sending: Sending, anonymised: Mapping[str, str]) -> Sending:
    """The same for those members alone that get no anonymised copies; `anonymised`: their names, and whose rule."""
    target, members = sending.target, sending.target.send.members
    left = tuple(name for name in members if name not in anonymised)
    if left == members:
        return sending
    if not left:
        return replace(sending, instead=anonymised[members[0]])
    send = replace(target.send, members=left, choice=target.send.choice if len(left) > 1 else Choice.ONLY)
    return replace(sending, target=replace(target, send=send))


def verdicts_of(found: Sequence[Look], root: ResourceFacts, *, patient_data: bool) -> list[list[dict[str, object]]]:
    """What each rule said in each look, as REST and the stored decisions show it.

    Of many instances seen from above, a rule tells of one: the first that it matches, else the first.
    """
    told = []
    for look in found:
        verdicts = [each.to_json() for each in look.decision.verdicts]
        if look.facts.id != root.id:
            place = {"Level": look.facts.level, "ResourceID": look.facts.id}
            verdicts = [place | verdict for verdict in verdicts]
        told.append(verdicts if patient_data else [without_patient(verdict) for verdict in verdicts])
    return told


def shortened(told: Sequence[Sequence[dict[str, object]]], root: ResourceFacts) -> list[dict[str, object]]:
    """The verdicts that are worth telling, in one list."""
    kept: list[dict[str, object]] = []
    of_instances: dict[object, dict[str, object]] = {}
    for verdict in (each for verdicts in told for each in verdicts):
        if root.level == "Instance" or verdict.get("Level") != "Instance":
            kept.append(verdict)
        elif verdict["Rule"] not in of_instances or (
            verdict["Matched"] and not of_instances[verdict["Rule"]]["Matched"]
        ):
            of_instances[verdict["Rule"]] = verdict
    return [*kept, *of_instances.values()]
