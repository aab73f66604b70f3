# SPDX-License-Identifier: AGPL-3.0-or-later
"""The queue against a naive model: two Orthancs over one database, in any order of events."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from peewee import Database

from builders import ARCHIVE, BROKEN, BUSY, NOT_UNDERSTOOD, NOW, emptied, new_delivery, take_over
from conftest import OpenDatabase
from dicom_router.deliveries.delivery import (
    LAST_URGENT_RANK,
    Delivery,
    IllegalTransitionError,
    Priority,
    Reason,
    Status,
)
from dicom_router.store import schema
from dicom_router.store.history import Filter
from dicom_router.store.store import Store

OWNERS = ("here", "there")
DESTINATIONS = ("A", "B")
STUDIES = ("s1", "s2", "s3")
LEASE = 60.0
HOUR = 3600.0
LATER = {Priority.LOW: HOUR, Priority.NORMAL: 0.0, Priority.URGENT: -1e10}
WAITING = (Status.SCHEDULED, Status.RETRYING)


@dataclass
class Expected:
    """A delivery as the model sees it."""

    id: int
    study: str
    destination: str
    priority: Priority
    created: float
    due: float
    awake: bool
    status: Status = Status.SCHEDULED
    attempts: int = 0
    owner: str = ""
    lease_until: float = 0.0
    claim: Delivery | None = None
    cancel: bool = False
    told: list[Status] = field(default_factory=lambda: [Status.SCHEDULED])

    @property
    def place(self) -> tuple[float, int]:
        return self.created + LATER[self.priority], self.id

    def become(self, status: Status) -> None:
        self.status = status
        self.told.append(status)


class QueueMachine(RuleBasedStateMachine):
    """Every method of two queues, and claims that were lost."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database

    @initialize()
    def open(self) -> None:
        emptied(self.database)
        self.database.connect(reuse_if_open=True)
        self.stores = {owner: Store(self.database, owner, lambda: self.now) for owner in OWNERS}
        self.expected: dict[int, Expected] = {}
        self.entered: Counter[tuple[str, str, str]] = Counter()  # by owner, destination and status
        self.lost: list[tuple[str, Delivery]] = []
        self.now = NOW
        self.leases = 0

    def teardown(self) -> None:
        self.database.close()

    @property
    def store(self) -> Store:
        return self.stores["here"]

    def ended(self, each: Expected, owner: str, status: Status) -> None:
        """For good, by what this owner did."""
        each.become(status)
        each.cancel = False
        self.entered[owner, each.destination, status] += 1

    def sending(self) -> list[Expected]:
        return [each for each in self.expected.values() if each.status is Status.SENDING]

    @rule(seconds=st.sampled_from([0.5, 10.0, LEASE + 1, HOUR]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        owner=st.sampled_from(OWNERS),
        study=st.sampled_from(STUDIES),
        destination=st.sampled_from(DESTINATIONS),
        priority=st.sampled_from(Priority),
        delay=st.sampled_from([0.0, 30.0, HOUR]),
    )
    def enqueue(self, owner: str, study: str, destination: str, priority: Priority, delay: float) -> None:
        self.now += 0.001  # so that no two have the same place
        due = self.now + delay
        made = self.stores[owner].queue.enqueue(
            new_delivery(study, destination, priority=priority, due_at=due), self.now
        )
        waits = [
            each
            for each in self.expected.values()
            if (each.study, each.destination) == (study, destination) and each.status in WAITING
        ]
        assert (made is None) == bool(waits)
        if made is not None:
            self.expected[made] = Expected(made, study, destination, priority, self.now, due, delay == 0)
            self.entered[owner, destination, Status.SCHEDULED] += 1

    @rule(owner=st.sampled_from(OWNERS))
    def wake(self, owner: str) -> None:
        self.stores[owner].queue.wake_due(self.now)
        for each in self.expected.values():
            if each.status in WAITING and each.due <= self.now:
                each.awake = True

    @rule(owner=st.sampled_from(OWNERS), destination=st.sampled_from(DESTINATIONS), urgent_only=st.booleans())
    def claim(self, owner: str, destination: str, urgent_only: bool) -> None:
        self.leases += 1
        delivery = self.stores[owner].queue.claim(
            destination, f"lease-{self.leases}", self.now, urgent_only=urgent_only
        )
        busy = {each.study for each in self.sending() if each.destination == destination}
        able = [
            each
            for each in self.expected.values()
            if each.destination == destination and each.status in WAITING and each.awake and each.study not in busy
        ]
        if urgent_only:
            able = [each for each in able if each.priority is Priority.URGENT]
        if not able:
            assert delivery is None
            return
        first = min(able, key=lambda each: each.place)
        assert delivery is not None
        assert delivery.id == first.id
        first.become(Status.SENDING)
        first.attempts += 1
        assert delivery.attempts == first.attempts
        first.owner, first.lease_until, first.claim = owner, self.now + LEASE, delivery

    @precondition(lambda self: self.sending())
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        each = data.draw(st.sampled_from(self.sending()))
        assert each.claim is not None
        self.stores[each.owner].queue.renew_leases([each.claim.lease], self.now)
        each.lease_until = self.now + LEASE

    @precondition(lambda self: self.sending())
    @rule(data=st.data(), refused=st.integers(0, 1))
    def succeed(self, data: st.DataObject, refused: int) -> None:
        each = data.draw(st.sampled_from(self.sending()))
        assert self.stores[each.owner].queue.succeed(_claim(each), 3, refused, "Accepted", self.now)
        self.ended(each, each.owner, Status.WARNING if refused else Status.COMPLETED)

    @precondition(lambda self: self.sending())
    @rule(
        data=st.data(),
        error=st.sampled_from([BROKEN, BUSY, NOT_UNDERSTOOD]),
        sent=st.integers(0, 1),
        again=st.sampled_from([None, 0.0, 30.0]),
    )
    def fail(self, data: st.DataObject, error: object, sent: int, again: float | None) -> None:
        each = data.draw(st.sampled_from(self.sending()))
        retry_at = None if error is NOT_UNDERSTOOD or again is None else self.now + again
        queue = self.stores[each.owner].queue
        assert queue.fail(_claim(each), error, sent, 0, retry_at, self.now)  # type: ignore[arg-type]
        if each.cancel:
            self.ended(each, each.owner, Status.CANCELED)
        elif retry_at is None:
            refused = bool(sent) and error is NOT_UNDERSTOOD
            self.ended(each, each.owner, Status.WARNING if refused else Status.FAILED)
        else:
            each.become(Status.RETRYING)
            each.due, each.awake = retry_at, retry_at <= self.now

    @precondition(lambda self: self.sending())
    @rule(data=st.data(), delay=st.sampled_from([0.0, 30.0]))
    def defer(self, data: st.DataObject, delay: float) -> None:
        each = data.draw(st.sampled_from(self.sending()))
        due = self.now + delay
        assert self.stores[each.owner].queue.defer(_claim(each), Reason.PAUSED, due, 0, 0, self.now)
        each.attempts -= 1
        if each.cancel:
            self.ended(each, each.owner, Status.CANCELED)
        else:
            each.become(Status.SCHEDULED)
            each.due, each.awake = due, delay == 0

    @rule(owner=st.sampled_from(OWNERS))
    def take_over(self, owner: str) -> None:
        """The owner was restarted, or looks for what the other left."""
        gone = [each for each in self.sending() if each.owner == owner or each.lease_until < self.now]
        assert sorted(take_over(self.stores[owner], self.now)) == sorted(each.id for each in gone)
        for each in gone:
            self.lost.append((each.owner, _claim(each)))
            if each.cancel:
                self.ended(each, owner, Status.CANCELED)
            else:
                each.become(Status.RETRYING)
                each.due, each.awake = self.now, True

    @precondition(lambda self: self.lost)
    @rule(data=st.data(), how=st.sampled_from(["succeed", "fail", "defer", "progress"]))
    def a_result_comes_after_the_lease_was_lost(self, data: st.DataObject, how: str) -> None:
        owner, delivery = data.draw(st.sampled_from(self.lost))
        queue = self.stores[owner].queue
        if how == "succeed":
            assert not queue.succeed(delivery, 3, 0, "Accepted", self.now)
        elif how == "fail":
            assert not queue.fail(delivery, BROKEN, 1, 0, self.now, self.now)
        elif how == "defer":
            assert not queue.defer(delivery, Reason.PAUSED, self.now, 1, 0, self.now)
        else:
            queue.progress(delivery, 99, 0)

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), owner=st.sampled_from(OWNERS))
    def cancel(self, data: st.DataObject, owner: str) -> None:
        each = data.draw(st.sampled_from(list(self.expected.values())))
        queue = self.stores[owner].queue
        if each.status in WAITING:
            assert queue.cancel(each.id, self.now) is Status.CANCELED
            self.ended(each, owner, Status.CANCELED)
        elif each.status is Status.SENDING:
            assert queue.cancel(each.id, self.now) is Status.SENDING
            each.cancel = True
            each.told.append(Status.SENDING)
        else:
            try:
                queue.cancel(each.id, self.now)
            except IllegalTransitionError:
                return
            raise AssertionError("what has ended was canceled")

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        if not hasattr(self, "expected"):
            return
        rows = {row["id"]: row for row in schema.Delivery.select().dicts()}
        assert set(rows) == set(self.expected)
        for each in self.expected.values():
            row = rows[each.id]
            assert (row["status"], row["attempts"], row["cancel_asked"]) == (each.status, each.attempts, each.cancel)
            assert (row["lease"] != "") == (each.status is Status.SENDING)
            assert (row["completed_at"] is None) == (each.status in {*WAITING, Status.SENDING})
            assert row["instances_sent"] < 99
            if each.status in WAITING:
                assert (row["due_at"], bool(row["ready"])) == (each.due, each.awake)

    @invariant()
    def the_next_due_time_and_the_readiness_are_right(self) -> None:
        if not hasattr(self, "expected"):
            return
        waiting = [each for each in self.expected.values() if each.status in WAITING]
        asleep = [each.due for each in waiting if not each.awake]
        assert self.store.queue.next_due() == (min(asleep) if asleep else None)
        for name in DESTINATIONS:
            awake = [each for each in waiting if each.awake and each.destination == name]
            first = self.store.queue.first_rank(name)
            assert (first is not None) == bool(awake)
            urgent = first is not None and first < LAST_URGENT_RANK
            assert urgent == any(each.priority is Priority.URGENT for each in awake)

    @invariant()
    def the_timeline_tells_each_state_in_its_order(self) -> None:
        for each in getattr(self, "expected", {}).values():
            assert [row.status for row in self.store.history.timeline(each.id)] == each.told

    @invariant()
    def one_attempt_runs_while_it_is_sent_and_none_else(self) -> None:
        for each in getattr(self, "expected", {}).values():
            running = [row for row in self.store.history.attempts(each.id) if row.ended_at is None]
            assert len(running) == (each.status is Status.SENDING)

    @invariant()
    def each_owner_has_counted_what_it_did(self) -> None:
        if not hasattr(self, "entered"):
            return
        told = {
            (owner, destination, status): number
            for owner, store in self.stores.items()
            for _, destination, status, number in store.tallies.deliveries()
        }
        assert told == dict(self.entered)

    @invariant()
    def the_history_counts_what_it_has(self) -> None:
        history = self.store.history
        for statuses in (None, [Status.COMPLETED, Status.RETRYING], [Status.FAILED, Status.CANCELED], list(Status)):
            for destination in (None, ARCHIVE):
                wanted = Filter(statuses=statuses, destination=destination)
                assert history.page(wanted, 1, None)[2] == len(history.ids(wanted))


def _claim(each: Expected) -> Delivery:
    assert each.claim is not None
    return each.claim


def test_the_queue_does_what_the_model_does_in_any_order_of_events(open_database: OpenDatabase) -> None:
    database = open_database()
    machine = settings(max_examples=20, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(lambda: QueueMachine(database), settings=machine)  # type: ignore[no-untyped-call]
