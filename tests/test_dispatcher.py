# SPDX-License-Identifier: AGPL-3.0-or-later
"""The loop that sends, with a real database and real threads, and peers that behave as the test says."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any, cast

import pytest

from builders import BROKEN, BUSY, NOT_UNDERSTOOD, STRANGER, destination, enqueued, fill, found, subject
from conftest import OpenStore
from dicom_router.deliveries.alternates import Alternates
from dicom_router.deliveries.delivery import Delivery, Priority, Reason, Status
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.deliveries.retry import RetryPolicy
from dicom_router.destination import Destination, Kind, Verify
from dicom_router.dispatch import closing, under_way, verification, workers
from dicom_router.dispatch import dispatcher as dispatcher_module
from dicom_router.dispatch.breaker import FAILURES_TO_HOLD, PROVEN_FOR
from dicom_router.dispatch.dispatcher import Dispatcher
from dicom_router.dispatch.giving_up import LONGEST_AWAY, LOOK_SECONDS
from dicom_router.dispatch.outside import Outside
from dicom_router.dispatch.sender import MOST_PROCESSES
from dicom_router.dispatch.sending import MOST_SHARED
from dicom_router.dispatch.verifiers import SHARED
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.store import schema
from dicom_router.store.database import LOST
from dicom_router.store.failover import MOST_AT_ONCE
from dicom_router.store.history import Filter
from dicom_router.store.overdue import OLDEST
from dicom_router.store.store import Store
from dicom_router.studies.instances import list_instances
from dicom_router.studies.listings import Listings
from dicom_router.transports.transport import JobReport, JobState
from fakes.orthanc import FakeOrthanc, unreachable
from fakes.peers import FakeTransport

QUICK = RetryPolicy(first=0.02, factor=1, max=0.02, jitter=0, give_up_after=1e6)
LIMIT = 15.0  # seconds that a condition may take; on an idle machine it takes some hundredths


class World:
    """The router's sending part, which can be stopped and started again."""

    def __init__(self, open_store: OpenStore) -> None:
        self.open_store = open_store
        self.store: Store = open_store("here")
        self.orthanc = FakeOrthanc()
        self.transport = FakeTransport()
        self.destinations = {name: destination(name, retry=QUICK) for name in ("A", "B", "C")}
        self.lanes = 4
        self.associations = 0  # that the Send of all deliveries asks for, where it does
        self.patience: dict[str, float] = {}  # the GiveUpAfter of a study's Send, where it is another
        self.later = 0.0  # the clock is ahead by so many seconds
        self.closed: set[str] = set()  # destinations whose window is closed
        self.listings = Listings(time.monotonic)
        self.log: list[str] = []
        self.dispatcher: Dispatcher | None = None

    def clock(self) -> float:
        return time.time() + self.later

    def start(self) -> None:
        outside = Outside(
            transport=self.transport,
            rest=cast(OrthancRest, self.orthanc),
            effective=self._effective,
            window=self._window,
            closed=lambda: None,
            log=self.log.append,
            listings=self.listings,
            clock=self.clock,
        )
        self.dispatcher = Dispatcher(self.store, self.destinations, self.lanes, outside)
        self.transport.job_ended = self.dispatcher.job_ended
        self.dispatcher.start()

    def _effective(self, plain: Destination, delivery: Delivery) -> Destination:
        patience = self.patience.get(delivery.study_id, plain.retry.give_up_after)
        retry = replace(plain.retry, give_up_after=patience)
        return replace(plain, associations=self.associations or plain.associations, retry=retry)

    def _window(self, plain: Destination, now: float) -> float | None:
        return now + 3600 if plain.name in self.closed else now

    def stop(self) -> None:
        if self.dispatcher is not None:
            self.dispatcher.stop()
            self.dispatcher = None

    def restart(self) -> None:
        self.stop()
        self.store = self.open_store("here")
        self.start()

    @property
    def running(self) -> Dispatcher:
        assert self.dispatcher is not None
        return self.dispatcher

    def study(self, name: str, count: int = 5) -> list[str]:
        return [self.orthanc.receive(name) for _ in range(count)]

    def send(self, study: str, to: str = "A", *, due_in: float = 0.0, **changes: Any) -> int:
        now = self.clock()
        made = enqueued(self.store, study, at=now, destination=to, due_at=now + due_in, **changes)
        if self.dispatcher is not None:
            self.dispatcher.ring()
        return made

    def becomes(self, delivery: int, status: Status) -> None:
        self.wait(lambda: found(self.store, delivery).status is status, f"{delivery} {status}")

    def wait(self, condition: Callable[[], bool], what: str = "") -> None:
        end = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < end, f"not within {LIMIT} s: {what}; log: {self.log}"
            time.sleep(0.005)

    def stored(self, name: str) -> list[str]:
        return self.transport.peer(name).stored


@pytest.fixture
def world(open_store: OpenStore) -> Iterator[World]:
    made = World(open_store)
    yield made
    made.stop()
    assert not [each for each in made.log if "unexpected" in each]


