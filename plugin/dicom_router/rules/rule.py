# SPDX-License-Identifier: AGPL-3.0-or-later
"""A rule, and where it sends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dicom_router.alteration import Alteration, alteration_of
from dicom_router.deliveries.delivery import Priority
from dicom_router.rules.match import Match
from dicom_router.rules.schedule import Schedule


class Origin(StrEnum):
    """Where a rule is kept."""

    CONFIG = "Config"
    DATABASE = "Database"


class Choice(StrEnum):
    """How a `Send` chooses among its members."""

    ONLY = "To"
    FIRST_OF = "FirstOf"
    ONE_OF = "OneOf"


@dataclass(frozen=True)
class Send:
    """One entry of `Send`. `options` says what is different from the destination's own, as the user wrote it."""

    members: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    choice: Choice = Choice.ONLY
    by_patient: bool = False  # OneOf: a patient stays with one member
    after: float = 600.0  # FirstOf: seconds that a member may be unreachable
    and_when_back: bool = False  # FirstOf: the member that was unreachable gets it too, once it is back
    instances: Match | None = None  # which of them are sent; None for all

    @property
    def label(self) -> str:
        """For people: `ARCHIVE`, or `FirstOf PACS1, PACS2`."""
        names = ", ".join(self.members)
        return names if self.choice is Choice.ONLY else f"{self.choice} {names}"


@dataclass(frozen=True)
class Rule:
    """What to do with the resources that match. `source` is what the user wrote; `delay` is in seconds."""

    name: str
    match: Match
    sends: tuple[Send, ...]
    source: Mapping[str, object]
    origin: Origin = Origin.CONFIG
    version: int = 1
    enabled: bool = True
    trigger: str = "StableStudy"
    level: str = "Study"
    schedule: Schedule | None = None
    delay: float = 0.0
    priority: Priority | None = None
    stop: bool = False
    instances: Match | None = None  # which of them are sent; None for all
    sample_every: bool = False  # tags outside of Orthanc's index are read from every instance
    delete_after_send: bool = False

    def alteration(self, send: Send) -> Alteration | None:
        """What is different in the copies that this entry of `Send` brings."""
        return alteration_of(self.source, send.options)
