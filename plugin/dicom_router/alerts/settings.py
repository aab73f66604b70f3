# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whom to tell, and of what. Secrets never appear in a repr, so that no log can hold them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dicom_router.rules.schedule import Always, Schedule


@dataclass(frozen=True)
class Webhook:
    """An address that takes JSON by POST. It may itself be a secret, as those of chat programs are."""

    url: str = field(repr=False)
    secret: str = field(default="", repr=False)  # signs each body


@dataclass(frozen=True)
class Mail:
    """A mail server, and who writes to whom."""

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    start_tls: bool = False
    tls: bool = False  # from the first byte
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Silence:
    """How long an AE title may be silent, in seconds, while `schedule` is open."""

    longest: float
    schedule: Schedule = field(default_factory=Always)


@dataclass(frozen=True)
class AlertSettings:
    """The section `Alerts`. Durations in seconds; `waiting_longer_than` 0 stands for never."""

    webhook: Webhook | None = None
    mail: Mail | None = None
    quiet_for: float = 900.0
    include_patient_data: bool = False
    waiting_longer_than: float = 86400.0
    nothing_from: Mapping[str, Silence] = field(default_factory=dict)
