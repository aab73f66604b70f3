# SPDX-License-Identifier: AGPL-3.0-or-later
"""C-STORE to one of Orthanc's DicomModalities, by Orthanc's own asynchronous, non-permissive jobs.

A permissive job ends with success whatever the destination answered (orthanc: SetOfCommandsJob.cpp), so none is used.
"""

import math
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import (
    ORTHANC_CANCELED_JOB,
    ErrorClass,
    Scope,
    SendError,
    accepted,
    classify,
    dimse_status,
)
from dicom_router.destination import Destination
from dicom_router.orthanc_rest import OrthancError, OrthancRest, OrthancUnreachableError
from dicom_router.transports.followed_jobs import FollowedJobs
from dicom_router.transports.own_jobs import OwnJobs
from dicom_router.transports.rejection import why_rejected
from dicom_router.transports.series_uids import series_of
from dicom_router.transports.transport import JobReport, JobState, Wait

PAUSED = "Paused"
# Tried four times each; meanwhile the dispatcher does nothing else, and what it sends is its own for a minute.
LOOK_TIMEOUT = 1.5  # seconds
STOP_TIMEOUT = 0.25
PROBE_TIMEOUT = 4  # seconds; a destination that needs longer to answer an echo would not keep up with sending
STRAIGHT_TIMEOUT = 300.0  # seconds; the modality's own timeouts end it much earlier

COMMITMENT_SECONDS = 60.0  # that a destination may take to confirm
COMMITMENT_POLL_SECONDS = 0.2

# SetOfCommandsJob.cpp: progress is the position among the commands; exact for up to 100 of them.
CHUNK_LIMIT = 100
ONE_BY_ONE = frozenset({"DicomModalityStore", "OrthancPeerStore"})  # the progress of others is that of bytes, say


