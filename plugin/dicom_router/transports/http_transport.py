# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sending over HTTP: to a peer, or to a DICOMweb server.

Orthanc's jobs carry the instances, with all that Orthanc knows of TLS, proxies and credentials. Where such a job fails
and does not say why, what is left of it goes instance by instance and directly, and the server says what is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import ORTHANC_CANCELED_JOB, ErrorClass, Scope, SendError, of_http_status
from dicom_router.destination import Destination
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.transports.directory import Directory, Found
from dicom_router.transports.followed_jobs import PAUSED, FollowedJobs
from dicom_router.transports.http_node import HttpAnswer, HttpNode, NotReachedError
from dicom_router.transports.own_jobs import OwnJob, OwnJobs
from dicom_router.transports.series_uids import SeriesUids, series_of
from dicom_router.transports.transport import JobReport, JobState, Wait

PROBE_TIMEOUT = 4.0  # seconds
LARGEST_DIRECT = 64 * 1024 * 1024  # bytes; a larger instance is not copied through this process
UNEXPLAINED = SendError.passing("Unexplained", "The server has not taken the instance; Orthanc does not say why.")
STRANGER = "NoOrthanc"  # the code of what answers with success and is no such server
CANCELED = SendError.passing("JobCanceled", "The sending was ended.")

Listed = set[str] | HttpAnswer  # what a server has, or what it answers where it does not tell


class HttpService(Protocol):
    """What a peer and a DICOMweb server do differently. Calls raise OrthancError, and NotReachedError with a node."""

    noun: str
    most: int  # instances in one of Orthanc's jobs
    largest: int  # bytes in one of Orthanc's jobs
    jobs_trust_anyone: bool  # whoever answers with success, Orthanc's jobs take what they sent for arrived

    def submit(self, destination: Destination, instances: Sequence[Instance]) -> str:
        """Have Orthanc make a job; answers its ID."""

    def accepted(self, job: Mapping[str, Any], count: int) -> int:
        """How many of the `count` instances of a job under way, or failed, are certainly there."""

    def why(self, job: Mapping[str, Any]) -> SendError | None:
        """Why a job failed; None when it does not say."""

    def send(self, node: HttpNode, file: bytes, timeout: float | None) -> SendError | None:
        """Send one instance directly."""

    def forward(self, target: str, file: bytes) -> SendError | None:
        """Send one file that is not stored in Orthanc, through Orthanc."""

    def greet(self, node: HttpNode) -> SendError | None:
        """Ask the server for a sign of life, directly."""

    def greet_by_orthanc(self, target: str) -> None:
        """The same, through Orthanc."""

    def listed(self, target: str, node: HttpNode | None, series: SeriesUids, expected: set[str]) -> Listed:
        """The SOP Instance UIDs that it has of a series, at least those `expected`; its answer where that is no."""


