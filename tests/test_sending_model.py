# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queue and ledger together: two Orthancs send the same studies, die and stand still at any moment.

The machine does what the dispatcher does, step by step, so that a step can be left out by a death. Its `there` is what
the destination really has.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from peewee import Database

from builders import ARCHIVE, BROKEN, NOW, emptied, found, instance, new_delivery
from conftest import OpenDatabase
from dicom_router.deliveries.delivery import FINAL, Delivery, Status
from dicom_router.deliveries.instance import Instance
from dicom_router.dispatch.recovery import take_over
from dicom_router.store.ledger import split
from dicom_router.store.queue import LEASE_SECONDS
from dicom_router.store.schema import Attempt
from dicom_router.store.schema import Delivery as DeliveryRow
from dicom_router.store.schema import Ledger as LedgerRow
from dicom_router.store.store import Store
from dicom_router.transports.transport import JobReport, JobState, Transport

OWNERS = ("here", "there")
STUDIES = ("s1", "s2")
CHUNK = 3
RENEW_SECONDS = 10.0


@dataclass
class Job:
    """A job of one Orthanc; it sends its instances in order."""

    id: str
    instances: list[Instance]
    sent: int = 0
    canceled: bool = False

    @property
    def over(self) -> bool:
        return self.canceled or self.sent == len(self.instances)


@dataclass
class Chunk:
    """What the owner remembers of one."""

    ledger_id: int
    instances: list[Instance]
    job: Job | None = None


@dataclass
class Sending:
    """An owner's own memory of an attempt."""

    delivery: Delivery
    lease_until: float
    listed: int = 0
    pending: list[Instance] = field(default_factory=list)
    sent: int = 0
    chunk: Chunk | None = None


@dataclass
class Owner:
    """One Orthanc: what it has on disk is the store, all else is lost when it dies."""

    name: str
    store: Store
    jobs: dict[str, Job] = field(default_factory=dict)
    sendings: list[Sending] = field(default_factory=list)
    alive: bool = True

    # As a transport, for what takes over

    def cancel(self, job_id: str) -> None:
        if job_id in self.jobs:
            self.jobs[job_id].canceled = True

    def report(self, job_id: str, count: int) -> JobReport:
        job = self.jobs.get(job_id)
        if job is None:
            return JobReport(JobState.GONE, 0)
        assert count == len(job.instances)
        return JobReport(JobState.SUCCESS if job.sent == count else JobState.FAILURE, job.sent, BROKEN)


