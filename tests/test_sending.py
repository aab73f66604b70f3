# SPDX-License-Identifier: AGPL-3.0-or-later
"""One attempt: chunks, who is blamed, the second round, and when it is over."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import (
    BROKEN,
    BUSY,
    DEAD,
    NOT_UNDERSTOOD,
    NOW,
    STRANGER,
    UNSUPPORTED,
    claimed,
    destination,
    instance,
)
from dicom_router.deliveries.delivery import Delivery, Reason
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.destination import Format, Kind
from dicom_router.dispatch.job import LONGEST_LOOK, SHORTEST_LOOK, Job
from dicom_router.dispatch.sending import (
    LARGEST_CHUNK,
    SMALLEST_CHUNK,
    STRIKES,
    Chunk,
    Sending,
)
from dicom_router.store.sqlite import open_sqlite
from dicom_router.store.store import Store


@pytest.fixture(scope="module")
def delivery(tmp_path_factory: pytest.TempPathFactory) -> Delivery:
    return claimed(Store(open_sqlite(tmp_path_factory.mktemp("store") / "router.db"), "here", lambda: NOW))


def sending(delivery: Delivery, instances: Sequence[Instance]) -> Sending:
    made = Sending(delivery, destination(), prepared=True)
    made.pending.extend(instances)
    return made


def many(count: int, study: str = "study") -> list[Instance]:
    return [instance(number, study) for number in range(count)]


def handed_out(attempt: Sending, lanes: int = 1) -> Chunk:
    """The next chunk, under way."""
    instances = attempt.next_chunk(lanes)
    chunk = Chunk(len(attempt.chunks) + 1, instances, Job(len(instances), id="job"))
    attempt.chunks.append(chunk)
    return chunk


# --- chunks ----------------------------------------------------------------------------------------------------------


def test_chunks_hold_all_instances_once_and_in_order(delivery: Delivery) -> None:
    for count in (1, 15, 16, 17, 99, 100, 101, 500, 1234):
        for lanes in (1, 2, 4, 16):
            attempt = sending(delivery, many(count))
            chunks = []
            while attempt.pending:
                chunks.append(attempt.next_chunk(lanes))
            assert [each for chunk in chunks for each in chunk] == many(count)
            assert max(map(len, chunks)) <= LARGEST_CHUNK
            assert all(len(chunk) >= SMALLEST_CHUNK for chunk in chunks[:-1])


def chunk_sizes(delivery: Delivery, count: int, lanes: int) -> list[int]:
    attempt = sending(delivery, many(count))
    sizes = []
    while attempt.pending:
        sizes.append(len(attempt.next_chunk(lanes)))
    return sizes


def test_every_lane_gets_the_same_number_of_chunks_of_the_same_size(delivery: Delivery) -> None:
    for count, lanes, expected in ((64, 2, 2), (800, 8, 8), (1000, 8, 16), (1000, 1, 10), (5000, 4, 52)):
        sizes = chunk_sizes(delivery, count, lanes)
        assert len(sizes) == expected
        assert set(sizes[:-1]) == {sizes[0]}
        assert sizes[0] - expected < sizes[-1] <= sizes[0]


# --- looking at jobs -------------------------------------------------------------------------------------------------


def looks(accepted_at: Callable[[float], int], until: float) -> list[float]:
    """When a job of 100 instances, submitted at 0, is looked at; `accepted_at` tells its progress."""
    job = Job(100)
    job.submitted("job", 0.0)
    times = []
    while job.look_at <= until:
        times.append(job.look_at)
        job.looked(accepted_at(job.look_at), job.look_at)
    return times


def test_the_end_of_a_job_is_seen_soon_with_few_looks() -> None:
    for seconds in (0.5, 0.9, 2.0, 7.0, 60.0):
        times = looks(lambda now, whole=seconds: min(100, int(100 * now / whole)), seconds)
        late = seen_late_by(times, seconds)
        assert late <= max(SHORTEST_LOOK, 0.03 * seconds), seconds
        assert len(times) <= 15 + seconds / LONGEST_LOOK, seconds


def seen_late_by(times: list[float], end: float) -> float:
    """How long after its end the job would have been looked at, at the latest."""
    job = Job(100)
    job.submitted("job", 0.0)
    for time in times:
        job.looked(min(100, int(100 * time / end)), time)
    return job.look_at - end


def test_a_job_that_does_not_go_on_is_looked_at_ever_less() -> None:
    times = looks(lambda now: min(99, int(now * 100)), 60.0)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[-1] == pytest.approx(LONGEST_LOOK)
    assert len(times) < 150


def test_a_chunk_holds_instances_of_one_study(delivery: Delivery) -> None:
    attempt = sending(delivery, many(5, "one") + many(5, "two"))
    studies = []
    while attempt.pending:
        studies.append({each.study_id for each in attempt.next_chunk(1)})
    assert studies == [{"one"}, {"two"}]


JPEG_2000, JPEG_LOSSLESS, EXPLICIT, IMPLICIT = (f"1.2.840.10008.1.2{end}" for end in (".4.90", ".4.70", ".1", ""))
CT, SC = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"


def test_a_compressed_instance_goes_only_with_its_like(delivery: Delivery) -> None:
    """Orthanc 1.12 and later would decompress what comes after an uncompressed one of the same SOP class."""
    kinds = [(CT, EXPLICIT), (CT, JPEG_2000), (SC, EXPLICIT), (SC, JPEG_2000), (CT, JPEG_LOSSLESS), (SC, IMPLICIT)]
    unsent = [
        instance(10 * turn + number, sop_class_uid=sop_class, transfer_syntax=syntax)
        for turn in range(3)
        for number, (sop_class, syntax) in enumerate(kinds)
    ]
    attempt = Sending(delivery, destination())
    attempt.take_up(unsent)
    chunks = []
    while attempt.pending:
        taken = attempt.next_chunk(1)
        chunks.append((len(taken), {(each.sop_class_uid, each.transfer_syntax) for each in taken}))
    uncompressed = {(CT, EXPLICIT), (SC, EXPLICIT), (SC, IMPLICIT)}
    assert chunks == [(9, uncompressed), *((3, {kind}) for kind in sorted(set(kinds) - uncompressed))]


def test_what_is_given_back_goes_next_and_in_order(delivery: Delivery) -> None:
    attempt = sending(delivery, many(50))
    taken = attempt.next_chunk(1)
    attempt.give_back(taken)
    assert list(attempt.pending) == many(50)


# --- blame -----------------------------------------------------------------------------------------------------------


def test_a_chunk_that_succeeded_counts(delivery: Delivery) -> None:
    attempt = sending(delivery, many(10))
    chunk = handed_out(attempt)
    chunk.accepted = 4
    assert attempt.sent_now == 4
    attempt.chunk_succeeded(chunk)
    assert (attempt.sent, attempt.sent_now, attempt.over, attempt.result()) == (10, 10, True, None)


def test_an_instance_refused_for_good_is_named_and_the_rest_goes_on(delivery: Delivery) -> None:
    attempt = sending(delivery, many(10))
    assert attempt.chunk_failed(handed_out(attempt), 6, NOT_UNDERSTOOD) == instance(6)
    assert (attempt.sent, attempt.refused) == (6, 1)
    assert list(attempt.pending) == many(10)[7:]
    attempt.chunk_succeeded(handed_out(attempt))
    assert (attempt.sent, attempt.refused, attempt.over, attempt.result()) == (9, 1, True, None)


@pytest.mark.parametrize("problem", [BROKEN, DEAD])
def test_an_attempt_that_failed_itself_when_its_destination_became_held_has_failed(
    delivery: Delivery, problem: SendError
) -> None:
    attempt = sending(delivery, many(20))
    attempt.chunk_failed(handed_out(attempt, 4), 0, problem)
    if attempt.ending is None:
        attempt.wait(Reason.HELD, NOW + 15)
    assert attempt.result() is problem


def test_an_attempt_that_did_not_fail_since_its_last_success_waits_for_a_held_destination(delivery: Delivery) -> None:
    attempt = sending(delivery, many(20))
    attempt.chunk_failed(handed_out(attempt, 4), 0, BROKEN)
    attempt.chunk_succeeded(handed_out(attempt, 4))
    attempt.wait(Reason.HELD, NOW + 15)
    assert attempt.result() is Reason.HELD


def test_a_busy_answer_to_one_instance_is_not_why_its_destination_is_held(delivery: Delivery) -> None:
    attempt = sending(delivery, many(20))
    attempt.chunk_failed(handed_out(attempt, 4), 0, BUSY)
    attempt.wait(Reason.HELD, NOW + 15)
    assert attempt.result() is Reason.HELD


def test_a_suspect_gets_its_second_chance_when_the_rest_has_gone(delivery: Delivery) -> None:
    attempt = sending(delivery, many(10))
    assert attempt.chunk_failed(handed_out(attempt), 3, BUSY) is None
    assert instance(3) not in attempt.pending
    attempt.chunk_succeeded(handed_out(attempt))
    assert list(attempt.pending) == [instance(3)]
    attempt.chunk_succeeded(handed_out(attempt))
    assert (attempt.sent, attempt.over, attempt.result()) == (10, True, None)


def test_a_suspect_that_fails_again_is_left_for_the_next_attempt(delivery: Delivery) -> None:
    attempt = sending(delivery, many(10))
    attempt.chunk_failed(handed_out(attempt), 3, BUSY)
    attempt.chunk_succeeded(handed_out(attempt))
    attempt.chunk_failed(handed_out(attempt), 0, BROKEN)
    assert attempt.over
    assert (attempt.sent, attempt.refused, attempt.result()) == (9, 0, BROKEN)


def test_a_class_that_is_not_supported_is_tried_once_more_and_then_refused(delivery: Delivery) -> None:
    attempt = sending(delivery, many(3))
    assert attempt.chunk_failed(handed_out(attempt), 0, UNSUPPORTED) is None
    attempt.chunk_succeeded(handed_out(attempt))
    assert attempt.chunk_failed(handed_out(attempt), 0, UNSUPPORTED) == instance(0)
    assert (attempt.sent, attempt.refused, attempt.over, attempt.result()) == (2, 1, True, None)


def test_many_instances_of_a_class_that_is_not_supported_do_not_hold_back_the_rest(delivery: Delivery) -> None:
    attempt = sending(delivery, many(20))
    bad = set(many(8))
    for _ in range(200):
        if attempt.over:
            break
        chunk = handed_out(attempt)
        stop = next((number for number, each in enumerate(chunk.instances) if each in bad), None)
        if stop is None:
            attempt.chunk_succeeded(chunk)
        else:
            attempt.chunk_failed(chunk, stop, UNSUPPORTED)
    assert (attempt.sent, attempt.refused, attempt.over, attempt.result()) == (12, 8, True, None)


@pytest.mark.parametrize("error", [DEAD, STRANGER])
def test_a_destination_that_cannot_be_reached_ends_the_attempt_and_blames_no_instance(
    delivery: Delivery, error: SendError
) -> None:
    attempt = sending(delivery, many(300))
    chunk, other = handed_out(attempt), handed_out(attempt)
    assert attempt.chunk_failed(chunk, 0, error) is None
    assert not attempt.has_work
    assert not attempt.over  # the other chunk is still under way
    attempt.chunk_succeeded(other)
    assert (attempt.over, attempt.result(), attempt.set_aside) == (True, error, [])
    assert len(attempt.pending) == 300 - len(other.instances)


def test_failures_in_a_row_without_anything_accepted_end_the_attempt(delivery: Delivery) -> None:
    attempt = sending(delivery, many(200))
    for _ in range(STRIKES):
        assert attempt.has_work
        attempt.chunk_failed(handed_out(attempt), 0, BROKEN)
    assert (attempt.over, attempt.result()) == (True, BROKEN)


def test_something_accepted_between_failures_lets_the_attempt_go_on(delivery: Delivery) -> None:
    attempt = sending(delivery, many(200))
    for _ in range(2 * STRIKES):
        attempt.chunk_failed(handed_out(attempt), 5, BROKEN)
    assert attempt.has_work


def test_refused_instances_in_a_row_do_not_end_the_attempt(delivery: Delivery) -> None:
    attempt = sending(delivery, many(30))
    for number in range(10):
        assert attempt.chunk_failed(handed_out(attempt), 0, NOT_UNDERSTOOD) == instance(number)
    assert attempt.has_work


def test_a_later_attempt_begins_elsewhere_than_the_one_before(delivery: Delivery) -> None:
    unsent = [instance(number) for number in range(10)]
    attempt = Sending(replace(delivery, attempts=2, error_code="0xA700"), destination("A"))
    attempt.take_up(unsent)
    assert list(attempt.pending) == [*unsent[3:], *unsent[:3]]


def test_a_job_that_stopped_at_an_accepted_instance_blames_nobody(delivery: Delivery) -> None:
    attempt = sending(delivery, many(10))
    attempt.chunk_stopped(handed_out(attempt), 4)
    assert (attempt.sent, attempt.refused, attempt.set_aside, attempt.error) == (4, 0, [], None)
    assert list(attempt.pending) == [instance(number) for number in range(4, 10)]


def test_an_attempt_that_is_to_end_hands_nothing_out(delivery: Delivery) -> None:
    attempt = sending(delivery, many(10))
    attempt.ending = Reason.PAUSED
    assert not attempt.has_work
    assert (attempt.over, attempt.result()) == (True, Reason.PAUSED)


def test_an_attempt_is_not_over_before_it_is_prepared(delivery: Delivery) -> None:
    attempt = Sending(delivery, destination())
    assert not attempt.has_work
    assert not attempt.over


# --- whatever happens ------------------------------------------------------------------------------------------------

ERRORS = st.sampled_from([BROKEN, BUSY, DEAD, STRANGER, NOT_UNDERSTOOD, UNSUPPORTED])
SCRIPT = st.lists(
    st.tuples(st.integers(0, 3), st.one_of(st.none(), ERRORS), st.integers(0, LARGEST_CHUNK)), max_size=80
)


@given(count=st.integers(0, 150), lanes=st.integers(1, 4), script=SCRIPT)
def test_every_instance_ends_accepted_refused_or_left_and_none_twice(
    delivery: Delivery, count: int, lanes: int, script: list[tuple[int, SendError | None, int]]
) -> None:
    attempt = sending(delivery, many(count))
    accepted: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    results = iter(script)
    for _ in range(10 * count + 10):
        while attempt.has_work and len(attempt.chunks) < lanes:
            handed_out(attempt, lanes)
        if attempt.over:
            break
        which, error, stop = next(results, (0, None, 0))
        chunk = attempt.chunks[which % len(attempt.chunks)]
        stop = min(stop, len(chunk.instances))
        if error is None:
            accepted.update(each.id for each in chunk.instances)
            attempt.chunk_succeeded(chunk)
        else:
            accepted.update(each.id for each in chunk.instances[:stop])
            bad = attempt.chunk_failed(chunk, stop, error)
            refused.update([bad.id] if bad else [])
    assert attempt.over
    left = Counter(each.id for each in attempt.pending) + Counter(each.id for each, _ in attempt.set_aside)
    assert accepted + refused + left == Counter(each.id for each in many(count))
    assert (attempt.sent, attempt.refused) == (accepted.total(), refused.total())
    assert (attempt.result() is None) == (not left)


# --- what goes whole -------------------------------------------------------------------------------------------------


def whole(delivery: Delivery, instances: Sequence[Instance]) -> Sending:
    zipped = replace(destination(), kind=Kind.FOLDER, format=Format.ZIP)
    made = Sending(delivery, zipped)
    made.take_up(instances)
    return made


def test_a_study_that_goes_whole_is_one_chunk_however_large(delivery: Delivery) -> None:
    attempt = whole(delivery, [*many(500, "one"), *many(3, "two")])
    assert [len(attempt.next_chunk(4)), len(attempt.next_chunk(4))] == [500, 3]
    assert not attempt.pending


@pytest.mark.parametrize("error", [BUSY, NOT_UNDERSTOOD, DEAD])
def test_when_it_fails_no_instance_is_blamed_and_nothing_goes_without_it(delivery: Delivery, error: SendError) -> None:
    attempt = whole(delivery, many(20))
    assert attempt.chunk_failed(handed_out(attempt), 0, error) is None
    assert attempt.result() == error
    assert len(attempt.pending) == 20


def test_after_a_failed_attempt_it_begins_where_it_began(delivery: Delivery) -> None:
    attempt = whole(replace(delivery, error_code="DiskFull", attempts=3), many(20))
    assert attempt.next_chunk(1) == many(20)