class HttpTransport:
    """Sends by `service`, to the servers of `directory`."""

    def __init__(
        self,
        rest: OrthancRest,
        service: HttpService,
        directory: Directory,
        own_jobs: OwnJobs,
        orthanc_jobs: FollowedJobs,
    ) -> None:
        self._rest = rest
        self._service = service
        self._directory = directory
        self._own_jobs = own_jobs
        self._orthanc_jobs = orthanc_jobs
        self._most: dict[str, int] = {}  # by destination, where larger jobs have failed

    # Jobs

    def submit(self, destination: Destination, instances: Sequence[Instance]) -> str:
        """Raises OrthancError: `not_found` for an unknown server, or an instance that is gone."""
        batch = self._batch(destination, instances)
        first = self._service.submit(destination, batch)
        return self._own_jobs.start_work(OwnJob(instances), partial(self._work, destination, first, batch), first)

    def report(self, job_id: str, count: int) -> JobReport:
        return self._own_jobs.report(job_id, count)

    def pause(self, job_id: str, count: int) -> JobReport | None:
        return self._own_jobs.pause(job_id, count)

    def cancel(self, job_id: str) -> None:
        self._own_jobs.cancel(job_id)

    def _work(
        self, destination: Destination, orthanc_job: str, batch: Sequence[Instance], job: OwnJob
    ) -> SendError | None:
        stranger = self._stranger(destination)
        if stranger is not None:
            self._orthanc_jobs.cancel(orthanc_job)
            return stranger
        while True:
            before = job.accepted
            error = self._follow(orthanc_job, batch, job)
            if error is UNEXPLAINED:
                error = self._one_by_one(destination, batch[job.accepted - before :], job)
            elif error is None:
                self._larger(destination)
            if error is not None or not job.left:
                return error
            batch = self._batch(destination, job.left)
            try:
                orthanc_job = self._service.submit(destination, batch)
            except OrthancError as problem:
                return SendError.passing("JobRefused", str(problem))

    def _stranger(self, destination: Destination) -> SendError | None:
        """Who answers in the server's place, where Orthanc's jobs would not notice: a login, say, or a proxy."""
        found = self._directory.find(destination.target) if self._service.jobs_trust_anyone else None
        if not isinstance(found, Found) or found.node is None:
            return None
        try:
            error = self._service.greet(found.node)
        except NotReachedError:  # Orthanc may know another way there
            return None
        return error if error is not None and error.code == STRANGER else None

    def _batch(self, destination: Destination, left: Sequence[Instance]) -> Sequence[Instance]:
        """The next instances for one of Orthanc's jobs: at least one."""
        size = count = 0
        for instance in left[: self._most.get(destination.name, self._service.most)]:
            size += instance.size
            if count and size > self._service.largest:
                break
            count += 1
        return left[:count]

    def _smaller(self, destination: Destination, failed: int) -> None:
        """A job failed and nothing was wrong with its instances: it may have been too large for the way there."""
        self._most[destination.name] = max(1, failed // 2)

    def _larger(self, destination: Destination) -> None:
        if destination.name in self._most:
            self._most[destination.name] = min(self._service.most, 2 * self._most[destination.name])

    def _follow(self, orthanc_job: str, batch: Sequence[Instance], job: OwnJob) -> SendError | None:
        """Wait for a job of Orthanc's, and advance ours with it."""
        before = job.accepted

        def advance(told: Mapping[str, Any]) -> None:
            job.accepted = max(job.accepted, before + self._service.accepted(told, len(batch)))

        told = self._orthanc_jobs.follow(orthanc_job, job, advance)
        error = self._judge(told, len(batch), job)
        if error is None:
            job.accepted = before + len(batch)
        return error

    def _judge(self, told: Mapping[str, Any] | JobState, count: int, job: OwnJob) -> SendError | None:
        if told is JobState.SUCCESS:
            return None
        if isinstance(told, JobState):  # it is gone, and nobody saw how it ended
            return CANCELED if job.stop.is_set() else UNEXPLAINED
        if told["State"] == "Success":
            # Orthanc 1.12.11 and later accept a job for instances that are gone, and call it a success.
            return None if int(told["Content"].get("InstancesCount", count)) >= count else UNEXPLAINED
        if job.stop.is_set() or told["State"] == PAUSED or told["ErrorCode"] == ORTHANC_CANCELED_JOB:
            return CANCELED
        return self._service.why(told) or UNEXPLAINED

    def _one_by_one(self, destination: Destination, left: Sequence[Instance], job: OwnJob) -> SendError | None:
        for instance in left:
            error = CANCELED if job.stop.is_set() else self._send_one(destination, instance, job)
            if error is not None:
                return error
            job.accepted += 1
        self._smaller(destination, len(left))
        return None

    # One instance

    def try_one(self, destination: Destination, instance: Instance) -> SendError | None:
        return self._send_one(destination, instance, self._own_jobs.bystander(instance))

    def send_file(self, destination: Destination, file: bytes) -> SendError | None:
        """Send one file that is not stored in Orthanc; None when it was accepted. Blocks."""
        found = self._directory.find(destination.target)
        if isinstance(found, SendError):
            return found
        return self._send_file(destination, found, file, lambda: self._service.forward(destination.target, file))

    def _send_one(self, destination: Destination, instance: Instance, job: OwnJob) -> SendError | None:
        found = self._directory.find(destination.target)
        if isinstance(found, SendError):
            return found
        by_orthanc = partial(self._by_orthanc, destination, instance, job)
        if found.node is None or instance.size > LARGEST_DIRECT:
            return self._stranger(destination) or by_orthanc()
        try:
            file = self._rest.get_bytes(f"/instances/{instance.id}/file")
        except OrthancError as problem:
            return SendError.passing("NotFound" if problem.not_found else "OrthancError", str(problem))
        return self._send_file(destination, found, file, by_orthanc)

    def _send_file(
        self, destination: Destination, found: Found, file: bytes, by_orthanc: Callable[[], SendError | None]
    ) -> SendError | None:
        if found.node is None:
            return by_orthanc()
        try:
            return _blamed(self._service, found.node, self._service.send(found.node, file, destination.timeout))
        except NotReachedError as problem:
            # Orthanc may know another way there: a proxy of the environment, say.
            return None if problem.refused and by_orthanc() is None else problem.error

    def _by_orthanc(self, destination: Destination, instance: Instance, job: OwnJob) -> SendError | None:
        try:
            orthanc_job = self._service.submit(destination, [instance])
        except OrthancError as problem:
            return SendError.passing("JobRefused", str(problem))
        return self._judge(self._orthanc_jobs.follow(orthanc_job, job, _nothing), 1, job)

    # Questions

    def probe(self, destination: Destination) -> SendError | None:
        found = self._directory.find(destination.target)
        if isinstance(found, SendError):
            return found
        problem: SendError | None = None
        if found.node is not None:
            try:
                return self._service.greet(found.node)
            except NotReachedError as told:
                if not told.refused:
                    return told.error
                problem = told.error
        try:
            self._service.greet_by_orthanc(destination.target)
        except OrthancError as told_by_orthanc:
            text = f"The {self._service.noun} does not answer: {told_by_orthanc.details}"
            return problem or SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, "NoAnswer", text)
        return None

    def find(
        self,
        destination: Destination,
        instances: Sequence[Instance],
        wait: Wait,  # noqa: ARG002 - the server answers at once
    ) -> set[str] | SendError:
        server = self._directory.find(destination.target)
        if isinstance(server, SendError):
            return server
        found: set[str] = set()
        try:
            for series, expected in series_of(self._rest, instances).items():
                listed = self._service.listed(destination.target, server.node, series, expected)
                if isinstance(listed, HttpAnswer):
                    return SendError.passing("FindFailed", of_http_status(listed.status).message)
                found |= listed
        except NotReachedError as problem:
            return SendError.passing("FindFailed", problem.error.message)
        except OrthancError as problem:
            return SendError.passing("FindFailed", f"The {self._service.noun} cannot be asked: {problem.details}")
        return found

    def commit(self, destination: Destination, instances: Sequence[Instance], wait: Wait) -> set[str] | SendError:  # noqa: ARG002
        return SendError.passing("CommitmentFailed", f"A {self._service.noun} knows no storage commitment.")

    def address(self, destination: Destination) -> tuple[str, int] | None:
        found = self._directory.find(destination.target)
        return None if isinstance(found, SendError) else found.address


def _blamed(service: HttpService, node: HttpNode, error: SendError | None) -> SendError | None:
    """An HTTP status may blame an instance for what is wrong with the whole server: ask that first."""
    if error is None or error.scope is not Scope.INSTANCE or not error.code.startswith("Http"):
        return error
    return service.greet(node) or error


def _nothing(_: object) -> None:
    """A job of one instance has no progress."""