class ModalityTransport:
    """Sends through `/modalities/{name}`."""

    def __init__(self, rest: OrthancRest, own: OwnJobs, followed: FollowedJobs) -> None:
        self._rest = rest
        self._own = own
        self._followed = followed

    def submit(self, destination: Destination, instances: Sequence[Instance]) -> str:
        """Raises OrthancError: `not_found` for an unknown modality, or an instance that is gone."""
        body: dict[str, Any] = {
            "Resources": [instance.id for instance in instances],
            "Asynchronous": True,
            "Permissive": False,
            **_association(destination),
        }
        if destination.move_originator:
            body |= {"MoveOriginatorAet": destination.move_originator, "MoveOriginatorID": 1}
        return str(self._rest.post(f"{_path(destination)}/store", body)["ID"])

    def report(self, job_id: str, count: int) -> JobReport:
        try:
            job = self._rest.get(f"/jobs/{job_id}", timeout=LOOK_TIMEOUT)
        except OrthancError as problem:
            if problem.not_found:
                return JobReport(JobState.GONE, 0)
            return JobReport(JobState.RUNNING, 0)  # Orthanc did not say; ask again
        if job["State"] == PAUSED:  # by hand; the rest is sent by another job, so this one must not be resumed
            self.cancel(job_id)
        return read_job(job, count)

    def pause(self, job_id: str, count: int) -> JobReport | None:
        try:
            job = self._rest.get(f"/jobs/{job_id}", timeout=STOP_TIMEOUT)
            if job["State"] in {"Pending", "Running"}:
                self._rest.post(f"/jobs/{job_id}/pause", {}, timeout=STOP_TIMEOUT)
        except OrthancUnreachableError:
            return None
        except OrthancError:
            return JobReport(JobState.RUNNING, 0)  # it has ended just now
        return read_job(job, count)

    def cancel(self, job_id: str) -> None:
        try:
            self._rest.post(f"/jobs/{job_id}/cancel", {}, timeout=2.0)
        except OrthancError:
            return  # it has ended already, or Orthanc itself ends

    def try_one(self, destination: Destination, instance: Instance) -> SendError | None:
        if destination.needs_job:
            return self._by_job(destination, instance)
        try:
            file = self._rest.get_bytes(f"/instances/{instance.id}/file")
        except OrthancError as problem:
            return _error(problem)
        return self.send_file(destination, file)

    def _by_job(self, destination: Destination, instance: Instance) -> SendError | None:
        """`store-straight` takes nothing but the file: only a job can be told LocalAet, MoveOriginator and Timeout."""
        try:
            job_id = self.submit(destination, [instance])
        except OrthancError as problem:
            return _error(problem)
        told = self._followed.follow(job_id, self._own.bystander(instance), lambda _: None)
        if told is JobState.SUCCESS:
            return None
        if isinstance(told, JobState):
            return SendError.passing("JobGone", "Orthanc no longer knows the job that sent the instance.")
        error = read_job(told, 1).error
        return self._explain(destination, error) if error else None

    def send_file(self, destination: Destination, file: bytes) -> SendError | None:
        try:
            self._rest.post_bytes(f"{_path(destination)}/store-straight", file, STRAIGHT_TIMEOUT)
        except OrthancError as problem:
            status = dimse_status(problem.details, _payload_status(problem.payload))
            return None if status is not None and accepted(status) else self._explain(destination, _error(problem))
        return None

    def probe(self, destination: Destination) -> SendError | None:
        seconds = min(PROBE_TIMEOUT, _seconds(destination) or PROBE_TIMEOUT)
        path = f"{_path(destination)}/echo"
        body: dict[str, Any] = {"Timeout": seconds}
        try:
            if destination.local_aet:  # which only the echo to an address can be told
                entry = self._rest.get("/modalities?expand").get(destination.target)
                if entry:
                    path, body = "/tools/dicom-echo", {**entry, "LocalAet": destination.local_aet, **body}
            self._rest.post(path, body, timeout=4.0 * PROBE_TIMEOUT)
        except OrthancError as problem:
            return self._explain(destination, _error(problem))
        return None

    def _explain(self, destination: Destination, error: SendError) -> SendError:
        """The same error, or the reason for a rejection where the destination gives one."""
        if error.code != "AssociationRejected":
            return error
        try:
            entry = self._rest.get("/modalities?expand")[destination.target]
            calling = destination.local_aet or entry.get("LocalAet") or self._rest.get("/system")["DicomAet"]
        except (OrthancError, KeyError):
            return error
        return why_rejected(entry["Host"], int(entry["Port"]), calling, entry["AET"], PROBE_TIMEOUT) or error

    def find(
        self,
        destination: Destination,
        instances: Sequence[Instance],
        wait: Wait,  # noqa: ARG002 - a C-FIND is one call
    ) -> set[str] | SendError:
        try:
            return {uid for query in self._series_queries(instances) for uid in self._query(destination, query)}
        except OrthancError as problem:
            return _question_failed("FindFailed", "C-FIND", problem)

    def _series_queries(self, instances: Sequence[Instance]) -> list[dict[str, str]]:
        """C-FIND at instance level needs the UIDs of the levels above (PS3.4 C.4.1.2.1)."""
        return [
            {"StudyInstanceUID": each.study, "SeriesInstanceUID": each.series, "SOPInstanceUID": ""}
            for each in sorted(series_of(self._rest, instances))
        ]

    def _query(self, destination: Destination, query: dict[str, str]) -> set[str]:
        body = {"Level": "Instance", "Query": query, **_association(destination)}
        made = self._rest.post(f"{_path(destination)}/query", body, timeout=STRAIGHT_TIMEOUT)
        try:
            answers = self._rest.get(f"/queries/{made['ID']}/answers?expand&simplify")
        finally:
            self._rest.delete(f"/queries/{made['ID']}")
        return {str(answer["SOPInstanceUID"]) for answer in answers if answer.get("SOPInstanceUID")}

    def commit(self, destination: Destination, instances: Sequence[Instance], wait: Wait) -> set[str] | SendError:
        try:
            body = _commitment(destination, instances)
            made = self._rest.post(f"{_path(destination)}/storage-commitment", body, timeout=STRAIGHT_TIMEOUT)
            deadline = time.monotonic() + COMMITMENT_SECONDS
            while True:
                report = self._rest.get(f"/storage-commitment/{made['ID']}")
                if report["Status"] != "Pending":
                    # "Success" only says that no failure was listed: what counts is the list itself.
                    return {str(each["SOPInstanceUID"]) for each in report.get("Success", [])}
                if time.monotonic() > deadline or wait(COMMITMENT_POLL_SECONDS):
                    text = "The destination has not answered the request for storage commitment."
                    return SendError.passing("CommitmentTimeout", text)
        except OrthancError as problem:
            return _question_failed("CommitmentFailed", "The request for storage commitment", problem)

    def address(self, destination: Destination) -> tuple[str, int] | None:
        try:
            entry = self._rest.get("/modalities?expand").get(destination.target)
        except OrthancError:
            return None
        return (str(entry["Host"]), int(entry["Port"])) if entry else None


