# SPDX-License-Identifier: AGPL-3.0-or-later
"""A DICOMweb server: STOW-RS by the jobs of Orthanc's DICOMweb plugin, QIDO-RS to see what it has.

Such a job (DicomWebClient.cpp) posts all of its instances in one request, so it says of none of them whether it
arrived before all have; it takes half a second at least, and does not survive a restart of Orthanc. Its error is one
of Orthanc's codes, from which a refused connection cannot be told from a refused instance.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError, accepted, of_curl, of_http_status, of_status
from dicom_router.destination import Destination
from dicom_router.orthanc_rest import OrthancRest
from dicom_router.transports.directory import Directory
from dicom_router.transports.http_node import HttpAnswer, HttpNode, NotReachedError
from dicom_router.transports.http_transport import PROBE_TIMEOUT, Listed
from dicom_router.transports.series_uids import SeriesUids

DICOM_JSON = "application/dicom+json"
PAGE = 500  # instances

# DICOM PS3.18 table 10.5.3-2: the data set that answers a Store transaction, by its tags.
FAILED, REFERENCED, OTHER_FAILURES, FAILURE_REASON = "00081198", "00081199", "0008119A", "00081197"
SOP_INSTANCE_UID = "00080018"

# Orthanc, HttpClient.cpp, ThrowException: what becomes of an HTTP status.
UNAUTHORIZED, UNKNOWN_RESOURCE, INEXISTENT_ITEM = 29, 17, 7
HTTP_STATUS_OF = {UNAUTHORIZED: 401, UNKNOWN_RESOURCE: 404}

ABSENT = "Orthanc runs without its DICOMweb plugin (Debian's package is orthanc-dicomweb)."
NOT_LISTED = "The server does not say that it has stored the instance."
FAILED_UNKNOWN = "The server could not store the instance and does not say why."
NO_DICOM_WEB = SendError(
    ErrorClass.TRANSIENT,
    Scope.DESTINATION,
    "NoDicomWeb",
    "A web page answers at this URL, no DICOMweb server: perhaps a login, a proxy or an announcement.",
)

# The same failures in the XML of a server that knows no JSON (PS3.19 annex A.1); an empty sequence is none.
FAILED_IN_XML = re.compile(rb"""tag=["'](?:00081198|0008119A)["'][^>]*>\s*<Item""", re.IGNORECASE)


class DicomWebService:
    """`/dicom-web/servers/{name}` of our Orthanc, and the DICOMweb server itself. `root` is that of the plugin."""

    noun = "DICOMweb server"
    # The less is in one job, the less goes again after a crash, and fits into Orthanc's HttpTimeout.
    most = 50
    largest = 32 * 1024 * 1024
    jobs_trust_anyone = False  # they read the answer

    def __init__(self, rest: OrthancRest, root: str) -> None:
        self._rest = rest
        self._servers = f"/{root.strip('/')}/servers"

    def directory(self, nodes: Mapping[str, HttpNode]) -> Directory:
        """The plugin's servers; `nodes` are those of its configuration."""
        return Directory(self._rest, self.noun, f"{self._servers}?expand", ABSENT, nodes)

    def submit(self, destination: Destination, instances: Sequence[Instance]) -> str:
        body = {"Resources": [instance.id for instance in instances], "Synchronous": False}
        return str(self._rest.post(f"{self._servers}/{quote(destination.target, safe='')}/stow", body)["ID"])

    def accepted(self, job: Mapping[str, Any], count: int) -> int:  # noqa: ARG002
        return 0

    def why(self, job: Mapping[str, Any]) -> SendError | None:
        content = job.get("Content") or {}
        code, details = content.get("FunctionErrorCode"), str(content.get("FunctionErrorDetails", ""))
        if code in HTTP_STATUS_OF:
            return of_http_status(HTTP_STATUS_OF[code])
        if code == INEXISTENT_ITEM:
            return SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, "Unknown", details)
        return of_curl(details)

    def send(self, node: HttpNode, file: bytes, timeout: float | None) -> SendError | None:
        boundary = uuid4().hex
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": DICOM_JSON,
        }
        start = f"--{boundary}\r\nContent-Type: application/dicom\r\nContent-Length: {len(file)}\r\n\r\n"
        body = b"".join((start.encode(), file, f"\r\n--{boundary}--\r\n".encode()))
        return read_answer(node.post("/studies", body, headers, timeout))

    def forward(self, target: str, file: bytes) -> SendError | None:  # noqa: ARG002
        text = (
            f'Only as the configuration of Orthanc describes it "{target}" can be sent what is not stored in Orthanc.'
        )
        return SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, "NotReachable", text)

    def greet(self, node: HttpNode) -> SendError | None:
        """A search that finds nothing. A server without QIDO-RS says no to it, and is there."""
        answer = node.get("/studies?StudyInstanceUID=2.25.0&limit=1", DICOM_JSON, PROBE_TIMEOUT)
        if answer.ok and answer.page:
            return NO_DICOM_WEB
        error = of_http_status(answer.status)
        if answer.ok or answer.status in {404, 405, 501} or error.permanent:
            return None
        return SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, error.code, error.message)

    def greet_by_orthanc(self, target: str) -> None:
        self._get(target, "/studies?StudyInstanceUID=2.25.0&limit=1")

    def listed(self, target: str, node: HttpNode | None, series: SeriesUids, expected: set[str]) -> Listed:
        """Page by page; a server may give fewer at once than it is asked for."""
        found: set[str] = set()
        seen = 0
        while True:
            query = urlencode({"includefield": SOP_INSTANCE_UID, "limit": PAGE, "offset": seen})
            path = f"/studies/{series.study}/series/{series.series}/instances?{query}"
            rows = self._rows(target, node, path)
            if isinstance(rows, HttpAnswer):
                return rows
            fresh = {value for row in rows for value in _values(row, SOP_INSTANCE_UID)} - found
            found |= fresh
            seen += len(rows)
            if not fresh or expected <= found:
                return found

    def _rows(self, target: str, node: HttpNode | None, path: str) -> list[Any] | HttpAnswer:
        if node is not None:
            try:
                answer = node.get(path, DICOM_JSON)
            except NotReachedError as problem:
                if not problem.refused:
                    raise
            else:
                if answer.ok and answer.page:
                    raise NotReachedError(NO_DICOM_WEB, refused=False)
                return (answer.json() or []) if answer.ok else answer
        return self._get(target, path) or []

    def _get(self, target: str, path: str) -> Any:
        body = {"Uri": path, "HttpHeaders": {"Accept": DICOM_JSON}}
        return self._rest.ask(f"{self._servers}/{quote(target, safe='')}/get", body)


