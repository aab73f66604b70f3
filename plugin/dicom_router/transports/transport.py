# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every way to a destination offers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.destination import Destination

Wait = Callable[[float], bool]  # pauses for seconds; True when the router stops


class JobState(Enum):
    """How an Orthanc job stands."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    STOPPED = "stopped"  # Orthanc gave up although the destination has the last instance counted as accepted
    CUT_SHORT = "cut short"  # what ended it was none of these instances, but others of the same job
    GONE = "gone"  # Orthanc does not know it any more: it was restarted, or the job fell out of its history


@dataclass(frozen=True)
class JobReport:
    """A look at a job: of its instances, in their order, the first `accepted` are there."""

    state: JobState
    accepted: int
    error: SendError | None = None


class Jobs(Protocol):
    """Sending under way, by the ID that `submit` answered. Calls raise nothing."""

    def report(self, job_id: str, count: int) -> JobReport:
        """How a job of `count` instances stands."""

    def pause(self, job_id: str, count: int) -> JobReport | None:
        """End a job after the instance that it is sending, silently; how it stands, None when Orthanc does not say."""

    def cancel(self, job_id: str) -> None:
        """End a job after the instance that it is sending."""


class Transport(Jobs, Protocol):
    """A way to a destination. Calls raise nothing but what is said here."""

    def submit(self, destination: Destination, instances: Sequence[Instance]) -> str:
        """Start sending, in this order; answers the job's ID. Raises orthanc_rest.OrthancError."""

    def try_one(self, destination: Destination, instance: Instance) -> SendError | None:
        """Send one instance; None when it was accepted. Blocks.

        Takes none of Orthanc's jobs where that can be (`Destination.needs_job`).
        """

    def send_file(self, destination: Destination, file: bytes) -> SendError | None:
        """Send a DICOM file that is not stored in Orthanc; None when it was accepted. Blocks."""

    def probe(self, destination: Destination) -> SendError | None:
        """Ask the destination for a sign of life (C-ECHO or its like); None when it gave one. Blocks."""

    def find(self, destination: Destination, instances: Sequence[Instance], wait: Wait) -> set[str] | SendError:
        """The SOP Instance UIDs that the destination lists of the series of these instances. Blocks."""

    def commit(self, destination: Destination, instances: Sequence[Instance], wait: Wait) -> set[str] | SendError:
        """The SOP Instance UIDs of these instances that the destination commits to keep. Blocks."""

    def address(self, destination: Destination) -> tuple[str, int] | None:
        """Host and port, where the destination has such."""
