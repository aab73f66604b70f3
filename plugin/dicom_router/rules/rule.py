# SPDX-License-Identifier: AGPL-3.0-or-later
"""A rule, and where it sends."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dicom_router.deliveries.delivery import Priority
from dicom_router.rules.match import Match
from dicom_router.rules.schedule import Schedule


class Origin(StrEnum):
    """Where a rule is kept."""

    CONFIG = "Config"
    DATABASE = "Database"


@dataclass(frozen=True)
class Send:
    """One destination of a rule; `options` says what is different from the destination's own, as the user wrote it."""

    to: str
    options: Mapping[str, object] = field(default_factory=dict)


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