def test_a_study_arrives_whole_and_once(world: World) -> None:
    sent = world.study("s", 250)
    world.start()
    delivery = world.send("s")
    world.becomes(delivery, Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted(sent)
    told = found(world.store, delivery)
    assert (told.instances_sent, told.instances_count, told.instances_refused, told.attempts) == (250, 250, 0, 1)
    assert len(world.store.ledger.accepted("s", "A")) == 250
    assert world.store.ledger.open_chunks() == []


def test_what_was_due_before_the_start_is_sent(world: World) -> None:
    sent = world.study("s")
    delivery = world.send("s")
    world.start()
    world.becomes(delivery, Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted(sent)


def test_what_the_destination_has_already_is_not_sent_again(world: World) -> None:
    world.study("s", 3)
    world.start()
    world.becomes(world.send("s"), Status.COMPLETED)
    late = world.study("s", 2)
    world.becomes(world.send("s"), Status.COMPLETED)
    assert world.stored("A")[3:] == late
    world.becomes(world.send("s"), Status.COMPLETED)
    assert len(world.stored("A")) == 5


def test_deliveries_that_have_nothing_to_send_do_not_wait_for_each_other(world: World) -> None:
    studies = [f"s{number}" for number in range(5)]
    world.start()
    for study in studies:
        world.study(study, 1)
        world.becomes(world.send(study), Status.COMPLETED)
    world.later += PROVEN_FOR + 1
    world.store.switches.pause_destination("A", paused=True)
    again = [world.send(study) for study in studies]
    begin(world)
    world.wait(lambda: all(found(world.store, each).status is Status.COMPLETED for each in again), "all at once")
    assert len(world.stored("A")) == len(studies)


def test_an_overwritten_instance_is_sent_again(world: World) -> None:
    (first,) = world.study("s", 1)
    world.start()
    world.becomes(world.send("s"), Status.COMPLETED)
    world.orthanc.receive("s", instance=first)
    world.becomes(world.send("s"), Status.COMPLETED)
    assert world.stored("A") == [first, first]


def test_several_studies_go_to_several_destinations(world: World) -> None:
    deliveries = []
    for number in range(6):
        world.study(f"s{number}", 7)
        deliveries += [world.send(f"s{number}", name) for name in "ABC"]
    world.start()
    for delivery in deliveries:
        world.becomes(delivery, Status.COMPLETED)
    for name in "ABC":
        assert sorted(world.stored(name)) == sorted(world.orthanc.instances)
    assert world.transport.most_at_once <= world.lanes


def test_after_an_abort_the_rest_is_sent_and_nothing_twice(world: World) -> None:
    sent = world.study("s", 30)
    world.transport.peer("A").aborts = 2
    world.start()
    delivery = world.send("s")
    world.becomes(delivery, Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted(sent)


# --- small deliveries by one job -------------------------------------------------------------------------------------


@pytest.fixture
def proven(world: World) -> World:
    """A world whose destination A is known to work."""
    world.study("first", 1)
    world.start()
    world.becomes(world.send("first"), Status.COMPLETED)
    return world


def small_ones(world: World, count: int, instances: int = 1) -> dict[int, list[str]]:
    """Deliveries that wait, each with its instances, until `begin`."""
    world.store.switches.pause_destination("A", paused=True)
    made = {}
    for number in range(count):
        instance_ids = world.study(f"small-{number}", instances)
        made[world.send(f"small-{number}")] = instance_ids
    return made


def begin(world: World) -> None:
    world.store.switches.pause_destination("A", paused=False)
    world.running.ring()


def small_jobs(world: World) -> list[list[str]]:
    return [[each.id for each in job.instances] for job in world.transport.jobs.values()]


AT_HAND = 18  # deliveries that are claimed and listed while two jobs are under way


def gathered_ones(world: World, instances: int = 1) -> dict[int, list[str]]:
    """Deliveries at hand while the jobs of two others hang, so that they share jobs however slow the machine is."""
    world.transport.peer("A").hangs_after = 0
    blocking = small_ones(world, 2)
    begin(world)
    world.wait(lambda: world.transport.running("A") == len(blocking), "two jobs hang")
    sent = {}
    for number in range(AT_HAND):
        instance_ids = world.study(f"gathered-{number}", instances)
        sent[world.send(f"gathered-{number}")] = instance_ids
    world.wait(lambda: all(found(world.store, each).content for each in sent), "all are listed")
    return {**blocking, **sent}


def shared_jobs_hang(world: World) -> list[str]:
    """What the larger of the two jobs is to send, once the gathered ones are under way."""
    world.wait(lambda: len(small_jobs(world)) == 4 and world.transport.running("A") == 2, "two shared jobs hang")
    larger = max(small_jobs(world), key=len)
    assert len(larger) == AT_HAND // 2
    return larger


def test_many_small_deliveries_share_jobs_and_each_arrives_once(proven: World) -> None:
    sent = gathered_ones(proven, instances=2)
    proven.transport.peer("A").hangs_after = None
    for delivery in sent:
        proven.becomes(delivery, Status.COMPLETED)
    everything = sorted(each for instances in sent.values() for each in instances)
    assert sorted(proven.stored("A")[1:]) == everything
    jobs = small_jobs(proven)[2:]
    assert max(map(len, jobs)) == MOST_SHARED
    assert len(jobs) <= AT_HAND // 2
    told = [found(proven.store, delivery) for delivery in list(sent)[2:]]
    assert {(each.instances_sent, each.instances_count, each.attempts) for each in told} == {(2, 2, 1)}
    for delivery in sent:
        (attempt,) = proven.store.history.attempts(delivery)
        assert set(attempt.jobs) <= set(proven.transport.jobs)
    assert proven.store.ledger.open_chunks() == []


def test_few_small_deliveries_have_an_association_each(proven: World) -> None:
    sent = small_ones(proven, 2)
    begin(proven)
    for delivery in sent:
        proven.becomes(delivery, Status.COMPLETED)
    assert sorted(map(len, small_jobs(proven))) == [1, 1]


def test_an_instance_refused_for_good_harms_none_that_shares_its_job(proven: World) -> None:
    sent = small_ones(proven, 40)
    bad = [list(sent)[3], list(sent)[17]]
    proven.transport.peer("A").refused = {sent[delivery][0] for delivery in bad}
    begin(proven)
    for delivery in sent:
        proven.becomes(delivery, Status.FAILED if delivery in bad else Status.COMPLETED)
    good = sorted(each for delivery, (each,) in sent.items() if delivery not in bad)
    assert sorted(proven.stored("A")[1:]) == good
    assert {found(proven.store, delivery).attempts for delivery in sent} == {1}


def test_an_aborted_association_fails_one_delivery_at_most_of_those_that_share_it(proven: World) -> None:
    sent = small_ones(proven, 40)
    proven.transport.peer("A").aborts = 1
    begin(proven)
    for delivery in sent:
        proven.becomes(delivery, Status.COMPLETED)
    assert sorted(proven.stored("A")[1:]) == sorted(each for (each,) in sent.values())
    assert {found(proven.store, delivery).attempts for delivery in sent} == {1}
    assert proven.running.blocked("A") is None


def test_a_destination_that_dies_gets_all_that_shared_a_job_once_it_is_back(proven: World) -> None:
    proven.transport.peer("A").alive = False
    sent = small_ones(proven, 40)
    begin(proven)
    proven.wait(lambda: proven.running.blocked("A") is not None, "held")
    proven.transport.peer("A").alive = True
    proven.later += 60  # the pause before it is asked again
    proven.running.ring()
    for delivery in sent:
        proven.becomes(delivery, Status.COMPLETED)
    assert sorted(proven.stored("A")[1:]) == sorted(each for (each,) in sent.values())


def test_canceling_a_delivery_ends_none_that_shares_its_job(proven: World) -> None:
    sent = gathered_ones(proven)
    proven.transport.peer("A").hangs_after = 1
    shared = shared_jobs_hang(proven)
    canceled = next(delivery for delivery, (each,) in sent.items() if each == shared[1])
    proven.store.queue.cancel(canceled, proven.clock())
    proven.running.cancel_asked(canceled)
    proven.becomes(canceled, Status.CANCELED)
    proven.transport.peer("A").hangs_after = None
    for delivery in set(sent) - {canceled}:
        proven.becomes(delivery, Status.COMPLETED)
    assert sorted(proven.stored("A")[1:]) == sorted(each for key, (each,) in sent.items() if key != canceled)
    assert {found(proven.store, delivery).attempts for delivery in set(sent) - {canceled}} == {1}


def test_an_instance_that_is_gone_from_orthanc_keeps_none_back_that_would_share_its_job(proven: World) -> None:
    sent = small_ones(proven, 40)
    lost = list(sent)[5]
    proven.transport.gone = set(sent[lost])
    begin(proven)
    for delivery in sent:
        if delivery != lost:
            proven.becomes(delivery, Status.COMPLETED)
    proven.becomes(lost, Status.RETRYING)
    assert {found(proven.store, delivery).attempts for delivery in set(sent) - {lost}} == {1}


def test_a_stop_in_the_middle_of_a_shared_job_neither_loses_nor_doubles(proven: World) -> None:
    sent = gathered_ones(proven)
    proven.transport.peer("A").hangs_after = 2
    shared_jobs_hang(proven)
    proven.restart()
    proven.transport.peer("A").hangs_after = None
    for delivery in sent:
        proven.becomes(delivery, Status.COMPLETED)
    assert sorted(proven.stored("A")[1:]) == sorted(each for (each,) in sent.values())


def test_a_large_delivery_is_not_mixed_with_small_ones_and_holds_none_back_for_long(proven: World) -> None:
    proven.store.switches.pause_destination("A", paused=True)
    large = proven.study("large", 120)
    delivery = proven.send("large")
    sent = small_ones(proven, 20)
    begin(proven)
    for each in [delivery, *sent]:
        proven.becomes(each, Status.COMPLETED)
    for job in small_jobs(proven):
        assert not set(job) & set(large) or set(job) <= set(large)


def test_only_c_stores_share_a_job(proven: World) -> None:
    proven.destinations["F"] = destination("F", kind=Kind.FOLDER, retry=QUICK)
    proven.restart()
    deliveries = []
    for number in range(30):
        proven.study(f"file-{number}", 1)
        deliveries.append(proven.send(f"file-{number}", "F"))
    for delivery in deliveries:
        proven.becomes(delivery, Status.COMPLETED)
    assert {len(job.instances) for job in proven.transport.jobs.values()} == {1}


def test_an_instance_refused_for_good_is_named_and_the_rest_arrives(world: World) -> None:
    sent = world.study("s", 40)
    world.transport.peer("A").refused = {sent[0], sent[17]}
    world.start()
    delivery = world.send("s")
    world.becomes(delivery, Status.WARNING)
    assert sorted(world.stored("A")) == sorted(set(sent) - {sent[0], sent[17]})
    assert {row.instance_id for row in world.store.history.refusals(delivery)} == {sent[0], sent[17]}
    assert found(world.store, delivery).instances_refused == 2
    world.becomes(world.send("s"), Status.COMPLETED)  # what was refused is known, and is not tried again
    assert len(world.stored("A")) == 38


def test_what_a_destination_that_took_a_part_did_not_take_is_named_and_the_next_one_gets_the_study(
    world: World,
) -> None:
    sent = world.study("s", 10)
    world.transport.peer("A").knows_us_for = 3
    world.transport.peer("A").refused = {sent[1]}
    world.associations = 1  # in their order: the refused one goes while it still knows us
    world.start()
    alternates = Alternates(("B",), 3600.0).to_text()
    delivery = world.send("s", alternates=alternates)
    world.becomes(delivery, Status.WARNING)
    world.wait(lambda: sorted(world.stored("B")) == sorted(sent), "all of it at the next one")
    named = {row.instance_id: row.code for row in world.store.history.refusals(delivery)}
    assert set(named) == set(sent) - set(world.stored("A"))
    assert named[sent[1]] == NOT_UNDERSTOOD.code
    assert {code for name, code in named.items() if name != sent[1]} == {STRANGER.code}
    assert found(world.store, delivery).instances_refused == 7


def test_what_did_not_arrive_because_of_the_destination_is_sent_by_the_next_delivery(world: World) -> None:
    sent = world.study("s", 10)
    world.transport.peer("A").knows_us_for = 3
    world.start()
    world.becomes(world.send("s"), Status.WARNING)
    world.transport.peer("A").knows_us_for = None
    world.becomes(world.send("s"), Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted(sent)


def test_single_instances_that_are_refused_hand_nothing_on(world: World) -> None:
    sent = world.study("s", 10)
    world.transport.peer("A").refused = {sent[1]}
    world.start()
    world.becomes(world.send("s", alternates=Alternates(("B",), 3600.0).to_text()), Status.WARNING)
    assert [found(world.store, each).destination for each in world.store.history.ids(Filter())] == ["A"]


def test_a_deleted_study_fails_and_says_so(world: World) -> None:
    world.study("s")
    world.orthanc.delete_study("s")
    world.start()
    delivery = world.send("s")
    world.becomes(delivery, Status.FAILED)
    assert found(world.store, delivery).error_code == "ResourceDeleted"


@pytest.mark.parametrize(
    ("level", "options"),
    [("Patient", "{}"), ("Study", '{"Instances": [{"Modality": "CT"}]}'), ("Series", "{}")],
    ids=["patient", "study of which some instances are sent", "series"],
)
def test_what_was_deleted_fails_at_every_level(world: World, level: str, options: str) -> None:
    world.study("s")
    world.orthanc.delete_study("s")
    world.start()
    gone = {"Patient": "patient-of-s", "Study": "s", "Series": "s-a"}[level]
    what = subject("s", level=level, resource_id=gone)
    delivery = enqueued(world.store, at=world.clock(), subject=what, destination="A", options=options)
    world.running.ring()
    world.becomes(delivery, Status.FAILED)
    assert found(world.store, delivery).error_code == "ResourceDeleted"


def test_a_patient_that_cannot_be_asked_for_now_is_tried_again(world: World) -> None:
    world.study("s")
    world.orthanc.failures["/tools/bulk-content"] = OrthancError(404, 17, "The database is busy.")
    world.start()
    what = subject("patient-of-s", level="Patient")
    delivery = enqueued(world.store, at=world.clock(), subject=what, destination="A")
    world.running.ring()
    world.becomes(delivery, Status.RETRYING)


def test_a_series_that_is_sent_again_takes_along_no_other(world: World) -> None:
    first, second = (world.orthanc.receive("s", series=name) for name in "ab")
    world.start()
    world.becomes(world.send("s"), Status.COMPLETED)
    series = subject("s", level="Series", resource_id="s-a")
    again = enqueued(world.store, at=world.clock(), subject=series, destination="A", renew=True)
    world.running.ring()
    world.becomes(again, Status.COMPLETED)
    world.becomes(world.send("s"), Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted([first, first, second])


def test_what_came_from_the_destination_is_not_sent_back_there(world: World) -> None:
    world.orthanc.receive("s", metadata={"RemoteAET": "A-AET"})
    other = world.orthanc.receive("s")
    world.start()
    world.becomes(world.send("s"), Status.COMPLETED)
    assert world.stored("A") == [other]


def test_a_dead_destination_is_held_and_harms_no_other(world: World) -> None:
    sent = world.study("s")
    world.transport.peer("A").alive = False
    world.start()
    dead = world.send("s", "A")
    world.wait(lambda: world.running.breaker("A").held, "held")
    world.becomes(world.send("s", "B"), Status.COMPLETED)
    blocked = world.running.blocked("A")
    assert blocked is not None
    assert blocked.reason is Reason.HELD
    assert found(world.store, dead).status in {Status.RETRYING, Status.SENDING, Status.SCHEDULED}
    world.transport.peer("A").alive = True
    world.later += 61
    world.running.ring()
    world.becomes(dead, Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted(sent)
    assert found(world.store, dead).attempts > 1
    assert world.running.blocked("A") is None


def test_all_that_waits_for_a_destination_is_sent_when_it_is_back(world: World) -> None:
    world.transport.peer("A").alive = False
    world.start()
    deliveries = []
    for number in range(5):
        world.study(f"s{number}", 2)
        deliveries.append(world.send(f"s{number}"))
    world.wait(lambda: world.running.breaker("A").held, "held")
    world.transport.peer("A").alive = True
    world.later += 61
    world.running.ring()
    for delivery in deliveries:
        world.becomes(delivery, Status.COMPLETED)


def test_a_clock_that_is_set_back_delays_no_destination_that_is_back(world: World) -> None:
    sent = world.study("s")
    world.transport.peer("A").alive = False
    world.start()
    world.send("s")
    world.wait(lambda: world.running.breaker("A").held, "held")
    world.transport.peer("A").alive = True
    world.later -= 3600
    world.running.ring()
    world.wait(lambda: sorted(world.stored("A")) == sorted(sent), "sent")


def test_a_delivery_is_given_up_after_its_time(world: World) -> None:
    world.destinations["A"] = destination("A", retry=RetryPolicy(first=0.01, max=0.01, jitter=0, give_up_after=0.05))
    world.study("s")
    world.transport.peer("A").aborts = 10**6
    world.start()
    delivery = world.send("s")

    def given_up_in_the_end() -> bool:
        if world.running.breaker("A").held:
            world.later += 61  # then it is asked again
            world.running.ring()
        return found(world.store, delivery).status is Status.FAILED

    world.wait(given_up_in_the_end, "given up")


GIVES_UP = RetryPolicy(first=0.02, factor=1, max=0.02, jitter=0, give_up_after=3600)


@pytest.fixture
def dead(world: World) -> World:
    """A world whose destination A is held, and gives up after an hour."""
    world.destinations["A"] = destination("A", retry=GIVES_UP)
    world.transport.peer("A").alive = False
    world.study("s")
    world.start()
    world.send("s")
    world.wait(lambda: world.running.blocked("A") is not None, "held")
    return world


def a_round_later(world: World, seconds: float) -> None:
    """So much time goes by, and all that it makes due is done."""
    world.later += seconds
    world.running.ring()
    world.study(f"after {world.later}")
    world.becomes(world.send(f"after {world.later}", "B"), Status.COMPLETED)


def test_what_waits_for_a_dead_destination_is_given_up_after_its_time(dead: World) -> None:
    dead.study("never tried")
    tried, untried = 1, dead.send("never tried")
    a_round_later(dead, 3500)
    assert {found(dead.store, each).status for each in (tried, untried)} <= {Status.SCHEDULED, Status.RETRYING}
    dead.later += 101
    dead.running.ring()
    for delivery in (tried, untried):
        dead.becomes(delivery, Status.FAILED)
    assert found(dead.store, tried).error_code == "ConnectionFailed"
    told = found(dead.store, untried)
    assert (told.error_code, told.attempts) == ("DestinationHeld", 0)
    assert "TCP Initialization Error" in told.error_message


def test_many_are_given_up_without_a_pause_between_them(dead: World) -> None:
    made = [dead.send(f"late {number}") for number in range(2 * OLDEST)]
    dead.later += 3601
    dead.running.ring()
    dead.wait(lambda: all(found(dead.store, each).status is Status.FAILED for each in made), "all are given up")


def test_what_waited_long_for_something_else_is_given_up_only_when_the_destination_has_been_away_for_long(
    world: World,
) -> None:
    day = 86400.0
    world.destinations["A"] = destination("A", retry=replace(GIVES_UP, give_up_after=7 * day))
    world.store.switches.pause_destination("A", paused=True)
    world.later -= 8 * day
    old = []
    for number in range(10):
        world.study(f"old {number}", 1)
        old.append(world.send(f"old {number}"))
    world.later += 8 * day
    world.transport.peer("A").alive = False
    world.start()
    world.store.switches.pause_destination("A", paused=False)
    world.running.ring()
    world.wait(lambda: world.running.breaker("A").held, "held")

    def given_up() -> int:
        return [found(world.store, each).status for each in old].count(Status.FAILED)

    a_round_later(world, LOOK_SECONDS + 1)
    a_round_later(world, LONGEST_AWAY - LOOK_SECONDS - 100)
    assert given_up() <= FAILURES_TO_HOLD, "those that were tried"
    world.later += 100
    world.running.ring()
    world.wait(lambda: given_up() == len(old), "given up")


def test_what_waits_for_a_paused_destination_is_not_given_up(dead: World) -> None:
    dead.store.switches.pause_destination("A", paused=True)
    a_round_later(dead, 7200)
    a_round_later(dead, 10)
    assert found(dead.store, 1).status in {Status.SCHEDULED, Status.RETRYING}


def test_a_send_may_give_up_sooner_than_its_destination(world: World) -> None:
    world.destinations["A"] = destination("A", retry=replace(GIVES_UP, give_up_after=1e6))
    world.transport.peer("A").alive = False
    world.patience["soon"] = 3600
    for study in ("s", "soon"):
        world.study(study)
    world.start()
    patient, soon = world.send("s"), world.send("soon")
    world.wait(lambda: world.running.blocked("A") is not None, "held")
    world.later += 3601
    world.running.ring()
    world.becomes(soon, Status.FAILED)
    assert found(world.store, patient).status in {Status.SCHEDULED, Status.RETRYING}


FIRST_OF = Alternates(("B",), 600.0).to_text()


def waiting_beyond_after(world: World, count: int) -> None:
    """So many deliveries to C, which wait for longer than the `After` of their FirstOf."""
    now = world.clock()
    fill(world.store, 0, count)
    late = {"due_at": now - 700, "created_at": now - 700, "failover_at": now - 100}
    schema.Delivery.update(destination="C", alternates=FIRST_OF, **late).execute()


def test_many_that_wait_beyond_after_for_a_paused_destination_slow_down_no_other(world: World) -> None:
    waiting_beyond_after(world, 5000)
    world.store.switches.pause_destination("C", paused=True)
    world.study("s", 1)
    world.start()
    began = time.monotonic()
    for _ in range(5):
        world.study("s", 1)
        world.becomes(world.send("s"), Status.COMPLETED)
    assert time.monotonic() - began < LIMIT
    assert len(world.store.history.ids(Filter(destination="C", statuses=["Scheduled"]))) == 5000


def test_all_that_wait_beyond_after_fail_over_without_a_pause_between_them(world: World) -> None:
    count = 3 * MOST_AT_ONCE
    waiting_beyond_after(world, count)
    del world.destinations["C"]
    world.store.switches.pause_destination("B", paused=True)
    world.start()
    world.wait(lambda: world.store.history.counts("B")["Scheduled"] == count, "B takes over")


def test_one_that_cannot_fail_over_keeps_no_other_and_is_told_once(world: World) -> None:
    del world.destinations["C"]
    world.study("s")
    late = world.clock() - 100
    damaged = world.send("damaged", "C", alternates="{", failover_at=late - 1)
    waiting = world.send("s", "C", alternates=FIRST_OF, failover_at=late)
    plain = world.send("s", "A")
    world.start()
    world.becomes(waiting, Status.CANCELED)
    world.becomes(plain, Status.COMPLETED)
    world.wait(lambda: len(world.stored("B")) >= 5, "B takes over")
    a_round_later(world, 2)
    assert found(world.store, damaged).status is Status.SCHEDULED
    assert len([told for told in world.log if f"delivery {damaged} " in told]) == 1


def test_one_that_cannot_be_closed_keeps_no_other_and_is_told_once(world: World) -> None:
    plain = world.store.queue.succeed
    world.study("damaged")
    world.study("s")
    damaged = world.send("damaged", "A")

    def succeed(delivery: Delivery, *told: Any) -> bool:
        if delivery.id == damaged:
            raise ValueError("something that the database does not take")
        return plain(delivery, *told)

    world.store.queue.succeed = succeed  # type: ignore[method-assign]
    world.start()
    world.wait(lambda: len(world.stored("A")) >= 5, "the first is sent")
    for _ in range(3):
        sent = world.send("s", "A")
        world.dispatcher.ring()
        world.becomes(sent, Status.COMPLETED)
    assert found(world.store, damaged).status is Status.SENDING
    assert len([told for told in world.log if f"delivery {damaged} could not be closed: ValueError" in told]) == 1
    world.store.queue.succeed = plain  # type: ignore[method-assign]
    world.dispatcher.ring()
    world.becomes(damaged, Status.COMPLETED)


@pytest.mark.parametrize("large", [True, False], ids=["large instances", "no HTTP port"])
def test_a_folder_that_hangs_is_tried_with_one_instance_at_a_time(world: World, large: bool) -> None:
    world.destinations["F"] = destination("F", kind=Kind.FOLDER, retry=QUICK)
    world.orthanc.holds_interpreter = not large
    world.transport.peer("F").hangs_after = 0
    for _ in range(30):
        world.orthanc.receive("cine", size=65 * 1024 * 1024 if large else 1000)
    world.send("cine", "F")
    world.start()
    world.wait(lambda: world.transport.running("F") > 0, "a try")
    for _ in range(5):
        a_round_later(world, 1)
    assert world.transport.running("F") == 1


def test_a_job_that_was_told_to_have_succeeded_is_not_sent_again_once_orthanc_has_forgotten_it(world: World) -> None:
    """It was too slow to be asked about it at once; then the job left its history."""
    world.study("first", 1)
    world.start()
    world.becomes(world.send("first"), Status.COMPLETED)  # the destination is proven
    looks: Counter[str] = Counter()

    def report(job_id: str, _count: int) -> JobReport:
        looks[job_id] += 1
        return JobReport(JobState.RUNNING if looks[job_id] < 3 else JobState.GONE, 0)

    world.transport.report = report  # type: ignore[method-assign]
    world.study("s", 20)
    world.becomes(world.send("s"), Status.COMPLETED)
    assert len(world.stored("A")) == len(set(world.stored("A"))) == 21


def test_what_waited_for_a_window_beyond_after_fails_over_once_the_destination_is_held(world: World) -> None:
    world.closed.add("A")
    for study in ("s", "urgent"):
        world.study(study)
    world.start()
    waiting = world.send("s", alternates=FIRST_OF, failover_at=world.clock() - 100)
    a_round_later(world, 2)
    assert found(world.store, waiting).status is Status.SCHEDULED
    world.transport.peer("A").alive = False
    world.send("urgent", priority=Priority.URGENT)
    world.becomes(waiting, Status.CANCELED)
    world.wait(lambda: len(world.stored("B")) >= 5, "B takes over")


def test_folders_that_hang_take_no_lane_of_the_others(world: World) -> None:
    folders = {name: destination(name, kind=Kind.FOLDER, retry=QUICK) for name in ("F", "G", "H")}
    world.destinations |= folders
    world.lanes = 4
    for name in folders:
        world.transport.peer(name).hangs_after = 0
    for name in folders:
        for number in range(3):
            world.study(f"{name}{number}", 100)
    sent = world.study("s", 100)
    world.start()
    for name in folders:
        for number in range(3):
            world.send(f"{name}{number}", name)
    world.wait(lambda: all(world.transport.running(name) == 2 for name in folders), "each has its two")
    world.becomes(world.send("s"), Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted(sent)


@pytest.mark.parametrize("lanes", [2, 4])
def test_a_hanging_destination_leaves_a_lane_for_the_others(world: World, lanes: int) -> None:
    world.lanes = lanes
    world.study("small", 1)
    world.study("large", 400)
    world.start()
    world.becomes(world.send("small", "A"), Status.COMPLETED)  # A is proven, and may have lanes
    world.transport.peer("A").hangs_after = 0
    world.send("large", "A")
    world.wait(lambda: world.transport.running("A") > 0, "A hangs")
    healthy = [world.send("small", "B"), world.send("large", "B")]
    for delivery in healthy:
        world.becomes(delivery, Status.COMPLETED)


def test_cancel_while_sending_ends_it_and_keeps_what_arrived(world: World) -> None:
    sent = world.study("s", 50)
    world.study("first", 1)
    world.start()
    world.becomes(world.send("first"), Status.COMPLETED)
    world.transport.peer("A").hangs_after = 3
    delivery = world.send("s")
    world.wait(lambda: world.transport.running("A") > 0, "hangs")
    assert world.store.queue.cancel(delivery, world.clock()) is Status.SENDING
    world.running.cancel_asked(delivery)
    world.becomes(delivery, Status.CANCELED)
    arrived = set(world.stored("A")) & set(sent)
    assert found(world.store, delivery).instances_sent == len(arrived)
    assert len(world.store.ledger.accepted("s", "A")) == len(arrived)


def test_a_pause_in_the_middle_gives_the_rest_back_and_resuming_sends_only_that(world: World) -> None:
    sent = world.study("s", 400)
    world.study("first", 1)
    world.start()
    world.becomes(world.send("first", "A"), Status.COMPLETED)
    delivery = world.send("s", "A")
    world.wait(lambda: len(world.stored("A")) > 1, "some have arrived")
    world.store.switches.pause_destination("A", paused=True)
    world.running.ring()
    world.wait(lambda: found(world.store, delivery).status is not Status.SENDING, "given back or done")
    world.store.switches.pause_destination("A", paused=False)
    world.running.ring()
    world.becomes(delivery, Status.COMPLETED)
    assert sorted(each for each in world.stored("A") if each in sent) == sorted(sent)
    assert found(world.store, delivery).attempts == 1


@pytest.mark.parametrize("what", ["router", "destination"])
def test_pausing_and_resuming(world: World, what: str) -> None:
    world.study("s")

    def pause(*, paused: bool) -> None:
        if what == "router":
            world.store.switches.pause_router(paused=paused)
        else:
            world.store.switches.pause_destination("A", paused=paused)
        world.running.ring()

    world.start()
    pause(paused=True)
    delivery = world.send("s", "A")
    blocked = world.running.blocked("A")
    assert blocked is not None
    assert blocked.reason is (Reason.ROUTER_PAUSED if what == "router" else Reason.PAUSED)
    if what == "destination":
        world.becomes(world.send("s", "B"), Status.COMPLETED)
    world.becomes(delivery, Status.SCHEDULED)  # it may have been claimed just before the pause
    assert world.stored("A") == []
    pause(paused=False)
    world.becomes(delivery, Status.COMPLETED)


def test_a_disabled_and_an_unknown_destination_get_nothing(world: World) -> None:
    world.destinations |= {"B": destination("B", enabled=False), "GONE": destination("GONE", gone=True)}
    world.study("s")
    world.start()
    waiting = [world.send("s", name) for name in ("B", "NOBODY", "GONE")]
    world.becomes(world.send("s", "A"), Status.COMPLETED)
    assert [found(world.store, each).status for each in waiting] == [Status.SCHEDULED] * 3
    reasons = [blocked.reason for name in ("B", "NOBODY", "GONE") if (blocked := world.running.blocked(name))]
    assert reasons == [Reason.DISABLED, Reason.UNKNOWN, Reason.UNKNOWN]
    world.running.add_destination(destination("NOBODY"))
    world.becomes(waiting[1], Status.COMPLETED)


def test_an_urgent_delivery_overtakes_a_large_one_to_the_same_destination(world: World) -> None:
    large, urgent = set(world.study("large", 500)), set(world.study("urgent"))
    world.destinations["A"] = destination("A", associations=1)
    world.transport.peer("A").hangs_after = 10
    world.start()
    waits = world.send("large")
    world.wait(lambda: world.transport.running("A") == 1, "the first of its jobs is under way")
    world.send("urgent", priority=Priority.URGENT)
    world.transport.peer("A").hangs_after = None
    world.becomes(waits, Status.COMPLETED)
    order = ["urgent" if each in urgent else "large" for each in world.stored("A")]
    assert set(world.stored("A")) == large | urgent
    assert order.index("urgent") < 200, "after the job that was under way, and what was tried before it"


def test_a_closed_window_lets_only_urgent_ones_through(world: World) -> None:
    world.study("s")
    world.study("t")
    world.closed = {"A"}
    world.start()
    normal = world.send("s")
    world.becomes(world.send("t", priority=Priority.URGENT), Status.COMPLETED)
    assert found(world.store, normal).status is Status.SCHEDULED
    world.closed.clear()
    world.later += 3601
    world.running.ring()
    world.becomes(normal, Status.COMPLETED)


def test_a_delivery_waits_for_its_time(world: World) -> None:
    world.study("s")
    world.start()
    delivery = world.send("s", due_in=600)
    world.study("t")
    world.becomes(world.send("t"), Status.COMPLETED)
    assert found(world.store, delivery).status is Status.SCHEDULED
    world.later += 601
    world.running.ring()
    world.becomes(delivery, Status.COMPLETED)


def test_stopping_gives_back_what_hangs_and_the_next_start_sends_only_the_rest(world: World) -> None:
    sent = world.study("s", 60)
    world.study("first", 1)
    world.start()
    world.becomes(world.send("first"), Status.COMPLETED)
    world.transport.peer("A").hangs_after = 4
    delivery = world.send("s")
    world.wait(lambda: world.transport.running("A") > 0, "hangs")
    world.stop()
    assert found(world.store, delivery).status is Status.SCHEDULED
    assert found(world.store, delivery).attempts == 0
    world.transport.peer("A").hangs_after = None
    world.restart()
    world.becomes(delivery, Status.COMPLETED)
    assert sorted(each for each in world.stored("A") if each in sent) == sorted(sent)


def test_what_is_under_way_is_not_completed_by_a_stop_in_which_orthanc_answers_nothing_about_its_jobs(
    world: World,
) -> None:
    """Several deliveries at once: the first whose job is not known must not hide the others."""
    studies = {name: world.study(name, 20) for name in ("s", "t", "u")}
    world.study("first", 1)
    world.start()
    for name in ("A", "B"):
        world.becomes(world.send("first", name), Status.COMPLETED)
    for name in ("A", "B"):
        world.transport.peer(name).hangs_after = 2
    deliveries = [world.send(study, to) for study, to in (("s", "A"), ("t", "B"), ("u", "A"))]
    world.wait(lambda: world.transport.running("A") > 0 and world.transport.running("B") > 0, "both hang")
    world.transport.deaf = True
    world.stop()
    assert [found(world.store, delivery).status for delivery in deliveries] == [Status.SCHEDULED] * 3
    world.transport.deaf = False
    for name in ("A", "B"):
        world.transport.peer(name).hangs_after = None
    world.restart()
    for delivery in deliveries:
        world.becomes(delivery, Status.COMPLETED)
        told = found(world.store, delivery)
        assert told.instances_sent == told.instances_count == 20
    assert set(studies["s"] + studies["u"]) <= set(world.stored("A"))
    assert set(studies["t"]) <= set(world.stored("B"))


@pytest.mark.parametrize("lost", [["renew_leases", "wake_due", "progress", "defer"], ["progress", "defer"], ["defer"]])
def test_a_stop_ends_what_is_under_way_also_when_the_database_is_away(
    world: World, lost: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From before the stop, or from some step of it on."""
    hung_up: list[object] = []
    monkeypatch.setattr(dispatcher_module, "hang_up", hung_up.append)
    world.study("first", 1)
    world.start()
    world.becomes(world.send("first"), Status.COMPLETED)
    world.transport.peer("A").hangs_after = 0
    sent = world.study("s", 20)
    delivery = world.send("s")
    world.wait(lambda: world.transport.running("A") > 1, "hangs")
    failing = [Failing(getattr(world.store.queue, name), 1_000_000) for name in lost]
    with monkeypatch.context() as away:
        for name, method in zip(lost, failing, strict=True):
            away.setattr(world.store.queue, name, method)
        world.running.ring()
        if "wake_due" in lost:
            world.wait(lambda: any("does not answer" in line for line in world.log), "it is away")
        world.stop()
    assert any(method.left < 1_000_000 for method in failing)
    assert world.transport.running() == 0
    assert hung_up or lost == ["defer"], "the connections of what nobody could write down"
    world.transport.peer("A").hangs_after = None
    world.restart()
    world.becomes(delivery, Status.COMPLETED)
    assert sorted(each for each in world.stored("A") if each in sent) == sorted(sent)


def test_stopping_is_quick_in_every_state_and_leaves_no_thread(world: World) -> None:
    for study, hangs_after in (("s", None), ("t", 0)):
        world.study(study)
        world.transport.peer("A").hangs_after = hangs_after
        world.start()
        world.send(study)
        began = time.monotonic()
        world.stop()
        assert time.monotonic() - began < 5
        assert not [each.name for each in threading.enumerate() if each.name.startswith("router-")]


def test_after_a_crash_the_job_under_way_is_ended_and_only_the_rest_is_sent(world: World) -> None:
    sent = world.study("s", 4)
    delivery = world.send("s")
    claimed = world.store.queue.claim("A", "lease of the dead", world.clock())
    assert claimed is not None
    instances = list_instances(cast(OrthancRest, world.orthanc), "Study", "s")
    chunk = world.store.ledger.open_chunk("s", "A", delivery, [each.digest for each in instances])
    world.store.ledger.submitted(chunk, world.transport.add_job("A", instances, accepted=2))
    world.transport.peer("A").hangs_after = 2
    world.store = world.open_store("here")
    world.start()
    world.wait(lambda: world.transport.running() == 0, "the old job is canceled")
    world.transport.peer("A").hangs_after = None
    world.becomes(delivery, Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted(sent)
    assert found(world.store, delivery).attempts == 2
    assert world.store.ledger.open_chunks() == []


def test_after_a_crash_before_the_job_was_made_all_is_sent(world: World) -> None:
    sent = world.study("s", 4)
    delivery = world.send("s")
    world.store.queue.claim("A", "lease of the dead", world.clock())
    instances = list_instances(cast(OrthancRest, world.orthanc), "Study", "s")
    world.store.ledger.open_chunk("s", "A", delivery, [each.digest for each in instances])
    world.store = world.open_store("here")
    world.start()
    world.becomes(delivery, Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted(sent)


def test_a_job_that_orthanc_no_longer_knows_loses_nothing(world: World) -> None:
    sent = world.study("s", 20)
    world.study("first", 1)
    world.start()
    world.becomes(world.send("first"), Status.COMPLETED)
    world.transport.peer("A").forgets_jobs = True
    world.transport.job_ended = None  # its event was lost with it
    delivery = world.send("s")
    world.wait(lambda: len(world.stored("A")) > 1, "sent once")
    world.transport.peer("A").forgets_jobs = False
    world.becomes(delivery, Status.COMPLETED)
    assert set(world.stored("A")) >= set(sent)
    assert len(world.store.ledger.accepted("s", "A")) == 20


def test_a_counted_delivery_is_completed_only_with_what_the_destination_lists(world: World) -> None:
    world.destinations["A"] = destination("A", retry=QUICK, verify=Verify.COUNTED)
    world.study("s")
    world.start()
    delivery = world.send("s")
    world.becomes(delivery, Status.COMPLETED)
    assert found(world.store, delivery).verified == Verify.COUNTED


@pytest.mark.parametrize("told", ["gone", "unknown", "while asked"])
def test_what_is_deleted_while_it_is_verified_has_arrived_and_is_not_called_verified(world: World, told: str) -> None:
    world.destinations["A"] = destination("A", retry=QUICK, verify=Verify.COUNTED)
    world.study("s")
    asked, listed = world.transport.find, closing.accepted_instances

    def deleted(*question: Any) -> set[str] | SendError:
        world.orthanc.delete_study("s")
        return BUSY if told == "while asked" else asked(*question)

    def gone(*question: Any) -> list[Instance]:
        if told != "while asked":
            world.orthanc.delete_study("s")
        if told == "unknown":
            raise OrthancError(404, 17, "Unknown resource")
        return listed(*question)

    world.transport.find = deleted  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "accepted_instances", gone)
        world.start()
        delivery = world.send("s")
        world.becomes(delivery, Status.COMPLETED)
    stored = found(world.store, delivery)
    assert (stored.verified, stored.instances_sent) == (Verify.ACCEPTED, len(world.stored("A")))
    assert any("no longer had them" in each.text for each in world.store.history.timeline(delivery))


def test_destinations_that_never_tell_what_they_have_keep_no_other_waiting_for_its_proof(world: World) -> None:
    ended, asked, silent = threading.Event(), world.transport.find, threading.Semaphore(0)

    def never_tells(to: Destination, *question: Any) -> set[str] | SendError:
        if to.name == "B":
            return asked(to, *question)
        silent.release()
        ended.wait()
        return BUSY

    world.transport.find = never_tells  # type: ignore[method-assign]
    for name in "ABC":
        world.destinations[name] = destination(name, retry=QUICK, verify=Verify.COUNTED)
    for number in range(2 * SHARED):
        world.study(f"s{number}", 1)
        world.send(f"s{number}", "AC"[number % 2])
    world.start()
    try:
        for _ in range(SHARED):
            assert silent.acquire(timeout=LIMIT)
        for number in range(5):
            world.study(f"b{number}", 1)
            world.becomes(world.send(f"b{number}", "B"), Status.COMPLETED)
        assert not silent.acquire(blocking=False)
    finally:
        ended.set()


def test_a_counted_delivery_of_which_nothing_was_kept_fails_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "LOOK_AGAIN_AFTER", ())
    world.destinations["A"] = destination("A", retry=QUICK, verify=Verify.COUNTED)
    world.transport.peer("A").keeps = False
    world.study("s", 2)
    world.start()
    delivery = world.send("s")
    world.becomes(delivery, Status.FAILED)
    told = found(world.store, delivery)
    assert (told.instances_sent, told.instances_refused, told.error_code) == (0, 2, "NotKept")


@pytest.mark.parametrize("error", [BUSY, BROKEN])
def test_an_instance_that_fails_each_time_is_named_when_it_is_given_up(world: World, error: SendError) -> None:
    sent = world.study("s", 5)
    world.patience["s"] = 1e5
    world.transport.peer("A").fails = {sent[2]: error}
    world.start()
    delivery = world.send("s")
    world.becomes(delivery, Status.RETRYING)
    world.wait(lambda: len(world.stored("A")) == 4, "the others")
    world.later += 2e5
    world.running.ring()
    world.becomes(delivery, Status.FAILED)
    assert [(row.instance_id, row.code) for row in world.store.history.refusals(delivery)] == [(sent[2], error.code)]
    assert found(world.store, delivery).instances_refused == 0
    world.transport.peer("A").fails = {}
    world.later += 60  # it may be held, and is probed
    again = world.send("s")  # it was not refused for good
    world.becomes(again, Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted(sent)


def test_what_failed_and_then_arrived_is_named_no_more(world: World) -> None:
    sent = world.study("s", 5)
    world.transport.peer("A").fails = {sent[2]: BUSY}
    world.start()
    delivery = world.send("s")
    world.wait(lambda: bool(world.store.history.refusals(delivery)), "it is named")
    world.transport.peer("A").fails = {}
    world.becomes(delivery, Status.COMPLETED)
    assert world.store.history.refusals(delivery) == []


def test_destinations_that_must_be_tried_by_a_job_share_one_lane(world: World) -> None:
    world.destinations = {name: destination(name, retry=QUICK, local_aet="OTHERME") for name in ("A", "B", "C")}
    for name in world.destinations:
        world.transport.peer(name).patience = 0.05
    world.study("s")
    world.start()
    for delivery in [world.send("s", name) for name in world.destinations]:
        world.becomes(delivery, Status.COMPLETED)
    assert world.transport.most_tries_at_once == 1


def test_one_that_is_being_verified_keeps_none_back_of_a_destination_that_is_not_proven(world: World) -> None:
    world.destinations["A"] = destination("A", retry=QUICK, verify=Verify.COUNTED)
    world.start()
    world.study("had", 1)
    world.becomes(world.send("had"), Status.COMPLETED)
    world.later += PROVEN_FOR + 1
    answered, asked = threading.Event(), world.transport.find

    def waits_for_the_other(*question: Any) -> set[str] | SendError:
        assert answered.wait(LIMIT)
        return asked(*question)

    world.transport.find = waits_for_the_other  # type: ignore[method-assign]
    nothing_to_send = world.send("had")
    world.study("new", 1)
    behind = world.send("new")
    world.wait(lambda: len(world.stored("A")) == 2, "the one behind is sent")
    answered.set()
    for delivery in (nothing_to_send, behind):
        world.becomes(delivery, Status.COMPLETED)


def test_an_orthanc_that_does_not_answer_only_delays(world: World) -> None:

    sent = world.study("s")
    world.orthanc.failures["/tools/bulk-content"] = unreachable()
    world.start()
    delivery = world.send("s")
    world.wait(lambda: found(world.store, delivery).attempts > 0, "tried")
    world.orthanc.failures.clear()
    world.becomes(delivery, Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted(sent)


@pytest.mark.parametrize("associations", [1, 3])
def test_a_send_has_as_many_associations_as_it_asks_for(world: World, associations: int) -> None:
    """More or fewer than its destination, which has two."""
    world.destinations = {"A": world.destinations["A"]}
    world.associations = associations
    world.study("s", 40)
    world.start()
    world.becomes(world.send("s"), Status.COMPLETED)  # the first try proves the destination
    world.study("t", 40)
    world.transport.peer("A").hangs_after = 1
    world.send("t")
    world.wait(lambda: world.transport.running("A") == associations, "all associations are open")
    for _ in range(20):
        world.running.ring()
        time.sleep(0.005)
        assert world.transport.running("A") == associations


# --- a database that does not answer, and other owners ---------------------------------------------------------------


class Failing:
    """A method of a room of the store that fails as a lost connection does, for as long as `times` says."""

    def __init__(self, method: Callable[..., object], times: int) -> None:
        self._method = method
        self.left = times

    def __call__(self, *arguments: object, **named: object) -> object:
        if self.left:
            self.left -= 1
            raise LOST[0]("the server closed the connection")
        return self._method(*arguments, **named)


@pytest.mark.parametrize(
    ("room", "method"),
    [
        ("queue", "claim"),
        ("queue", "listed"),
        ("queue", "progress"),
        ("queue", "succeed"),
        ("queue", "job_submitted"),
        ("queue", "wake_due"),
        ("ledger", "open_chunk"),
        ("ledger", "submitted"),
        ("ledger", "close_chunk"),
        ("ledger", "accepted"),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_database_that_goes_away_at_any_step_loses_nothing(
    world: World, room: str, method: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "DATABASE_RETRY_SECONDS", 0.02)
    sent = world.study("s", 250)
    place = getattr(world.store, room)
    failing = Failing(getattr(place, method), times)
    monkeypatch.setattr(place, method, failing)
    world.start()
    delivery = world.send("s")
    world.becomes(delivery, Status.COMPLETED)
    assert not failing.left
    assert sorted(world.stored("A")) == sorted(sent)
    assert len(world.store.ledger.accepted("s", "A")) == 250
    assert world.store.ledger.open_chunks() == []


def test_a_database_that_goes_away_when_an_instance_is_refused_does_not_keep_it_from_being_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "DATABASE_RETRY_SECONDS", 0.02)
    sent = world.study("s", 3)
    world.transport.peer("A").refused = {sent[1]}
    failing = Failing(world.store.queue.refused, 2)
    monkeypatch.setattr(world.store.queue, "refused", failing)
    world.start()
    delivery = world.send("s")
    world.becomes(delivery, Status.WARNING)
    assert not failing.left
    assert [each.instance_id for each in world.store.history.refusals(delivery)] == [sent[1]]
    world.becomes(world.send("s"), Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted({*sent} - {sent[1]})


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(("room", "method"), [("ledger", "remove"), ("queue", "refused")])
def test_a_database_that_takes_what_was_not_kept_and_goes_away_hides_nothing_of_it(
    world: World, room: str, method: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the commit is lost."""
    monkeypatch.setattr(dispatcher_module, "DATABASE_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(verification, "LOOK_AGAIN_AFTER", ())
    world.destinations["A"] = destination("A", retry=QUICK, verify=Verify.COUNTED)
    world.transport.peer("A").keeps = False
    sent = world.study("s", 3)
    place = getattr(world.store, room)
    failing = Failing(lambda: None, times)
    write = getattr(place, method)

    def written(*arguments: object) -> None:
        write(*arguments)
        failing()

    monkeypatch.setattr(place, method, written)
    world.start()
    delivery = world.send("s")
    world.becomes(delivery, Status.FAILED)
    assert not failing.left
    assert sorted(each.instance_id for each in world.store.history.refusals(delivery)) == sorted(sent)


@pytest.mark.parametrize("times", [1, 2])
def test_a_database_that_goes_away_when_a_destination_is_back_does_not_keep_what_waits_for_it_asleep(
    world: World, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "DATABASE_RETRY_SECONDS", 0.02)
    world.destinations["A"] = destination("A", retry=replace(QUICK, first=3600, max=3600))
    world.study("s")
    world.study("t")
    world.transport.peer("A").alive = False
    world.start()
    waiting = world.send("s")
    world.becomes(waiting, Status.RETRYING)
    world.transport.peer("A").alive = True
    failing = Failing(world.store.queue.wake_destination, times)
    monkeypatch.setattr(world.store.queue, "wake_destination", failing)
    world.send("t")
    world.becomes(waiting, Status.COMPLETED)
    assert not failing.left


@pytest.mark.parametrize("method", ["accepted", "refused"])
def test_a_database_that_goes_away_loses_nothing_of_what_was_just_listed(
    world: World, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "DATABASE_RETRY_SECONDS", 0.02)
    world.study("before")
    sent = world.study("s")
    world.start()
    world.becomes(world.send("before"), Status.COMPLETED)
    world.listings.keep("Study", "s", list_instances(cast(OrthancRest, world.orthanc), "Study", "s"))
    failing = Failing(getattr(world.store.ledger, method), 2)
    monkeypatch.setattr(world.store.ledger, method, failing)
    world.becomes(world.send("s"), Status.COMPLETED)
    assert not failing.left
    assert sorted(each for each in world.stored("A") if each in sent) == sorted(sent)


def test_a_lost_database_is_told_once_and_so_is_its_return(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "DATABASE_RETRY_SECONDS", 0.02)
    world.start()
    failing = Failing(world.store.queue.wake_due, 5)
    monkeypatch.setattr(world.store.queue, "wake_due", failing)
    world.running.ring()
    world.wait(lambda: any("answers again" in line for line in world.log) and not failing.left)
    world.becomes(world.send("s-unknown"), Status.FAILED)
    assert len([line for line in world.log if "does not answer; nothing new is sent" in line]) <= 2


def test_what_an_orthanc_that_died_was_sending_is_taken_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(dispatcher_module, "LEASE_RENEWAL_SECONDS", 0.05)
    sent = world.study("s")
    delivery = world.send("s")
    dead = world.open_store("there")
    assert dead.queue.claim("A", "lease of the dead", world.clock()) is not None
    dead.ledger.open_chunk("s", "A", delivery, [b"0" * 16])
    world.start()
    time.sleep(0.3)  # long enough for several looks
    assert world.stored("A") == []
    world.later = 61.0
    world.running.ring()
    world.becomes(delivery, Status.COMPLETED)
    assert sorted(world.stored("A")) == sorted(sent)
    assert world.store.ledger.open_chunks() == []


def test_who_was_thought_dead_sends_no_more_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "LEASE_RENEWAL_SECONDS", 0.05)
    world.study("first", 1)
    world.start()
    world.becomes(world.send("first"), Status.COMPLETED)
    world.transport.peer("A").hangs_after = 1
    world.study("s")
    delivery = world.send("s")
    world.becomes(delivery, Status.SENDING)
    world.wait(lambda: world.transport.running() > 0)
    there = world.open_store("there")
    adopted = there.queue.adopt(world.clock() + 61)
    assert [each.id for each in adopted] == [delivery]
    world.running.ring()
    world.wait(lambda: any("belongs to another router" in line for line in world.log))
    assert world.transport.running() == 0
    assert found(world.store, delivery).owner == "there"


def test_leases_are_renewed_however_long_orthanc_takes_to_tell_of_each_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher_module, "LEASE_RENEWAL_SECONDS", 0.0)
    for module in (under_way, workers):
        monkeypatch.setattr(module, "LONGEST_ROUND", 0.0)
    for name in ("A", "B"):
        world.transport.peer(name).hangs_after = 1
    world.study("s", 40)
    world.start()
    for name in ("A", "B"):
        world.send("s", name)
    world.wait(lambda: world.transport.running() == 4, "all lanes are in use")
    done: list[str] = []
    report, renew = world.transport.report, world.store.queue.renew_leases

    def look(job_id: str, count: int) -> JobReport:
        done.append(job_id)
        return report(job_id, count)

    def renewed(leases: Iterable[str], now: float) -> set[str]:
        done.append("renewed")
        return renew(leases, now)

    monkeypatch.setattr(world.transport, "report", look)
    monkeypatch.setattr(world.store.queue, "renew_leases", renewed)
    for job_id in list(world.transport.jobs):
        world.running.job_ended(job_id, JobState.RUNNING)
    world.wait(lambda: set(world.transport.jobs) <= set(done), "all are looked at")
    in_a_row = [len(list(each)) for looks, each in groupby(done, key="renewed".__ne__) if looks]
    assert "renewed" in done
    assert max(in_a_row) <= 2, "one whose time has come, and one that Orthanc tells of"


def test_who_cannot_renew_its_leases_ends_its_jobs_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "DATABASE_RETRY_SECONDS", 0.02)
    world.study("first", 1)
    world.start()
    world.becomes(world.send("first"), Status.COMPLETED)
    world.transport.peer("A").hangs_after = 1
    world.study("s")
    delivery = world.send("s")
    world.wait(lambda: world.transport.running() > 0)
    failing = [Failing(getattr(world.store.queue, name), 1_000_000) for name in ("wake_due", "renew_leases")]
    monkeypatch.setattr(world.store.queue, "wake_due", failing[0])
    monkeypatch.setattr(world.store.queue, "renew_leases", failing[1])
    world.later = dispatcher_module.FENCE_SECONDS + 1
    world.running.ring()
    world.wait(lambda: world.transport.running() == 0, "the job is canceled")
    world.transport.peer("A").hangs_after = None
    for each in failing:
        each.left = 0
    world.becomes(delivery, Status.COMPLETED)


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_process_takes_no_lane_and_no_more_than_some_run_at_once(world: World) -> None:
    for name in ("P", "Q"):
        world.destinations[name] = destination(name, kind=Kind.PROCESS, retry=QUICK)
        world.transport.peer(name).hangs_after = 0
    world.lanes = 1
    world.start()
    for number in range(3):
        world.study(f"p{number}")
        world.send(f"p{number}", "P" if number < 2 else "Q")
    world.wait(lambda: world.transport.running("P") + world.transport.running("Q") == MOST_PROCESSES, "some run")
    world.study("s")
    world.becomes(world.send("s", "A"), Status.COMPLETED)
    assert world.transport.running("P") + world.transport.running("Q") == MOST_PROCESSES


def test_a_process_gets_its_study_whole(world: World) -> None:
    world.destinations["P"] = destination("P", kind=Kind.PROCESS, retry=QUICK)
    world.start()
    world.study("s", count=250)
    world.becomes(world.send("s", "P"), Status.COMPLETED)
    assert [len(job.instances) for job in world.transport.jobs.values()] == [250]


def test_late_instances_make_it_run_again_with_all_of_them(world: World) -> None:
    world.destinations["P"] = destination("P", kind=Kind.PROCESS, retry=QUICK)
    world.start()
    world.study("s", count=3)
    world.becomes(world.send("s", "P"), Status.COMPLETED)
    world.study("s", count=2)
    world.becomes(world.send("s", "P"), Status.COMPLETED)
    world.becomes(world.send("s", "P"), Status.COMPLETED)
    assert [len(job.instances) for job in world.transport.jobs.values()] == [3, 5]
