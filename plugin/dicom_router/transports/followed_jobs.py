# SPDX-License-Identifier: AGPL-3.0-or-later
"""Waiting on a thread of ours for one of Orthanc's jobs."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.transports.own_jobs import OwnJob
from dicom_router.transports.transport import JobState

PAUSED = "Paused"
SHORTEST_LOOK, LONGEST_LOOK = 0.02, 0.1  # seconds between two looks at a job
# Each call is tried four times. While Orthanc stops, it answers nothing about jobs once one has ended.
CALL_TIMEOUT = 0.25  # seconds
LAST_TIMEOUT = 0.1  # seconds, once it may be stopping
MOST_EARLY = 100  # jobs may end before they are followed, as while their server is greeted
LAST_SECONDS = 1.2  # for a job that was told to end; longer than the dispatcher waits before it hangs up


class FollowedJobs:
    """Orthanc's jobs that our own are waiting for."""

    def __init__(self, rest: OrthancRest) -> None:
        self._rest = rest
        self._ends: dict[str, JobState | None] = {}
        self._early: deque[tuple[str, JobState]] = deque(maxlen=MOST_EARLY)  # of jobs that nobody follows, yet perhaps

    def tell(self, job_id: str, state: JobState) -> None:
        """Orthanc says that a job has ended; it may leave Orthanc's history at once."""
        self._early.append((job_id, state))
        if job_id in self._ends:
            self._ends[job_id] = state

    def cancel(self, job_id: str) -> None:
        """Have Orthanc end a job that nobody follows."""
        self._tell_orthanc(job_id, "cancel")

    def follow(self, job_id: str, job: OwnJob, advance: Callable[[dict[str, Any]], None]) -> dict[str, Any] | JobState:
        """Wait until Orthanc's job has ended; answers what it says, or its state when it has left Orthanc's history.

        `advance` sees each look at it. When `job` is to stop, Orthanc's is ended too, and answered as it stands.
        """
        self._ends[job_id] = None  # before the look at what was told: it may be told just now
        self._ends[job_id] = dict(list(self._early)).get(job_id, self._ends[job_id])
        try:
            return self._follow(job_id, job, advance)
        finally:
            del self._ends[job_id]

    def _follow(self, job_id: str, job: OwnJob, advance: Callable[[dict[str, Any]], None]) -> dict[str, Any] | JobState:
        pause = SHORTEST_LOOK
        while True:
            told = self._look(job_id, advance)
            if isinstance(told, JobState):
                return self._ends[job_id] or told
            if _ended(told):
                return self._given_up(job_id, told)
            if job.stop.wait(pause):
                return self._end(job_id, job, advance)
            pause = min(2 * pause, LONGEST_LOOK)

    def _look(
        self, job_id: str, advance: Callable[[dict[str, Any]], None], timeout: float = CALL_TIMEOUT
    ) -> dict[str, Any] | JobState:
        """What Orthanc says of the job, nothing when it did not answer; its state when it is gone."""
        try:
            told: dict[str, Any] = self._rest.get(f"/jobs/{job_id}", timeout=timeout)
        except OrthancError as problem:
            return JobState.GONE if problem.not_found else {}
        advance(told)
        return told

    def _given_up(self, job_id: str, told: dict[str, Any]) -> dict[str, Any]:
        if told["State"] == PAUSED:  # by hand; the rest is sent by another job, so this one must not be resumed
            self._tell_orthanc(job_id, "cancel")
        return told

    def _end(self, job_id: str, job: OwnJob, advance: Callable[[dict[str, Any]], None]) -> dict[str, Any] | JobState:
        """Orthanc's job goes on until the server has answered; while Orthanc stops, the dispatcher must see that."""
        self._tell_orthanc(job_id, "pause" if job.silent else "cancel")
        deadline = time.monotonic() + LAST_SECONDS
        while time.monotonic() < deadline:
            told = self._look(job_id, advance, LAST_TIMEOUT)
            if isinstance(told, JobState) or _ended(told):
                return told
            if job.over.wait(SHORTEST_LOOK):
                break
        return JobState.GONE

    def _tell_orthanc(self, job_id: str, what: str) -> None:
        with suppress(OrthancError):  # it has ended just now, or Orthanc stops
            self._rest.post(f"/jobs/{job_id}/{what}", {}, timeout=CALL_TIMEOUT)


def _ended(told: dict[str, Any]) -> bool:
    return bool(told) and told["State"] not in {"Pending", "Running", "Retry"}
