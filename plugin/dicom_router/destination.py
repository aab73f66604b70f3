# SPDX-License-Identifier: AGPL-3.0-or-later
"""A destination as the router sends to it."""

from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from enum import StrEnum

from dicom_router.alteration import Alteration
from dicom_router.deliveries.delivery import Priority
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.retry import RetryPolicy
from dicom_router.rules.schedule import Always, Schedule


class Kind(StrEnum):
    """The way to a destination; the value is its key in `Destinations`."""

    MODALITY = "Modality"
    PEER = "Peer"
    DICOM_WEB = "DicomWeb"
    FOLDER = "Folder"
    PROCESS = "Process"  # made of a rule, not configured


PROCESS_SUFFIX = " (process)"  # no name of a user's has brackets


def process_name(rule: str) -> str:
    """The name of a rule's process among the destinations."""
    return rule + PROCESS_SUFFIX


class Format(StrEnum):
    """What is written into a folder."""

    DICOM = "Dicom"
    ZIP = "Zip"
    DICOMDIR = "Dicomdir"
    PNG = "Png"
    JPEG = "Jpeg"
    PDF = "Pdf"

    @property
    def one_file(self) -> bool:
        """All instances of a delivery's study become one file."""
        return self in {Format.ZIP, Format.DICOMDIR, Format.PDF}


class Late(StrEnum):
    """What to do with instances that come after the resource was sent."""

    NEW = "New"
    ALL = "All"
    NEVER = "Never"


class Verify(StrEnum):
    """When a delivery counts as arrived."""

    ACCEPTED = "Accepted"
    COUNTED = "Counted"
    COMMITTED = "Committed"


@dataclass(frozen=True)
class Destination:
    """Where to and how.

    `target` is the name of Orthanc's entry, or the folder. `timeout` in seconds for each step of an association, None
    for Orthanc's own default.
    """

    name: str
    target: str
    aet: str = ""  # its AE title; what came from it is not sent back
    kind: Kind = Kind.MODALITY
    enabled: bool = True
    gone: bool = False  # a saved rule names it, but no configuration knows it any more: what it is owed waits
    associations: int = 2
    timeout: float | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    schedule: Schedule = field(default_factory=Always)
    priority: Priority = Priority.NORMAL
    verify: Verify = Verify.ACCEPTED
    late: Late = Late.NEW
    local_aet: str = ""
    move_originator: str = ""
    compress: bool = False  # of a peer: instances travel gzipped
    format: Format = Format.DICOM  # of a folder
    path: str = ""  # of a folder: the template of its files; empty for that of the format
    alteration: Alteration | None = None  # of one delivery: it gets copies that differ from what is stored here
    command: tuple[str, ...] = ()  # of a process
    unit: str = ""  # what is being sent, where that is more than single instances (see `whole`)
    delivery: int = 0  # the ID of the delivery that is being sent

    def gave(self, instance: Instance) -> bool:
        """It came from there, and is not sent back."""
        return bool(self.aet) and instance.remote_aet == self.aet

    def opens(self, now: float, zone: tzinfo) -> float | None:
        """When the schedule is open next, in epoch seconds: `now`, later, or None for never."""
        moment = datetime.fromtimestamp(now, zone)
        opening = self.schedule.next_open(moment)
        if opening is None:
            return None
        # Compared before it is a float again: a datetime is rounded to microseconds, mostly away from `now`.
        return now if opening <= moment else opening.timestamp()

    @property
    def needs_job(self) -> bool:
        """It is to be sent to in a way that Orthanc can be told of a job only; altered copies never go by one."""
        differs = bool(self.local_aet or self.move_originator) or self.timeout is not None
        return self.kind is Kind.MODALITY and self.alteration is None and differs

    @property
    def needs_lane(self) -> bool:
        """Orthanc runs a job for it; commands, and files that the router writes itself, need none."""
        archive = self.format in {Format.ZIP, Format.DICOMDIR}
        return self.kind is not Kind.PROCESS and (self.kind is not Kind.FOLDER or archive)

    @property
    def whole(self) -> bool:
        """Nothing is sent but all instances of a delivery's study together: late ones make it all anew."""
        return self.kind is Kind.PROCESS or (self.kind is Kind.FOLDER and self.format.one_file)
