# SPDX-License-Identifier: AGPL-3.0-or-later
"""Another Orthanc, over its REST API: one of OrthancPeers, by Orthanc's own jobs.

Such a job (OrthancPeerStoreJob.cpp) posts instance by instance to `/instances` of the peer, and ends at the first that
is not taken. It tells what libcurl says of a broken connection, and nothing of an HTTP status.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError, of_curl, of_http_status
from dicom_router.destination import Destination
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.transports.directory import Directory
from dicom_router.transports.http_node import LONGEST_TOLD, HttpAnswer, HttpNode, NotReachedError
from dicom_router.transports.http_transport import PROBE_TIMEOUT, STRANGER, UNEXPLAINED, Listed
from dicom_router.transports.series_uids import SeriesUids

STRAIGHT_TIMEOUT = 300.0  # seconds; Orthanc's own HttpTimeout ends it earlier
STORED = frozenset({"Success", "AlreadyStored"})  # Orthanc, Enumerations.cpp: EnumerationToString(StoreStatus)
FILTERED = "FilteredOut"
NO_ORTHANC = SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, STRANGER, "No Orthanc answers at this URL.")


class PeerService:
    """`/peers/{name}` of our Orthanc, and the REST API of the peer itself."""

    noun = "peer"
    most = 100  # SetOfCommandsJob.cpp: progress is the position among the commands; exact for up to 100 of them
    largest = 1 << 62
    jobs_trust_anyone = True  # OrthancPeerStoreJob.cpp looks at the HTTP status alone

    def __init__(self, rest: OrthancRest) -> None:
        self._rest = rest

    def directory(self, nodes: Mapping[str, HttpNode]) -> Directory:
        """Orthanc's peers; `nodes` are those of its configuration."""
        return Directory(self._rest, self.noun, "/peers?expand", "Orthanc has no peers.", nodes)

    def submit(self, destination: Destination, instances: Sequence[Instance]) -> str:
        body: dict[str, Any] = {
            "Resources": [instance.id for instance in instances],
            "Asynchronous": True,
            "Permissive": False,
        }
        if destination.compress:
            body["Compress"] = True
        return str(self._rest.post(f"{_path(destination.target)}/store", body)["ID"])

    def accepted(self, job: Mapping[str, Any], count: int) -> int:
        return round(float(job["Progress"]) * count / 100)

    def why(self, job: Mapping[str, Any]) -> SendError | None:
        return of_curl(str(job.get("ErrorDetails", "")))

    def send(self, node: HttpNode, file: bytes, timeout: float | None) -> SendError | None:
        answer = node.post("/instances", file, {"Content-Type": "application/dicom"}, timeout)
        return _read_store(answer) if answer.ok else of_http_status(answer.status, _told(answer))

    def forward(self, target: str, file: bytes) -> SendError | None:
        try:
            self._rest.post_bytes(f"{_path(target)}/store-straight", file, STRAIGHT_TIMEOUT)
        except OrthancError as problem:
            return of_curl(problem.details) or UNEXPLAINED
        return None

    def greet(self, node: HttpNode) -> SendError | None:
        answer = node.get("/system", timeout=PROBE_TIMEOUT)
        if not answer.ok:
            return _of_destination(of_http_status(answer.status))
        told = answer.json()
        if not isinstance(told, dict) or "ApiVersion" not in told:
            return NO_ORTHANC
        return None

    def greet_by_orthanc(self, target: str) -> None:
        self._rest.get(f"{_path(target)}/system", timeout=PROBE_TIMEOUT)

    def listed(self, target: str, node: HttpNode | None, series: SeriesUids, expected: set[str]) -> Listed:  # noqa: ARG002
        if node is None:
            raise OrthancError(0, 0, f'only "{target}" as the configuration of Orthanc describes it can be asked')
        looked_up = node.post("/tools/lookup", series.series.encode(), {"Content-Type": "text/plain"})
        if not looked_up.ok:
            return looked_up
        known = looked_up.json()
        if not isinstance(known, list):  # a page in its place says nothing of what it has
            raise NotReachedError(NO_ORTHANC, refused=False)
        found: set[str] = set()
        for each in known:
            if each["Type"] == "Series":
                listed = node.get(f"/series/{each['ID']}/instances")
                if not listed.ok:
                    return listed
                found |= {str(instance["MainDicomTags"]["SOPInstanceUID"]) for instance in listed.json() or []}
        return found


def _path(target: str) -> str:
    return f"/peers/{quote(target, safe='')}"


def _read_store(answer: HttpAnswer) -> SendError | None:
    """What `/instances` says to one instance with a success."""
    told = answer.json()
    status = told.get("Status") if isinstance(told, dict) else None
    if not isinstance(status, str):
        return NO_ORTHANC  # a login or a proxy answers in its place
    if status in STORED:
        return None
    if status == FILTERED:
        return SendError.refusal(FILTERED, "A filter of the peer has discarded the instance.")
    return SendError.passing("NotStored", f"The peer has not stored the instance: {status[:LONGEST_TOLD]}.")


def _told(answer: HttpAnswer) -> str:
    """What Orthanc says to an error."""
    told = answer.json()
    return str(told.get("Details") or told.get("Message") or "")[:LONGEST_TOLD] if isinstance(told, dict) else ""


def _of_destination(error: SendError) -> SendError:
    """What the server says to a question about itself blames no instance."""
    return SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, error.code, error.message)
