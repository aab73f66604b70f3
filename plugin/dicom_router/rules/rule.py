# SPDX-License-Identifier: AGPL-3.0-or-later
"""A rule, and where it sends."""

import re
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
    when: re.Pattern[str] | None = None  # after a process: what it must have said
    from_input: bool = False  # after a process: what went in is sent, not what came out

    @property
    def label(self) -> str:
        """For people: `ARCHIVE`, or `FirstOf PACS1, PACS2`."""
        names = ", ".join(self.members)
        return names if self.choice is Choice.ONLY else f"{self.choice} {names}"


@dataclass(frozen=True)
class Process:
    """A command that what a rule sends goes through first; `sends` follow from its result. `timeout` in seconds."""

    command: tuple[str, ...]
    timeout: float
    sends: tuple[Send, ...]
    reroute: bool = False  # rules look at the results


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
    process: Process | None = None  # then `sends` names it alone

    @property
    def final_sends(self) -> tuple[Send, ...]:
        """Where it all goes in the end."""
        return self.process.sends if self.process else self.sends

    def alteration(self, send: Send) -> Alteration | None:
        """What is different in the copies that this entry of `Send` brings."""
        return alteration_of(self.source, send.options)
