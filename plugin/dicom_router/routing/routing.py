# SPDX-License-Identifier: AGPL-3.0-or-later
"""A settled study in, deliveries out: facts, the rules' decision, what each destination still lacks, one write."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from dicom_router.alteration import alteration_of
from dicom_router.config import effective
from dicom_router.deliveries.delivery import Delivery, NewDelivery, Priority, Reason, Subject
from dicom_router.deliveries.instance import Instance
from dicom_router.destination import Destination
from dicom_router.filing.names import mark_of
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.routing.outlook import (
    INSTEAD_OF,
    LEVEL_OF,
    Look,
    Sending,
    looks,
    privacy_first,
    sendings,
    shortened,
    trigger_of,
    verdicts_of,
)
from dicom_router.routing.plans import Plan, Planner
from dicom_router.routing.results import NoResults, Results
from dicom_router.rules.decision import Decision, Target
from dicom_router.rules.rule import Choice, Rule, Send
from dicom_router.store.journal import Journal, NewDecision, Position
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue
from dicom_router.store.turns import Turns
from dicom_router.studies.listings import Listings
from dicom_router.studies.selection import filter_of
from dicom_router.studies.study import ResourceFacts, exists

BACKFILL = "Backfill"  # the trigger of studies that were there before; they yield to fresh ones
COPY = "It is a modified copy of another study."
BY_HAND = "ByHand"  # somebody asks for it now


@dataclass(frozen=True)
class Routed:
    """What came of looking at a study."""

    deliveries: list[int]
    verdicts: list[dict[str, object]]
    seen: set[str]  # Orthanc's IDs of its instances
    found: bool = True  # False: Orthanc does not have it
    destinations: tuple[str, ...] = ()  # where it goes
    facts: ResourceFacts | None = None  # what it was, if it was found and is no copy


@dataclass(frozen=True)
class Asked:
    """What is looked at, and what asked for it; `position` is written with what follows."""

    facts: ResourceFacts
    trigger: str
    position: Position | None


class Routing:
    """Looks at studies."""

    def __init__(
        self,
        rest: OrthancRest,
        journal: Journal,
        ledger: Ledger,
        turns: Turns,
        queue: DeliveryQueue,
        listings: Listings,
        destinations: Mapping[str, Destination],
        rules: Callable[[], Sequence[Rule]],
        clock: Callable[[], float],
        zone: tzinfo,
        *,
        patient_data: bool = True,
        results: Results | None = None,
    ) -> None:
        self.rest = rest
        self._results = results or NoResults()
        self._journal = journal
        self._listings = listings
        self._rules = rules
        self._clock = clock
        self._zone = zone
        self._planner = Planner(
            ledger, turns, queue, destinations, clock, zone, self._results, patient_data=patient_data
        )
        self.patient_data = patient_data

    def look_at(
        self,
        resource_id: str,
        trigger: str,
        position: Position | None = None,
        only_rules: Sequence[str] | None = None,
        level: str = "",
    ) -> Routed:
        """Apply the rules for `trigger` (or those of `only_rules`) and write what follows. Raises OrthancError."""
        triggers = trigger_of(trigger)
        level = level or LEVEL_OF.get(INSTEAD_OF.get(trigger, trigger), "Study")
        facts = ResourceFacts(self.rest, resource_id, level, self._results.hidden)
        rules = self.rules_of(only_rules)
        asked = Asked(facts, trigger, position)
        try:
            if facts.is_copy():
                return self._nothing(asked, COPY, facts)
            if facts.hidden_ids and not facts.instance_ids:
                return self._nothing(asked, "It is the result of a process.", facts)
            found = looks(facts, rules, triggers, self.local(self._clock()))
            priority = Priority.LOW if trigger == BACKFILL else None
            plans = self._planner.plans(self.sendings(found), priority, by_hand=trigger == BY_HAND)
            return self._write(asked, found, plans)
        except OrthancError as problem:
            if not problem.not_found:
                raise
            if exists(self.rest, level, resource_id):  # a part alone is gone; what is left must be looked at again
                raise OrthancError(503, problem.code, "A part of it was deleted while it was looked at.") from problem
            return self._nothing(asked, "It was deleted from Orthanc before.", None)

    def rules_of(self, names: Sequence[str] | None) -> list[Rule]:
        """The rules of these names, in order; all of them for None."""
        return [rule for rule in self._rules() if names is None or rule.name in names]

    def planned(self, found: Sequence[Look]) -> set[str]:
        """Where something would be sent now. Raises OrthancError."""
        sent = self.sendings(found)
        # To plan for OneOf takes a turn; who that would be is of no interest here.
        turns = {each.target.send.label for each in sent if each.target.send.choice is Choice.ONE_OF and each.instances}
        plans = self._planner.plans([each for each in sent if each.target.send.choice is not Choice.ONE_OF])
        return turns | {plan.delivery.destination for plan in plans if plan.delivery is not None}

    def looks(self, facts: ResourceFacts, rules: Sequence[Rule] | None = None) -> list[Look]:
        """What the rules of now, or others, say of all that `facts` are about. Raises OrthancError."""
        every = trigger_of(BY_HAND)
        return looks(facts, self._rules() if rules is None else rules, every, self.local(self._clock()))

    def sendings(self, found: Sequence[Look]) -> list[Sending]:
        """What would be sent, whatever the destinations have already. Raises OrthancError."""
        now = self.local(self._clock())
        return privacy_first([sending for look in found for sending in sendings(look, now)])

    def verdicts(self, found: Sequence[Look], facts: ResourceFacts) -> list[dict[str, object]]:
        """What the rules said, as it is shown."""
        return shortened(verdicts_of(found, facts, patient_data=self.patient_data), facts)

    def local(self, at: float) -> datetime:
        """A time (epoch seconds) in the router's time zone."""
        return datetime.fromtimestamp(at, self._zone)

    def opens(self, destination: Destination, now: float) -> float | None:
        """When the destination's schedule is open next: `now`, later, or None for never."""
        return destination.opens(now, self._zone)

    def effective(self, destination: Destination, delivery: Delivery) -> Destination:
        """The destination with what the delivery's rule says differently."""
        options = json.loads(delivery.options)
        changed = effective(destination, options.get("Send", {}), options.get("Schedule"))
        chosen = options.get("Instances") or (delivery.rule if delivery.results_of else None)
        return replace(
            changed,
            unit=unit_of(delivery.level, delivery.resource_id, chosen),
            alteration=alteration_of(options, options.get("Send", {})),
            delivery=delivery.id,
        )

    def send_now(self, resource_id: str, destinations: Sequence[str], level: str = "Study") -> Routed:
        """Send a resource by hand, all of it, whatever the rules and schedules say. Raises OrthancError."""
        facts = ResourceFacts(self.rest, resource_id, level)
        subject = facts.subject(patient_data=self.patient_data)
        verdict: dict[str, object] = {"Rule": "", "Matched": True, "Send": list(destinations)}
        new = [self._by_hand(subject, name, facts.instances) for name in destinations]
        decision = NewDecision(level, resource_id, facts.owner_id, BY_HAND, [verdict])
        self._listings.keep(level, resource_id, facts.instances)
        made = self._journal.record(decision, new, None, self._clock())
        return Routed(made, [verdict], {instance.id for instance in facts.instances})

    def visible(self, delivery: Delivery, instances: Sequence[Instance]) -> list[Instance]:
        """Those of the instances that a delivery may bring: results go where they are meant to, and nowhere else."""
        ids = [instance.id for instance in instances]
        if delivery.results_of:
            kept = self._results.results(delivery.results_of)
            return [instance for instance in instances if instance.id in kept]
        left_out = self._results.hidden(ids)
        left_out |= self._results.made_by(delivery.destination, ids)
        return [instance for instance in instances if instance.id not in left_out]

    def after_process(self, run: Delivery, rule: Rule, sends: Sequence[Send]) -> list[NewDelivery]:
        """The deliveries that follow from a process, to where `sends` of its rule say. Raises OrthancError."""
        came_in = [each for each in sends if each.from_input]
        came_out = [each for each in sends if not each.from_input]
        facts = ResourceFacts(self.rest, run.resource_id, run.level, self._results.hidden)
        found = [self._follow(replace(rule, delay=0.0), each, facts, None) for each in came_in]
        results = self._results.results(run.id) if came_out else set()
        # `Instances` of the rule says what goes in; of what comes out a Send has its own.
        plain = {key: value for key, value in rule.source.items() if key != "Instances"}
        after = replace(rule, delay=0.0, instances=None, source=plain)
        for study_id in self._studies_of(results):
            made = ResourceFacts(self.rest, study_id)
            found += [self._follow(after, each, made, results) for each in came_out]
        # Who gets anonymised copies of the study learns nothing of it from a process either.
        anonymous = [each for each in self.sendings(self.looks(facts)) if each.anonymous]
        allowed = [each for each in privacy_first([*anonymous, *found]) if not each.anonymous and not each.why_not]
        plans = self._planner.plans(allowed)
        return [
            replace(plan.delivery, results_of=0 if plan.sending.target.send.from_input else run.id)
            for plan in plans
            if plan.delivery is not None
        ]

    def _follow(self, rule: Rule, send: Send, facts: ResourceFacts, only: set[str] | None) -> Sending:
        chosen = filter_of(rule, send).choose(facts, self.local(self._clock()))
        instances = [each for each in chosen if only is None or each.id in only]
        return Sending(Look(facts, Decision((), ())), Target(rule, send), facts, instances)

    def _studies_of(self, instance_ids: set[str]) -> list[str]:
        if not instance_ids:
            return []
        asked = {"Resources": sorted(instance_ids), "Level": "Instance", "Short": True}
        series = {row["ParentSeries"] for row in self.rest.ask("/tools/bulk-content", asked)}
        above = self.rest.ask("/tools/bulk-content", {"Resources": sorted(series), "Level": "Series", "Short": True})
        return sorted({row["ParentStudy"] for row in above})

    def _by_hand(self, subject: Subject, destination: str, instances: Sequence[Instance]) -> NewDelivery:
        size = sum(instance.size for instance in instances)
        now = self._clock()
        return NewDelivery(
            subject, destination, "", 0, Priority.URGENT, now, Reason.QUEUED, len(instances), size, renew=True
        )

    def _write(self, asked: Asked, found: Sequence[Look], plans: Sequence[Plan]) -> Routed:
        facts = asked.facts
        told = verdicts_of(found, facts, patient_data=self.patient_data)
        for look, verdicts in zip(found, told, strict=True):
            for verdict in verdicts:
                verdict["NotSent"] = [
                    {"Destination": plan.sending.target.send.label, "Why": plan.why_not}
                    for plan in plans
                    if plan.delivery is None
                    and plan.sending.look is look
                    and plan.sending.target.rule.name == verdict["Rule"]
                ]
        verdicts = shortened(told, facts)
        targets = [target for look in found for target in look.decision.targets]
        delete_after = _groups(targets) if any(each.rule.delete_after_send for each in targets) else []
        new = NewDecision(facts.level, facts.id, facts.owner_id, asked.trigger, verdicts, delete_after)
        deliveries = [plan.delivery for plan in plans if plan.delivery is not None]
        self._listings.forget(facts.level, facts.id)  # an older one may be there still
        for each in (plan.sending.facts for plan in plans if plan.delivery is not None):
            self._listings.keep(each.level, each.id, each.instances)
        made = self._journal.record(new, deliveries, asked.position, self._clock())
        seen = facts.all_ids
        where = tuple(each.destination for each in deliveries)
        return Routed(made, verdicts, seen, destinations=where, facts=facts)

    def _nothing(self, asked: Asked, why: str, facts: ResourceFacts | None) -> Routed:
        verdicts: list[dict[str, object]] = [{"Rule": "", "Matched": False, "Skipped": why}]
        owner = asked.facts.id if facts is None else facts.owner_id
        decision = NewDecision(asked.facts.level, asked.facts.id, owner, asked.trigger, verdicts)
        self._journal.record(decision, [], asked.position, self._clock())
        seen = facts.all_ids if facts else set()
        return Routed([], verdicts, seen, found=facts is not None)


def unit_of(level: str, resource_id: str, chosen: object) -> str:
    """What a file that holds all of a delivery is a file of; the same again when instances come late."""
    which = f" {mark_of(json.dumps(chosen))}" if chosen else ""
    return f"{level} {resource_id}{which}"


def _groups(targets: Sequence[Target]) -> list[list[str]]:
    """Of each group of destinations, one must have the study before it may be deleted."""
    return [list(target.send.members) for target in targets]