class SendingMachine(RuleBasedStateMachine):
    """Two Orthancs, one database, one destination."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database

    @initialize()
    def open(self) -> None:
        emptied(self.database)
        self.database.connect(reuse_if_open=True)
        self.now = NOW
        self.owners = {name: Owner(name, Store(self.database, name, lambda: self.now)) for name in OWNERS}
        self.held: dict[str, list[Instance]] = {study: [] for study in STUDIES}  # in Orthanc's index
        self.there: Counter[bytes] = Counter()  # at the destination
        self.enqueued: set[int] = set()
        self.ended: dict[int, Status] = {}
        self.deaths = 0
        self.numbers = 0

    def teardown(self) -> None:
        if hasattr(self, "owners"):
            self.all_ends_well()
        self.database.close()

    # What happens outside

    @rule(study=st.sampled_from(STUDIES), count=st.integers(1, 5), owner=st.sampled_from(OWNERS))
    def images_arrive_and_are_routed(self, study: str, count: int, owner: str) -> None:
        for _ in range(count):
            self.numbers += 1
            self.held[study].append(instance(self.numbers, study))
        made = self.owners[owner].store.queue.enqueue(new_delivery(study, due_at=self.now), self.now)
        if made is not None:
            self.enqueued.add(made)

    @rule(seconds=st.sampled_from([1.0, RENEW_SECONDS, LEASE_SECONDS + 1]), awake=st.sets(st.sampled_from(OWNERS)))
    def time_passes(self, seconds: float, awake: set[str]) -> None:
        """Who is not `awake` stands still: it renews no lease."""
        self.time_passes_for(seconds, awake)

    def time_passes_for(self, seconds: float, awake: set[str]) -> None:
        passed = 0.0
        while passed < seconds:
            passed += min(RENEW_SECONDS, seconds)
            self.now += min(RENEW_SECONDS, seconds)
            for name in sorted(awake):
                self.renew(self.owners[name])

    def renew(self, owner: Owner) -> None:
        """As the dispatcher does: what another one has taken over is dropped."""
        if not owner.alive or not owner.sendings:
            return
        ours = owner.store.queue.renew_leases([each.delivery.lease for each in owner.sendings], self.now)
        for sending in list(owner.sendings):
            if sending.delivery.lease in ours:
                sending.lease_until = self.now + LEASE_SECONDS
            else:
                if sending.chunk is not None and sending.chunk.job is not None:
                    owner.cancel(sending.chunk.job.id)
                    owner.store.ledger.close_chunk(sending.chunk.ledger_id, sending.chunk.job.sent)
                owner.sendings.remove(sending)

    @rule(owner=st.sampled_from(OWNERS), at_once=st.booleans())
    def dies(self, owner: str, at_once: bool) -> None:
        """Its memory and its jobs are gone. `at_once`: it starts again before anything else happens."""
        gone = self.owners[owner]
        gone.alive = False
        gone.jobs.clear()
        gone.sendings.clear()
        self.deaths += 1
        if at_once:
            self.starts(owner)

    @rule(owner=st.sampled_from(OWNERS))
    def starts(self, owner: str) -> None:
        if self.owners[owner].alive:
            return
        self.owners[owner] = Owner(owner, Store(self.database, owner, lambda: self.now))
        self.take_over(owner, restarted=True)

    @rule(owner=st.sampled_from(OWNERS), works_on=st.booleans())
    def stands_still_until_the_other_sends_its_studies(self, owner: str, works_on: bool) -> None:
        """`works_on`: it has not noticed, and looks at its jobs and ends its attempts as if nothing had been."""
        (other,) = set(OWNERS) - {owner}
        self.time_passes_for(LEASE_SECONDS + 1, {other})
        self.take_over(other, restarted=False)
        for _ in STUDIES:
            self.claims(other)
        if works_on:
            self.works(owner, 1)

    @rule(owner=st.sampled_from(OWNERS))
    def looks_for_what_a_dead_one_left(self, owner: str) -> None:
        self.take_over(owner, restarted=False)

    def take_over(self, name: str, *, restarted: bool) -> None:
        owner = self.owners[name]
        if owner.alive:
            transport = cast(Transport, owner)
            store = owner.store
            take_over(store.queue, store.ledger, transport, self.now, lambda _: None, restarted=restarted)

    # What a living one does

    @rule(owner=st.sampled_from(OWNERS))
    def claims(self, owner: str) -> None:
        here = self.owners[owner]
        if not here.alive:
            return
        self.numbers += 1
        here.store.queue.wake_due(self.now)
        delivery = here.store.queue.claim(ARCHIVE, f"lease-{self.numbers}", self.now)
        if delivery is None:
            return
        instances = list(self.held[delivery.study_id])
        known = here.store.ledger.accepted(delivery.study_id, ARCHIVE)
        pending = [each for each in instances if each.digest not in known]
        sending = Sending(delivery, self.now + LEASE_SECONDS, len(instances), pending, len(instances) - len(pending))
        here.store.queue.listed(delivery, len(instances), 0, "")
        here.sendings.append(sending)

    @rule(owner=st.sampled_from(OWNERS), submitted=st.booleans())
    def hands_a_chunk_to_orthanc(self, owner: str, submitted: bool) -> None:
        """Not `submitted`: Orthanc has made the job, and its ID is not written down."""
        here = self.owners[owner]
        for sending in here.sendings:
            if sending.chunk is None and sending.pending:
                instances = sending.pending[:CHUNK]
                digests = [each.digest for each in instances]
                study = sending.delivery.study_id
                opened = here.store.ledger.open_chunk(study, ARCHIVE, sending.delivery.id, digests)
                self.numbers += 1
                job = Job(f"job-{self.numbers}", instances)
                here.jobs[job.id] = job
                sending.chunk = Chunk(opened, instances, job)
                if submitted:
                    here.store.ledger.submitted(opened, job.id)
                    here.store.queue.job_submitted(sending.delivery, job.id)

    @rule(owner=st.sampled_from(OWNERS), instances=st.integers(1, CHUNK))
    def a_job_goes_on(self, owner: str, instances: int) -> None:
        """Also while the owner stands still."""
        for job in self.owners[owner].jobs.values():
            for _ in range(instances):
                if not job.over:
                    self.there[job.instances[job.sent].digest] += 1
                    job.sent += 1

    @rule(owner=st.sampled_from(OWNERS))
    def looks_at_its_jobs(self, owner: str) -> None:
        here = self.owners[owner]
        for sending in here.sendings:
            chunk = sending.chunk
            if chunk is None or chunk.job is None:
                continue
            if chunk.job.over:
                here.store.ledger.close_chunk(chunk.ledger_id, chunk.job.sent)
                sending.sent += chunk.job.sent
                sending.pending = sending.pending[chunk.job.sent :]
                sending.chunk = None
            else:
                here.store.ledger.advance(chunk.ledger_id, chunk.job.sent)
            here.store.queue.progress(sending.delivery, sending.sent, 0)

    @rule(owner=st.sampled_from(OWNERS), well=st.booleans())
    def ends_an_attempt(self, owner: str, well: bool) -> None:
        here = self.owners[owner]
        for sending in list(here.sendings):
            if sending.chunk is not None:
                continue
            queue, delivery = here.store.queue, sending.delivery
            if not sending.pending:
                kept = queue.succeed(delivery, sending.listed, 0, "Accepted", self.now)
                if kept:
                    assert delivery.id not in self.ended
                    self.ended[delivery.id] = Status.COMPLETED
            elif not well:
                queue.fail(delivery, BROKEN, sending.sent, 0, self.now, self.now)
            else:
                continue
            here.sendings.remove(sending)

    @rule(owner=st.sampled_from(OWNERS), chunks=st.integers(1, 4))
    def works(self, owner: str, chunks: int) -> None:
        """For a while nothing bad happens to it."""
        self.claims(owner)
        for _ in range(chunks):
            self.looks_at_its_jobs(owner)
            self.ends_an_attempt(owner, True)
            self.hands_a_chunk_to_orthanc(owner, True)
            self.a_job_goes_on(owner, CHUNK)

    # What holds at every moment

    @invariant()
    def the_ledger_claims_nothing_that_is_not_there(self) -> None:
        if hasattr(self, "owners"):
            for study in STUDIES:
                known = self.owners["here"].store.ledger.accepted(study, ARCHIVE)
                assert known <= set(self.there)

    @invariant()
    def a_study_is_sent_by_one_at_a_time(self) -> None:
        if hasattr(self, "owners"):
            valid = [
                sending.delivery.study_id
                for owner in self.owners.values()
                for sending in owner.sendings
                if sending.lease_until >= self.now
            ]
            assert len(valid) == len(set(valid))

    @invariant()
    def what_has_ended_stays_so_and_nothing_disappears(self) -> None:
        if hasattr(self, "owners"):
            status = {row["id"]: Status(row["status"]) for row in DeliveryRow.select().dicts()}
            assert set(status) == self.enqueued
            assert {each: status[each] for each in self.ended} == self.ended

    @invariant()
    def nothing_comes_twice_while_nobody_dies_or_stands_still_for_longer_than_a_lease(self) -> None:
        if hasattr(self, "owners") and not self.deaths and not self.interrupted():
            assert set(self.there.values()) <= {1}

    def interrupted(self) -> bool:
        return bool(Attempt.select().where(Attempt.error_code == "Interrupted").count())

    # The end

    def all_ends_well(self) -> None:
        """Both live again, and work until nothing is left."""
        for name in OWNERS:
            self.dies(name, at_once=True)
        for _ in range(200):
            if not DeliveryRow.select().where(DeliveryRow.completed_at.is_null()).count():
                break
            self.now += 1.0
            for name in OWNERS:
                self.works(name, 1)
        self.what_has_ended_stays_so_and_nothing_disappears()
        self.the_ledger_claims_nothing_that_is_not_there()
        store = self.owners["here"].store
        assert store.ledger.open_chunks() == []
        for delivery_id in self.enqueued:
            delivery = found(store, delivery_id)
            assert delivery.status in FINAL
            assert delivery.instances_sent == delivery.instances_count
            attempts = store.history.attempts(delivery_id)
            assert delivery.attempts == len(attempts)
            assert all(each.ended_at is not None for each in attempts)
        for study in STUDIES:
            digests = {each.digest for each in self.held[study]}
            assert digests <= set(self.there)
            assert store.ledger.accepted(study, ARCHIVE) == digests
        for row in LedgerRow.select():
            assert len(split(row.digests)) == row.accepted
        entered: Counter[str] = Counter()
        for owner in self.owners.values():
            for _, _, status, number in owner.store.tallies.deliveries():
                entered[status] += number
        assert entered[Status.SCHEDULED] == len(self.enqueued) == entered[Status.COMPLETED]


def test_what_two_orthancs_send_arrives_and_is_claimed_rightly_whenever_they_die(open_database: OpenDatabase) -> None:
    database = open_database()
    machine = settings(max_examples=25, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(lambda: SendingMachine(database), settings=machine)  # type: ignore[no-untyped-call]
