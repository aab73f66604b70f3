# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sending that none of Orthanc's jobs can do alone: on a thread of ours, instance by instance, all at once, or with
jobs of Orthanc's; looked at like a job.

They do not outlive the process; after a restart they are gone, and the ledger knows how far they came.
"""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.transports.transport import JobReport, JobState
from dicom_router.unexpected import kind_and_place

PREFIX = "router-"
REMEMBERED = 200  # ended jobs that can still be looked at

SendOne = Callable[[Instance], SendError | None]
SendAll = Callable[[Sequence[Instance], threading.Event], SendError | None]  # the event: it should end


@dataclass
class OwnJob:
    """What is to be sent, in order, and how far that has come. Its thread advances it, and looks at `stop`."""

    instances: Sequence[Instance]
    accepted: int = 0
    state: JobState = JobState.RUNNING
    error: SendError | None = None
    stop: threading.Event = field(default_factory=threading.Event)  # end after the instance that is being sent
    silent: bool = False  # with `stop`: Orthanc stops, so its jobs are to be paused and not canceled
    over: threading.Event = field(default_factory=threading.Event)  # nobody waits for its end any more

    @property
    def left(self) -> Sequence[Instance]:
        """What is not accepted yet."""
        return self.instances[self.accepted :]


Work = Callable[[OwnJob], SendError | None]


class OwnJobs:
    """`ended` is told the ID and the state of each job that ends, on the job's own thread."""

    def __init__(self, ended: Callable[[str, JobState], None]) -> None:
        self._ended = ended
        self._jobs: dict[str, OwnJob] = {}
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def owns(self, job_id: str) -> bool:
        """Whether this ID is of one of the router's own jobs, also of an earlier life."""
        return job_id.startswith(PREFIX)

    def knows(self, job_id: str) -> bool:
        """Whether it is a job of this life that can still be looked at."""
        return job_id in self._jobs

    def start(self, instances: Sequence[Instance], send_one: SendOne) -> str:
        """Send these in order, until one is not accepted; answers the job's ID. `send_one` blocks, on a new thread."""
        return self.start_work(OwnJob(instances), lambda job: _in_order(job, send_one))

    def start_whole(self, instances: Sequence[Instance], send_all: SendAll) -> str:
        """Send these at once: all of them are accepted, or none. `send_all` blocks, on a new thread."""
        return self.start_work(OwnJob(instances), lambda job: _at_once(job, send_all))

    def start_work(self, job: OwnJob, work: Work, name: str = "") -> str:
        """Have `work` advance the job, on a new thread; answers the job's ID, which ends with `name` if that is given.

        The error that `work` answers is about the instance behind those that are accepted.
        """
        job_id = f"{PREFIX}{name or uuid.uuid4()}"
        thread = threading.Thread(target=self._run, args=(job_id, job, work), name="router-job", daemon=True)
        with self._lock:
            self._forget_old()
            self._jobs[job_id] = job
            try:
                thread.start()
            except RuntimeError:  # no more threads; what never ran would run for ever, and cannot be waited for
                del self._jobs[job_id]
                raise
            self._threads = {each for each in self._threads if each.is_alive()} | {thread}
        return job_id

    def bystander(self, instance: Instance) -> OwnJob:
        """One instance that is sent on the caller's thread; it is told to stop with the others."""
        return OwnJob([instance], stop=self._stopping, silent=True)

    def report(self, job_id: str, count: int) -> JobReport:  # noqa: ARG002 - the job knows its count
        job = self._jobs.get(job_id)
        return JobReport(job.state, job.accepted, job.error) if job else JobReport(JobState.GONE, 0)

    def pause(self, job_id: str, count: int) -> JobReport | None:
        job = self._jobs.get(job_id)
        if job is not None:
            job.silent = True
        self.cancel(job_id)
        return self.report(job_id, count)

    def cancel(self, job_id: str) -> None:
        job = self._jobs.get(job_id)
        if job is not None:
            job.stop.set()

    def end(self) -> None:
        """The router stops: end all after the instance that each is sending."""
        self._stopping.set()
        for job_id in list(self._jobs):
            self.pause(job_id, 0)

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the threads, which nobody else waits for any more."""
        for job in list(self._jobs.values()):
            job.over.set()
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, job_id: str, job: OwnJob, work: Work) -> None:
        try:
            job.error = work(job)
        except Exception as problem:  # noqa: BLE001 - an unknown, passing error; what it says may hold patient data
            job.error = SendError.passing("InternalError", kind_and_place(problem))
        job.state = JobState.FAILURE if job.error else JobState.SUCCESS  # last: whoever sees it sees the rest
        self._ended(job_id, job.state)

    def _forget_old(self) -> None:
        over = [job_id for job_id, job in self._jobs.items() if job.state is not JobState.RUNNING]
        for job_id in over[:-REMEMBERED]:
            del self._jobs[job_id]


def _in_order(job: OwnJob, send_one: SendOne) -> SendError | None:
    for instance in job.left:
        if job.stop.is_set():
            return SendError.passing("JobCanceled", "The sending was ended.")
        error = send_one(instance)
        if error is not None:
            return error
        job.accepted += 1
    return None


def _at_once(job: OwnJob, send_all: SendAll) -> SendError | None:
    error = send_all(job.instances, job.stop)
    if error is None:
        job.accepted = len(job.instances)
    return error
