# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sending that none of Orthanc's jobs can do: on a thread of ours, instance by instance or all at once, looked at like
a job.

They do not outlive the process; after a restart they are gone, and the ledger knows how far they came.
"""

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.transports.transport import JobReport, JobState

PREFIX = "router-"
REMEMBERED = 200  # ended jobs that can still be looked at

SendOne = Callable[[Instance], SendError | None]
SendAll = Callable[[Sequence[Instance]], SendError | None]


@dataclass
class _Job:
    instances: Sequence[Instance]
    accepted: int = 0
    state: JobState = JobState.RUNNING
    error: SendError | None = None
    stop: threading.Event = field(default_factory=threading.Event)


class OwnJobs:
    """`ended` is told the ID and the state of each job that ends, on the job's own thread."""

    def __init__(self, ended: Callable[[str, JobState], None]) -> None:
        self._ended = ended
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()

    def owns(self, job_id: str) -> bool:
        """Whether this ID is of one of the router's own jobs, also of an earlier life."""
        return job_id.startswith(PREFIX)

    def start(self, instances: Sequence[Instance], send_one: SendOne) -> str:
        """Send these in order, until one is not accepted; answers the job's ID. `send_one` blocks, on a new thread."""
        return self._start(_Job(instances), lambda job: _in_order(job, send_one))

    def start_whole(self, instances: Sequence[Instance], send_all: SendAll) -> str:
        """Send these at once: all of them are accepted, or none. `send_all` blocks, on a new thread."""
        return self._start(_Job(instances), lambda job: _at_once(job, send_all))

    def _start(self, job: _Job, work: Callable[[_Job], SendError | None]) -> str:
        job_id = f"{PREFIX}{uuid.uuid4()}"
        with self._lock:
            self._forget_old()
            self._jobs[job_id] = job
        threading.Thread(target=self._run, args=(job_id, job, work), name="router-job", daemon=True).start()
        return job_id

    def report(self, job_id: str, count: int) -> JobReport:  # noqa: ARG002 - the job knows its count
        job = self._jobs.get(job_id)
        return JobReport(job.state, job.accepted, job.error) if job else JobReport(JobState.GONE, 0)

    def pause(self, job_id: str, count: int) -> JobReport | None:
        self.cancel(job_id)
        return self.report(job_id, count)

    def cancel(self, job_id: str) -> None:
        job = self._jobs.get(job_id)
        if job is not None:
            job.stop.set()

    def _run(self, job_id: str, job: _Job, work: Callable[[_Job], SendError | None]) -> None:
        try:
            job.error = work(job)
        except Exception as problem:  # noqa: BLE001 - told as an unknown, passing error
            job.error = SendError.passing("InternalError", repr(problem))
        job.state = JobState.FAILURE if job.error else JobState.SUCCESS  # last: whoever sees it sees the rest
        self._ended(job_id, job.state)

    def _forget_old(self) -> None:
        over = [job_id for job_id, job in self._jobs.items() if job.state is not JobState.RUNNING]
        for job_id in over[:-REMEMBERED]:
            del self._jobs[job_id]


def _in_order(job: _Job, send_one: SendOne) -> SendError | None:
    for instance in job.instances:
        if job.stop.is_set():
            return SendError.passing("JobCanceled", "The sending was ended.")
        error = send_one(instance)
        if error is not None:
            return error
        job.accepted += 1
    return None


def _at_once(job: _Job, send_all: SendAll) -> SendError | None:
    error = send_all(job.instances)
    if error is None:
        job.accepted = len(job.instances)
    return error
