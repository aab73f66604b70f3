# SPDX-License-Identifier: AGPL-3.0-or-later
"""Orthanc's jobs over HTTP, and the server at their other end, which does what a test says."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError
from dicom_router.destination import Destination
from dicom_router.orthanc_rest import OrthancError
from dicom_router.transports.http_node import HttpAnswer, HttpNode, NotReachedError
from dicom_router.transports.http_transport import Listed
from dicom_router.transports.series_uids import SeriesUids

URL = "http://away.example"
DOWN = SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, "ConnectionRefused", "refused")
GONE = OrthancError(404, 17, "Unknown resource")


class FakeRest:
    """What the transport asks of Orthanc: its entries, its jobs, its files."""

    holds_interpreter = False
    finds_all = False

    def __init__(self) -> None:
        self.entries: dict[str, Any] | OrthancError = {"away": {"Url": f"{URL}/"}}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.told: list[str] = []
        self.looked = threading.Event()

    def get(self, path: str, timeout: float = 60.0) -> Any:
        if path == "/away?expand":
            if isinstance(self.entries, OrthancError):
                raise self.entries
            return self.entries
        if path.startswith("/studies/"):
            return {"MainDicomTags": {"StudyInstanceUID": "1.2.3"}}
        assert path.startswith("/jobs/"), path
        self.looked.set()
        job = self.jobs.get(path.removeprefix("/jobs/"))
        if job is None:
            raise GONE
        return dict(job)

    def get_bytes(self, path: str, timeout: float = 60.0) -> bytes:
        return path.encode()

    def post(self, path: str, body: object, timeout: float = 60.0) -> Any:
        self.told.append(path)
        _, _, job_id, what = path.split("/")
        self.jobs[job_id]["State"] = {"pause": "Paused", "cancel": "Failure"}[what]

    def ask(self, path: str, body: Any) -> Any:
        assert path == "/tools/bulk-content"
        return [
            {"ID": each, "ParentStudy": "study", "MainDicomTags": {"SeriesInstanceUID": f"1.2.{each}"}}
            for each in body["Resources"]
        ]

    def post_bytes(self, path: str, body: bytes, timeout: float) -> Any:
        raise AssertionError(path)

    def delete(self, path: str) -> None:
        raise AssertionError(path)


@dataclass
class FakeService:
    """A kind of server. Its jobs end at once, at the first instance that is refused."""

    rest: FakeRest
    most: int = 100
    largest: int = 1 << 62
    tells_progress: bool = True
    jobs_trust_anyone: bool = False
    refused: dict[str, SendError] = field(default_factory=dict)  # by the instance's ID
    job_error: SendError | None = None  # every job fails, and says this
    jobs_fail: bool = False  # every job fails, and says nothing
    greeting: SendError | None = None
    reach: NotReachedError | None = None  # what comes of asking directly
    runs_on: bool = False  # its jobs do not end
    batches: list[int] = field(default_factory=list)
    direct: list[str] = field(default_factory=list)
    stored: set[str] = field(default_factory=set)
    forwarded: list[bytes] = field(default_factory=list)
    noun: str = "faraway server"

    def submit(self, destination: Destination, instances: Sequence[Instance]) -> str:
        self.batches.append(len(instances))
        job_id = f"job{len(self.batches)}"
        good: list[str] = []
        for each in instances:
            if each.id in self.refused or self.jobs_fail or self.runs_on or self.job_error is not None:
                break
            good.append(each.id)
        whole = len(good) == len(instances)
        if whole or self.tells_progress:
            self.stored |= set(good)
        state = "Running" if self.runs_on else "Success" if whole else "Failure"
        progress = 100 * len(good) / len(instances)
        content = {"InstancesCount": len(instances)}
        self.rest.jobs[job_id] = {"State": state, "Progress": progress, "ErrorCode": 9, "Content": content}
        return job_id

    def accepted(self, job: Mapping[str, Any], count: int) -> int:
        return round(job["Progress"] * count / 100) if self.tells_progress else 0

    def why(self, job: Mapping[str, Any]) -> SendError | None:
        return self.job_error

    def send(self, node: HttpNode, file: bytes, timeout: float | None) -> SendError | None:
        if self.reach is not None:
            raise self.reach
        instance = file.decode().split("/")[2]
        self.direct.append(instance)
        error = self.refused.get(instance)
        if error is None:
            self.stored.add(instance)
        return error

    def forward(self, target: str, file: bytes) -> SendError | None:
        self.forwarded.append(file)
        return DOWN if self.jobs_fail else None

    def greet(self, node: HttpNode) -> SendError | None:
        if self.reach is not None:
            raise self.reach
        return self.greeting

    def greet_by_orthanc(self, target: str) -> None:
        if self.jobs_fail:
            raise OrthancError(500, 9, "Error in the network protocol")

    def listed(self, target: str, node: HttpNode | None, series: SeriesUids, expected: set[str]) -> Listed:
        if self.greeting is not None:
            return HttpAnswer(503, b"")
        return expected
