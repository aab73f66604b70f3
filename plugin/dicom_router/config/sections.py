# SPDX-License-Identifier: AGPL-3.0-or-later
"""The shape of the section `Router`: PascalCase keys, no unknown ones, no conversion of types."""

import re
from dataclasses import replace
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_pascal

from dicom_router.deliveries.retry import RetryPolicy
from dicom_router.durations import parse_duration

# A web address takes the names . and .. for something else.
NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9 _.\-]{1,64}")
HOST_NAME = re.compile(r"[A-Za-z0-9._:\-]{1,253}")
# No line end, comma or quote: an address becomes part of a header.
MAIL_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
SHORTEST_PAUSE = 0.1  # seconds between two attempts
LONGEST_LABEL = 63  # of a host name (RFC 1035, 2.3.4)
LONGEST_AE_TITLE = 16  # DICOM PS3.5 6.2: AE, no backslash, not only spaces


def _duration(value: object) -> float:
    return parse_duration(value)


def _pause(value: object) -> float:
    """At once would mean hundreds of attempts a second."""
    return max(parse_duration(value), SHORTEST_PAUSE)


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("must be 1 to 64 letters, digits, spaces, or any of _ . -")
    return value


def ae_title(value: str) -> str:
    """The value; ValueError for what is no AE title."""
    if (
        not value.strip()
        or len(value) > LONGEST_AE_TITLE
        or "\\" in value
        or not value.isascii()
        or not value.isprintable()
    ):
        raise ValueError("must be an AE title: 1 to 16 ASCII characters, no backslash")
    return value


def _address(value: str) -> str:
    """Of a webhook. The message does not repeat it: it may be a secret."""
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if value and not (good and value.isascii() and value.isprintable() and " " not in value):
        raise ValueError('must be an address like "https://example.org/hook"')
    return value


def _mail_address(value: str) -> str:
    if not MAIL_ADDRESS.fullmatch(value):
        raise ValueError('must be a plain address like "pacs@example.org"')
    return value


def _host_name(value: str) -> str:
    labels = value.removesuffix(".").split(".")
    if not HOST_NAME.fullmatch(value) or not all(0 < len(each) <= LONGEST_LABEL for each in labels):
        raise ValueError("must be the name or the IP address of the mail server")
    return value


Duration = Annotated[float, BeforeValidator(_duration)]
Pause = Annotated[float, BeforeValidator(_pause)]
Name = Annotated[str, AfterValidator(_name)]
MailAddress = Annotated[str, AfterValidator(_mail_address)]
HostName = Annotated[str, AfterValidator(_host_name)]
AeTitle = Annotated[str, AfterValidator(ae_title)]


class Section(BaseModel):
    """A part of the configuration: PascalCase keys, no unknown ones, no conversion of types."""

    model_config = ConfigDict(alias_generator=to_pascal, extra="forbid", strict=True, frozen=True)


class RetrySection(Section):
    """`Retry`: how failed deliveries are tried again."""

    first: Pause = 30.0
    factor: float = Field(2.0, ge=1, le=100)
    max: Pause = 3600.0
    jitter: float = Field(0.2, ge=0, le=1)
    give_up_after: Duration = 7 * 86400.0

    def over(self, default: RetryPolicy) -> RetryPolicy:
        """The default, with what is said here."""
        return replace(default, **{name: getattr(self, name) for name in self.model_fields_set})


class OptionsSection(Section):
    """What a destination of any kind, and an entry of `Send`, may say."""

    enabled: bool | None = None
    schedule: Any = None
    retry: RetrySection | None = None
    associations: int | None = Field(None, ge=1, le=64)
    priority: Literal["Low", "Normal", "Urgent"] | None = None
    verify: Literal["Accepted", "Counted", "Committed"] | None = None
    late: Literal["New", "All", "Never"] | None = None
    timeout: Duration | None = None
    bandwidth: str | None = None
    local_aet: AeTitle | None = None
    move_originator: AeTitle | None = None
    compress: bool | None = None


class DestinationSection(OptionsSection):
    """One entry of `Destinations`."""

    modality: str | None = None
    peer: str | None = None
    dicom_web: str | None = None
    folder: str | None = None
    path: str | None = None
    format: Literal["Dicom", "Zip", "Dicomdir", "Png", "Jpeg", "Pdf"] | None = None


class SendSection(OptionsSection):
    """One entry of `Send`, where it is more than a name."""

    to: str | None = None
    transcode: str | None = None
    instances: dict[str, Any] | None = None
    first_of: list[str] | None = None
    after: Duration | None = None
    and_when_back: bool | None = None
    one_of: list[str] | None = None
    by: Literal["Patient"] | None = None
    when: str | None = None
    from_: Literal["Output", "Input"] | None = Field(None, alias="From")


class ProcessSection(Section):
    """`Process` of a rule."""

    command: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)
    timeout: Duration = 3600.0


class RuleSection(Section):
    """One entry of `Rules`."""

    name: Name
    description: str = ""
    enabled: bool = True
    trigger: Literal["StableStudy", "StableSeries", "StablePatient", "NewInstance"] = "StableStudy"
    level: Literal["Study", "Series", "Patient"] | None = None
    match: Any = Field(default_factory=dict)
    sample: Literal["Every"] | None = None
    instances: dict[str, Any] = Field(default_factory=dict)
    send: list[Any] = Field(default_factory=list)
    schedule: Any = ""
    delay: Duration = 0.0
    priority: Literal["Low", "Normal", "Urgent"] | None = None
    delete_after_send: bool = False
    modify: dict[str, Any] = Field(default_factory=dict)
    anonymize: dict[str, Any] = Field(default_factory=dict)
    process: dict[str, Any] = Field(default_factory=dict)
    reroute: bool = False
    stop: bool = False
    tests: list[Any] = Field(default_factory=list)


class RetentionSection(Section):
    """`Retention`: how long the history is kept."""

    history: Duration = 90 * 86400.0


class AlertsSection(Section):
    """`Alerts`: whom to tell, and of what. `Email` and `NothingFrom` are read one by one."""

    webhook: Annotated[str, AfterValidator(_address)] = ""
    secret: str = ""
    email: Any = Field(default_factory=dict)
    quiet_for: Duration = 900.0
    include_patient_data: bool = False
    waiting_longer_than: Duration = 86400.0
    nothing_from: dict[str, Any] = Field(default_factory=dict)


class EmailSection(Section):
    """`Alerts.Email`: the mail server, and who writes to whom."""

    host: HostName
    port: int | None = Field(None, ge=1, le=65535)
    from_: MailAddress = Field(alias="From")
    to: Annotated[list[MailAddress], Field(min_length=1)]
    start_tls: bool = False
    tls: bool = False
    username: str = ""
    password: str = ""


class SilenceSection(Section):
    """An entry of `Alerts.NothingFrom` that has a schedule."""

    for_: Duration = Field(alias="For")
    schedule: Any = ""


class RouterSection(Section):
    """The whole section. Destinations and rules are read one by one, so that each tells all of its problems."""

    enable: bool = True
    database: str = ""
    time_zone: str = ""
    destinations: dict[str, Any] = Field(default_factory=dict)
    rules: list[Any] = Field(default_factory=list)
    retry: RetrySection = Field(default_factory=RetrySection)
    retention: RetentionSection = Field(default_factory=RetentionSection)
    alerts: Any = Field(default_factory=dict)  # read on its own: it counts also while the rest is wrong
    patient_data: bool = True
