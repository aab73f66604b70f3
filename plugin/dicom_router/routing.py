# SPDX-License-Identifier: AGPL-3.0-or-later
"""A settled study in, deliveries out: facts, the rules' decision, what each destination still lacks, one write."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Protocol

from dicom_router.alteration import alteration_of, kept_of
from dicom_router.config import effective
from dicom_router.deliveries.alternates import CHOICES, Alternates, by_key, choice_mark, is_choice_of
from dicom_router.deliveries.delivery import Delivery, NewDelivery, Priority, Reason, Status, Subject
from dicom_router.deliveries.instance import Instance, content_mark
from dicom_router.deliveries.twins import with_twin
from dicom_router.destination import Destination, Kind, Late
from dicom_router.filing.names import mark_of
from dicom_router.listings import Listings
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.outlook import (
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
from dicom_router.rules.decision import Decision, Target
from dicom_router.rules.rule import Choice, Rule, Send
from dicom_router.selection import filter_of
from dicom_router.store.journal import Journal, NewDecision, Position
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue
from dicom_router.store.turns import Turns
from dicom_router.study import ResourceFacts

BACKFILL = "Backfill"  # the trigger of studies that were there before; they yield to fresh ones
COPY = "It is a modified copy of another study."
BY_HAND = "ByHand"  # somebody asks for it now
NEVER_OPENS_RECHECK = 86400.0  # seconds; a schedule that never opens is looked at again the next day


@dataclass(frozen=True)
class Routed:
    """What came of looking at a study."""

    deliveries: list[int]
    verdicts: list[dict[str, object]]
    seen: set[str]  # Orthanc's IDs of its instances
    found: bool = True  # False: Orthanc does not have it
    destinations: tuple[str, ...] = ()  # where it goes
    facts: ResourceFacts | None = None  # what it was, if it was found and is no copy


@dataclass
class Plan:
    """A delivery to be made, or why there is none; other rules may have it do their work as well."""

    sending: Sending
    delivery: NewDelivery | None
    why_not: str = ""


@dataclass(frozen=True)
class Asked:
    """What is looked at, and what asked for it; `position` is written with what follows."""

    facts: ResourceFacts
    trigger: str
    position: Position | None


class Results(Protocol):
    """What came out of processes, by Orthanc's IDs of the instances."""

    def hidden(self, instance_ids: Collection[str]) -> set[str]:
        """Those among these that no rule looks at."""

    def made_by(self, maker: str, instance_ids: Collection[str]) -> set[str]:
        """Those among these that came out of this process."""

    def results(self, run: int) -> set[str]:
        """All that came out of one run."""

    def failed_with(self, process: str, study_id: str, content: str) -> bool:
        """Whether a run has failed on just these instances."""


