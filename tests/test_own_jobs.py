# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router's own jobs: in order, until one is not accepted; looked at, paused and forgotten like Orthanc's."""

import queue
import re
import threading

import pytest

from builders import instance
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.transports.own_jobs import PREFIX, REMEMBERED, OwnJob, OwnJobs
from dicom_router.transports.transport import JobReport, JobState

REFUSED = SendError.refusal("0xC000", "No.")
LIMIT = 10.0  # seconds


class Ended:
    """What was told of jobs that ended."""

    def __init__(self) -> None:
        self._told: queue.Queue[tuple[str, JobState]] = queue.Queue()

    def __call__(self, job_id: str, state: JobState) -> None:
        self._told.put((job_id, state))

    def next(self) -> tuple[str, JobState]:
        return self._told.get(timeout=LIMIT)


def instances(count: int) -> list[Instance]:
    return [instance(number) for number in range(count)]


def unexpectedly(_: Instance) -> None:
    raise ValueError("what nobody thought of")


def test_all_are_sent_in_order_and_the_end_is_told() -> None:
    ended, sent = Ended(), list[str]()
    jobs = OwnJobs(ended)
    job_id = jobs.start(instances(5), lambda each: sent.append(each.id))
    assert ended.next() == (job_id, JobState.SUCCESS)
    assert sent == [each.id for each in instances(5)]
    assert jobs.report(job_id, 5) == JobReport(JobState.SUCCESS, 5)


def test_it_stops_at_the_first_that_is_not_accepted() -> None:
    ended = Ended()
    jobs = OwnJobs(ended)
    bad = instances(5)[2].id
    job_id = jobs.start(instances(5), lambda each: REFUSED if each.id == bad else None)
    assert ended.next() == (job_id, JobState.FAILURE)
    assert jobs.report(job_id, 5) == JobReport(JobState.FAILURE, 2, REFUSED)


def test_an_unexpected_exception_is_a_passing_error_of_that_instance() -> None:
    ended = Ended()
    jobs = OwnJobs(ended)
    job_id = jobs.start(instances(2), unexpectedly)
    assert ended.next() == (job_id, JobState.FAILURE)
    error = jobs.report(job_id, 2).error
    assert error is not None
    assert error.code == "InternalError"
    assert re.fullmatch(r"ValueError in transports/own_jobs\.py, line \d+", error.message)  # and not what it says
    assert not error.permanent


def test_a_canceled_job_ends_after_the_instance_it_is_at() -> None:
    ended, begun, go_on = Ended(), threading.Event(), threading.Event()
    jobs = OwnJobs(ended)

    def slowly(_: Instance) -> None:
        begun.set()
        assert go_on.wait(LIMIT)

    job_id = jobs.start(instances(3), slowly)
    assert begun.wait(LIMIT)
    assert jobs.pause(job_id, 3) == JobReport(JobState.RUNNING, 0)
    go_on.set()
    assert ended.next() == (job_id, JobState.FAILURE)
    assert jobs.report(job_id, 3).accepted == 1


def test_a_job_of_an_earlier_life_is_gone_and_known_as_own() -> None:
    jobs = OwnJobs(Ended())
    assert jobs.owns("router-1")
    assert not jobs.owns("6f1b7a52-0000-4000-8000-000000000000")
    assert jobs.report("router-1", 1) == JobReport(JobState.GONE, 0)
    jobs.cancel("router-1")


def test_a_job_that_gets_no_thread_is_none_and_does_not_keep_the_router_from_stopping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    jobs = OwnJobs(Ended())
    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(RuntimeError):
        jobs.start_work(OwnJob(instances(1)), lambda _: None, "6f1b7a52")
    assert jobs.report(f"{PREFIX}6f1b7a52", 1).state is JobState.GONE
    jobs.end()
    jobs.join(LIMIT)


def test_the_memory_of_ended_jobs_is_bounded() -> None:
    ended = Ended()
    jobs = OwnJobs(ended)
    first = jobs.start(instances(1), lambda _: None)
    for _ in range(REMEMBERED + 2):
        ended.next()
        last = jobs.start(instances(1), lambda _: None)
    ended.next()
    assert jobs.report(first, 1).state is JobState.GONE
    assert jobs.report(last, 1).state is JobState.SUCCESS