def read_job(job: dict[str, Any], count: int) -> JobReport:
    """What `/jobs/{id}` says of a job with the first of these `count` instances, or all of them."""
    done = _done(job, count)
    state = job["State"]
    if state == "Success":
        return _success(job, count)
    if state == PAUSED:
        return JobReport(JobState.FAILURE, done, SendError.passing("JobPaused", "Orthanc's job was paused."))
    return _failure(job, done) if state == "Failure" else JobReport(JobState.RUNNING, done)


def _done(job: dict[str, Any], count: int) -> int:
    """How many have certainly arrived. After a crash, a peer's job may be found that had a part of them only."""
    if job.get("Type") not in ONE_BY_ONE:
        return 0
    of = int((job.get("Content") or {}).get("InstancesCount", 0))
    return round(float(job["Progress"]) * min(count, of) / 100)


def _success(job: dict[str, Any], count: int) -> JobReport:
    if int(job["Content"]["InstancesCount"]) < count:
        # Orthanc 1.12.11 and later accept a job for instances that are gone, and call it a success.
        text = "Orthanc's job had fewer instances than were asked for."
        error = SendError(ErrorClass.TRANSIENT, Scope.ASSOCIATION, "JobIncomplete", text)
        return JobReport(JobState.FAILURE, 0, error)
    return JobReport(JobState.SUCCESS, count)


def _failure(job: dict[str, Any], done: int) -> JobReport:
    if job["ErrorCode"] == ORTHANC_CANCELED_JOB:
        return JobReport(JobState.FAILURE, done, SendError.passing("JobCanceled", "Orthanc's job was canceled."))
    details = job.get("ErrorDetails", "")
    status = dimse_status(details, _payload_status(job.get("ErrorPayload")))
    if status is not None and accepted(status):
        return JobReport(JobState.STOPPED, done + 1)
    return JobReport(JobState.FAILURE, done, classify(job["ErrorCode"], details, status))


def _payload_status(payload: dict[str, Any] | None) -> int | None:
    """The DIMSE status that Orthanc 1.12.10 and later tell apart from the text."""
    return ((payload or {}).get("Content") or {}).get("DimseErrorStatus")


def _commitment(destination: Destination, instances: Sequence[Instance]) -> dict[str, Any]:
    """What is asked for; of copies Orthanc has nothing, so they are named."""
    if destination.alteration is None:
        return {"Resources": [instance.id for instance in instances], **_association(destination)}
    named = [{"SOPClassUID": each.sop_class_uid, "SOPInstanceUID": each.sop_instance_uid} for each in instances]
    return {"DicomInstances": named, **_association(destination)}


def _association(destination: Destination) -> dict[str, Any]:
    """What Orthanc is told about the association; a route ignores what it does not know."""
    seconds = _seconds(destination)
    told: dict[str, Any] = {} if seconds is None else {"Timeout": seconds}
    return told | ({"LocalAet": destination.local_aet} if destination.local_aet else {})


def _seconds(destination: Destination) -> int | None:
    """Its Timeout, of which Orthanc takes whole seconds."""
    return None if destination.timeout is None else max(1, math.ceil(destination.timeout))


def _question_failed(code: str, what: str, problem: OrthancError) -> SendError:
    """The instances have arrived; that they could not be asked for blames nobody."""
    return SendError.passing(code, f"{what} failed: {problem.details}")


def _path(destination: Destination) -> str:
    return f"/modalities/{quote(destination.target, safe='')}"


def _error(problem: OrthancError) -> SendError:
    if problem.not_found and not problem.details.startswith("Dicom"):
        return SendError(ErrorClass.TRANSIENT, Scope.INSTANCE, "NotFound", problem.details)
    return classify(problem.code, problem.details, _payload_status(problem.payload))