class NoResults:
    """There are no processes."""

    def hidden(self, instance_ids: Collection[str]) -> set[str]:  # noqa: ARG002
        """None."""
        return set()

    def made_by(self, maker: str, instance_ids: Collection[str]) -> set[str]:  # noqa: ARG002
        """None."""
        return set()

    def results(self, run: int) -> set[str]:  # noqa: ARG002
        """None."""
        return set()

    def failed_with(self, process: str, study_id: str, content: str) -> bool:  # noqa: ARG002
        """None has."""
        return False


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
        self._ledger = ledger
        self._turns = turns
        self._queue = queue
        self._listings = listings
        self._destinations = destinations
        self._rules = rules
        self._clock = clock
        self._zone = zone
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
            plans = self._plans(self.sendings(found), priority, by_hand=trigger == BY_HAND)
            return self._write(asked, found, plans)
        except OrthancError as problem:
            if not problem.not_found:
                raise
            return self._nothing(asked, "It was deleted from Orthanc before.", None)

    def rules_of(self, names: Sequence[str] | None) -> list[Rule]:
        """The rules of these names, in order; all of them for None."""
        return [rule for rule in self._rules() if names is None or rule.name in names]

    def planned(self, found: Sequence[Look]) -> set[str]:
        """Where something would be sent now. Raises OrthancError."""
        sent = self.sendings(found)
        # To plan for OneOf takes a turn; who that would be is of no interest here.
        turns = {each.target.send.label for each in sent if each.target.send.choice is Choice.ONE_OF and each.instances}
        plans = self._plans([each for each in sent if each.target.send.choice is not Choice.ONE_OF])
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
        moment = self.local(now)
        opening = destination.schedule.next_open(moment)
        if opening is None:
            return None
        # Compared before it is a float again: a datetime is rounded to microseconds, mostly away from `now`.
        return now if opening <= moment else opening.timestamp()

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
        plans = self._plans(allowed)
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

    def _plans(self, sent: Sequence[Sending], priority: Priority | None = None, *, by_hand: bool = False) -> list[Plan]:
        """A destination gets an instance once, however many rules send it there."""
        planned: dict[str, dict[str, Plan]] = {}  # destination -> instance -> what brings it
        plans: list[Plan] = []
        for sending in sent:
            if sending.why_not:
                plans.append(Plan(sending, None, sending.why_not))
                continue
            chosen = self._choose(sending.target, sending.facts)
            made = [self._plan(sending, name, alternates, planned, priority) for name, alternates in chosen]
            plans += [plan for plan in made if plan.delivery is not None] or made[-1:]
        return plans if by_hand else [self._unless_it_failed(plan) for plan in plans]

    def _unless_it_failed(self, plan: Plan) -> Plan:
        """A look, for which the results of a failed run are reason enough, does not run its process again."""
        new = plan.delivery
        if new is None or self._destinations[new.destination].kind is not Kind.PROCESS:
            return plan
        if not self._results.failed_with(new.destination, new.subject.study_id, new.content):
            return plan
        return Plan(plan.sending, None, "The process has failed with all of it; it is run again by hand.")

    def _plan(
        self,
        sending: Sending,
        name: str,
        alternates: Alternates | None,
        planned: dict[str, dict[str, Plan]],
        priority: Priority | None,
    ) -> Plan:
        target, instances = sending.target, sending.instances
        destination = self._destinations[name]
        sendable = [each for each in instances if not destination.gave(each)]
        if destination.kind is Kind.PROCESS:
            own = self._results.made_by(name, [each.id for each in sendable])
            sendable = [each for each in sendable if each.id not in own]
        if not sendable:
            return Plan(sending, None, "It came from there.")
        late = effective(destination, target.send.options).late
        accepted, known = self._known(sendable, name)
        unsent = [instance for instance in sendable if instance.digest not in known]
        if not unsent:
            return Plan(sending, None, "It has all of it already.")
        before = bool(accepted)
        if sending.facts.level in {"Series", "Instance"}:  # the rest of its study says nothing about it
            before = any(instance.digest in accepted for instance in sendable)
        if before and late is Late.NEVER:
            return Plan(sending, None, 'It was sent before, and Late is "Never".')
        renew = before and late is Late.ALL
        new = self._new(sending, destination, sendable if renew else unsent, priority, renew=renew)
        new = replace(new, content=content_mark(sendable))
        if alternates is not None:
            failover_at = new.due_at + alternates.after
            new = replace(new, alternates=alternates.to_text(), failover_at=failover_at)
        plan = Plan(sending, new)
        others = planned.setdefault(name, {})
        taken = [others[each.id] for each in unsent if each.id in others]
        if len(taken) == len(unsent) and _taken_on(taken, new):
            return Plan(sending, None, f'The rule "{taken[0].sending.target.rule.name}" sends it there already.')
        others |= {each.id: plan for each in unsent if each.id not in others}
        return plan

    def _known(self, instances: Sequence[Instance], destination: str) -> tuple[set[bytes], set[bytes]]:
        """Of the studies of these instances: what the destination has accepted; and that with what it refused."""
        accepted: set[bytes] = set()
        refused: set[bytes] = set()
        for study_id in {instance.study_id for instance in instances}:
            accepted |= self._ledger.accepted(study_id, destination)
            refused |= self._ledger.refused(study_id, destination)
        return accepted, accepted | refused

    def _choose(self, target: Target, facts: ResourceFacts) -> list[tuple[str, Alternates | None]]:
        """The destination among the members, and who stands in for it. A study stays where it has gone before.

        With `AndWhenBack` also the members that wait for it, or have got it once they were back, before that one.
        """
        send = target.send
        if send.choice is Choice.ONLY:
            return [(send.members[0], None)]
        before = self._where_before(target, facts)
        if send.choice is Choice.FIRST_OF:
            first = before[-1][0] if before else send.members[0]
            also = [name for name, ended in before[:-1] if send.and_when_back and not ended]
            others = tuple(name for name in send.members if name != first and name not in also)
            alternates = Alternates(others, send.after, send.and_when_back) if others else None
            return [*((name, None) for name in also), (first, alternates)]
        if before:
            return [(before[-1][0], None)]
        if send.by_patient:
            return [(by_key(send.members, facts.patient_id), None)]
        return [(self._turns.next(send.members), None)]

    def _where_before(self, target: Target, facts: ResourceFacts) -> list[tuple[str, bool]]:
        """The members that this very Send has the study on its way to, or gone to; the one it chose last is last.

        Beside each, whether its delivery ended without all of it. What others sent there is no choice of this Send.
        """
        members, mark = target.send.members, choice_mark(target.rule.name, target.send.label)
        study_id = facts.instances[0].study_id
        sent = self._queue.sent_before({study_id, facts.owner_id, facts.patient_id}, members)
        canceled = {each.id for each in sent if each.status is Status.CANCELED}
        found: dict[str, bool] = {}
        for each in sent:
            by_hand = each.resend_of is not None and each.resend_of not in canceled  # it is there as well; not moved
            if by_hand or not is_choice_of(each.options, mark):
                continue
            ended = each.status in {Status.FAILED, Status.CANCELED}
            if not ended or self._ledger.accepted(study_id, each.destination):
                found.pop(each.destination, None)
                found[each.destination] = ended
        if not found:  # the history may have been forgotten since; then nothing but the ledger knows of it
            told = {each.destination for each in sent}
            left = [name for name in members if name not in told]
            found = {name: False for name in left if self._ledger.accepted(study_id, name)}
            return list(reversed(found.items()))
        return list(found.items())

    def _new(
        self,
        sending: Sending,
        plain: Destination,
        instances: Sequence[Instance],
        priority: Priority | None,
        *,
        renew: bool,
    ) -> NewDelivery:
        target, facts = sending.target, sending.facts
        rule, now = target.rule, self._clock()
        # A process runs at once; what follows from it waits for the rule's windows.
        schedule = rule.source.get("Schedule") if plain.kind is not Kind.PROCESS else None
        destination = effective(plain, target.send.options, schedule)
        own_priority = target.send.options.get("Priority")
        wanted = Priority(str(own_priority)) if own_priority else rule.priority or destination.priority
        priority = priority or wanted
        due, reason = self._due(destination, priority, now, rule.delay)
        kept = filter_of(rule, target.send).to_options(self._zone)
        options: dict[str, object] = {"Send": dict(target.send.options), "Schedule": schedule}
        if target.send.choice is not Choice.ONLY:
            options[CHOICES] = [choice_mark(rule.name, target.send.label)]
        return NewDelivery(
            subject=facts.subject(patient_data=self.patient_data),
            destination=plain.name,
            rule=rule.name,
            rule_version=rule.version,
            priority=priority,
            due_at=due,
            reason=reason,
            instances_count=len(instances),
            bytes=sum(instance.size for instance in instances),
            options=json.dumps(options | kept_of(rule.source) | kept),
            renew=renew,
        )

    def _due(self, destination: Destination, priority: Priority, now: float, delay: float) -> tuple[float, Reason]:
        wanted = now + delay
        if priority is not Priority.URGENT:
            opens = self.opens(destination, wanted)
            if opens != wanted:
                return opens or now + NEVER_OPENS_RECHECK, Reason.WINDOW
        return (wanted, Reason.DELAY) if delay else (now, Reason.QUEUED)

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
        self._listings.keep(facts.level, facts.id, facts.instances)
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


def _taken_on(plans: Sequence[Plan], new: NewDelivery) -> bool:
    """These bring what `new` would, and now do in its stead what it would if it failed. False: they cannot."""
    bringing = {id(plan): (plan, plan.delivery) for plan in plans}.values()
    both = [(plan, delivery and with_twin(delivery, new)) for plan, delivery in bringing]
    if not all(delivery for _, delivery in both):
        return False
    for plan, delivery in both:
        plan.delivery = delivery
    return True


def unit_of(level: str, resource_id: str, chosen: object) -> str:
    """What a file that holds all of a delivery is a file of; the same again when instances come late."""
    which = f" {mark_of(json.dumps(chosen))}" if chosen else ""
    return f"{level} {resource_id}{which}"


def _groups(targets: Sequence[Target]) -> list[list[str]]:
    """Of each group of destinations, one must have the study before it may be deleted."""
    return [list(target.send.members) for target in targets]
