# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the rules want sent, made into deliveries: to whom, what each destination still lacks, and when."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo

from dicom_router.alteration import kept_of
from dicom_router.config import effective
from dicom_router.deliveries.alternates import CHOICES, Alternates, by_key, choice_mark, is_choice_of
from dicom_router.deliveries.delivery import NewDelivery, Priority, Reason, Status
from dicom_router.deliveries.instance import Instance, content_mark
from dicom_router.deliveries.twins import with_twin
from dicom_router.destination import Destination, Kind, Late
from dicom_router.routing.outlook import Sending
from dicom_router.routing.results import Results
from dicom_router.rules.decision import Target
from dicom_router.rules.rule import Choice
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue
from dicom_router.store.turns import Turns
from dicom_router.studies.selection import filter_of
from dicom_router.studies.study import ResourceFacts

NOT_SENT = {Status.FAILED, Status.CANCELED}
NEVER_OPENS_RECHECK = 86400.0  # seconds; a schedule that never opens is looked at again the next day


@dataclass
class Plan:
    """A delivery to be made, or why there is none; other rules may have it do their work as well."""

    sending: Sending
    delivery: NewDelivery | None
    why_not: str = ""


class Planner:
    """Makes plans of sendings; writes nothing, except that `OneOf` takes a turn."""

    def __init__(
        self,
        ledger: Ledger,
        turns: Turns,
        queue: DeliveryQueue,
        destinations: Mapping[str, Destination],
        clock: Callable[[], float],
        zone: tzinfo,
        results: Results,
        *,
        patient_data: bool,
    ) -> None:
        self._ledger = ledger
        self._turns = turns
        self._queue = queue
        self._destinations = destinations
        self._clock = clock
        self._zone = zone
        self._results = results
        self._patient_data = patient_data

    def plans(self, sent: Sequence[Sending], priority: Priority | None = None, *, by_hand: bool = False) -> list[Plan]:
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
        before = late is not Late.NEW and self._sent_before(sending, name, sendable, accepted)
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

    def _sent_before(
        self, sending: Sending, destination: str, instances: Sequence[Instance], accepted: set[bytes]
    ) -> bool:
        """What the rule sends has gone there before, so that what is new of it is late."""
        facts, rule = sending.facts, sending.target.rule
        if facts.level in {"Series", "Instance"}:  # the rest of its study says nothing about it
            return any(instance.digest in accepted for instance in instances)
        if not accepted:
            return False
        studies = {instance.study_id for instance in instances}
        earlier = self._queue.sent_before({*studies, facts.owner_id, facts.patient_id}, [destination])
        # Another rule may have sent a part of it, such as its report.
        chosen = filter_of(rule, sending.target.send).to_options(self._zone).get("Instances")
        alike = [each for each in earlier if each.rule == rule.name or chosen_of(each.options) in (None, chosen)]
        return not earlier or any(  # without history the ledger alone knows
            each.resource_id in {facts.id, facts.patient_id} and not each.results_of and each.status not in NOT_SENT
            for each in alike
        )

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
            ended = each.status in NOT_SENT
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
            subject=facts.subject(patient_data=self._patient_data),
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
            opens = destination.opens(wanted, self._zone)
            if opens != wanted:
                return opens or now + NEVER_OPENS_RECHECK, Reason.WINDOW
        return (wanted, Reason.DELAY) if delay else (now, Reason.QUEUED)


def chosen_of(options: str) -> object:
    """The `Instances` of a delivery, None for all of them."""
    return json.loads(options).get("Instances")


def _taken_on(plans: Sequence[Plan], new: NewDelivery) -> bool:
    """These bring what `new` would, and now do in its stead what it would if it failed. False: they cannot."""
    bringing = {id(plan): (plan, plan.delivery) for plan in plans}.values()
    both = [(plan, delivery and with_twin(delivery, new)) for plan, delivery in bringing]
    if not all(delivery for _, delivery in both):
        return False
    for plan, delivery in both:
        plan.delivery = delivery
    return True