def read_answer(answer: HttpAnswer) -> SendError | None:
    """What a server says to one instance (DICOM PS3.18 10.5.3)."""
    if answer.ok and answer.page:
        return NO_DICOM_WEB
    told = answer.json()
    told = told[0] if isinstance(told, list) and told else told
    if not isinstance(told, dict):
        return _without_json(answer)
    failed = _values(told, FAILED) or _values(told, OTHER_FAILURES)
    if failed:
        return _failure(failed[0])
    return None if answer.ok and _values(told, REFERENCED) else _unlisted(answer)


def _without_json(answer: HttpAnswer) -> SendError | None:
    if answer.status != 200:  # noqa: PLR2004 - the HTTP status for "all stored"
        return _unlisted(answer)
    return SendError.passing("Failed", FAILED_UNKNOWN) if FAILED_IN_XML.search(answer.body) else None


def _failure(failed: Any) -> SendError | None:
    reasons = _values(failed, FAILURE_REASON)
    if not reasons or not isinstance(reasons[0], int):
        return SendError.passing("Failed", FAILED_UNKNOWN)
    return None if accepted(reasons[0]) else of_status(reasons[0])


def _unlisted(answer: HttpAnswer) -> SendError:
    return SendError.passing("NotListed", NOT_LISTED) if answer.ok else of_http_status(answer.status)


def _values(dataset: Any, tag: str) -> list[Any]:
    """The values of a tag in DICOM JSON (PS3.18 annex F)."""
    element = dataset.get(tag, dataset.get(tag.lower())) if isinstance(dataset, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []
