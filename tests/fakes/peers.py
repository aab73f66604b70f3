# SPDX-License-Identifier: AGPL-3.0-or-later
"""A transport to peers that behave as a test says: they accept, refuse, abort, hang or are dead."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from builders import BROKEN, DEAD, NOT_UNDERSTOOD, STRANGER
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError
from dicom_router.destination import Destination
from dicom_router.orthanc_rest import OrthancError
from dicom_router.transports.transport import JobReport, JobState

CANCELED = SendError(ErrorClass.TRANSIENT, Scope.INSTANCE, "JobCanceled", "Orthanc's job was canceled.")


@dataclass
class Peer:
    """One destination. `stored` are the instances it accepted, in their order, doubles too."""

    alive: bool = True
    refused: set[str] = field(default_factory=set)  # answered with 0xC000
    fails: dict[str, SendError] = field(default_factory=dict)  # each time, with this
    keeps: bool = True  # what it accepts
    patience: float = 0.0  # seconds that a try takes
    aborts: int = 0  # so many associations are aborted before their first instance
    knows_us_for: int | None = None  # instances, then it turns away whoever calls so
    hangs_after: int | None = None  # instances of each job that it accepts before it goes silent
    forgets_jobs: bool = False  # Orthanc does not know its jobs any more once they are done
    stored: list[str] = field(default_factory=list)


@dataclass
class Job:
    """One of Orthanc's jobs."""

    peer: Peer
    instances: list[Instance]
    accepted: int = 0
    state: JobState = JobState.RUNNING
    error: SendError | None = None


class FakeTransport:
    """Thread-safe, as the real one."""

    def __init__(self) -> None:
        self.peers: dict[str, Peer] = {}
        self.jobs: dict[str, Job] = {}
        self.most_at_once = 0
        self.most_tries_at_once = 0
        self._tries = 0
        self.job_ended: Callable[[str, JobState], None] | None = None  # Orthanc's change callback
        self.gone: set[str] = set()  # instances that Orthanc has no longer
        self.deaf = False  # Orthanc does not answer calls about jobs any more
        self._lock = threading.Lock()

    def peer(self, name: str) -> Peer:
        return self.peers.setdefault(name, Peer())

    def running(self, name: str | None = None) -> int:
        """Jobs under way."""
        return sum(
            job.state is JobState.RUNNING and (name is None or job.peer is self.peer(name))
            for job in list(self.jobs.values())
        )

    def add_job(self, name: str, instances: Sequence[Instance], accepted: int) -> str:
        """A job of an earlier life that is under way."""
        self.jobs["old"] = Job(self.peer(name), list(instances), accepted)
        self.peer(name).stored += [each.id for each in instances[:accepted]]
        return "old"

    # The Transport

    def submit(self, destination: Destination, instances: Sequence[Instance]) -> str:
        if self.gone.intersection(instance.id for instance in instances):
            raise OrthancError(404, 17, "Unknown resource")
        with self._lock:
            job_id = f"job-{len(self.jobs) + 1}"
            self.jobs[job_id] = Job(self.peer(destination.name), list(instances))
            self.most_at_once = max(self.most_at_once, self.running())
            self._work(self.jobs[job_id])
            state = self.jobs[job_id].state
        if self.job_ended is not None and state is not JobState.RUNNING:
            self.job_ended(job_id, state)
        return job_id

    def report(self, job_id: str, count: int) -> JobReport:
        with self._lock:
            job = self.jobs.get(job_id)
            if job is None:
                return JobReport(JobState.GONE, 0)
            assert count == len(job.instances)
            self._work(job)
            if job.state is not JobState.RUNNING and job.peer.forgets_jobs:
                return JobReport(JobState.GONE, 0)
            return JobReport(job.state, job.accepted, job.error)

    def pause(self, job_id: str, count: int) -> JobReport | None:
        if self.deaf:
            return None
        with self._lock:
            job = self.jobs.get(job_id)
            if job is not None and job.state is JobState.RUNNING:
                job.state, job.error = JobState.FAILURE, CANCELED
        return self.report(job_id, count)

    def cancel(self, job_id: str) -> None:
        with self._lock:
            job = self.jobs.get(job_id)
            if job is not None and job.state is JobState.RUNNING:
                job.state, job.error = JobState.FAILURE, CANCELED

    def try_one(self, destination: Destination, instance: Instance) -> SendError | None:
        with self._lock:
            self._tries += 1
            self.most_tries_at_once = max(self.most_tries_at_once, self._tries)
        time.sleep(self.peer(destination.name).patience)
        with self._lock:
            self._tries -= 1
            job = Job(self.peer(destination.name), [instance])
            self._work(job)
            return job.error

    def probe(self, destination: Destination) -> SendError | None:
        return None if self.peer(destination.name).alive else DEAD

    def find(
        self, destination: Destination, instances: Sequence[Instance], wait: Callable[[float], bool]
    ) -> set[str] | SendError:
        peer = self.peer(destination.name)
        stored = set(peer.stored) if peer.keeps else set()
        return {each.sop_instance_uid for each in instances if each.id in stored}

    commit = find

    def address(self, destination: Destination) -> tuple[str, int] | None:
        return None

    def _work(self, job: Job) -> None:
        peer = job.peer
        while job.state is JobState.RUNNING:
            if not peer.alive:
                job.state, job.error = JobState.FAILURE, DEAD
            elif job.accepted == len(job.instances):
                job.state = JobState.SUCCESS
            elif peer.hangs_after is not None and job.accepted >= peer.hangs_after:
                return
            elif peer.knows_us_for is not None and len(peer.stored) >= peer.knows_us_for:
                job.state, job.error = JobState.FAILURE, STRANGER
            elif peer.aborts:
                peer.aborts -= 1
                job.state, job.error = JobState.FAILURE, BROKEN
            elif job.instances[job.accepted].id in peer.refused:
                job.state, job.error = JobState.FAILURE, NOT_UNDERSTOOD
            elif job.instances[job.accepted].id in peer.fails:
                job.state, job.error = JobState.FAILURE, peer.fails[job.instances[job.accepted].id]
            else:
                peer.stored.append(job.instances[job.accepted].id)
                job.accepted += 1
