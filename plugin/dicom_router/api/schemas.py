# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes in and out over REST, as models; the OpenAPI document is made of them."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, PlainSerializer, RootModel, StrictInt
from pydantic.alias_generators import to_pascal


def iso(at: float | None) -> str | None:
    """A time (epoch seconds) as ISO 8601 in UTC, to the second."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[
    float | None,
    PlainSerializer(iso, return_type=str | None),
    Field(json_schema_extra={"format": "date-time"}),
]


class Schema(BaseModel):
    """PascalCase keys, as everywhere in Orthanc."""

    model_config = ConfigDict(alias_generator=to_pascal, populate_by_name=True, extra="forbid")


class ProblemAnswer(Schema):
    """A mistake and its place."""

    path: str
    message: str


class ErrorAnswer(Schema):
    """Any error."""

    error: str
    problems: list[ProblemAnswer]


class QueueAnswer(Schema):
    """How many deliveries have not ended."""

    scheduled: int
    sending: int
    retrying: int


class StatusAnswer(Schema):
    """Whether everything flows."""

    version: str
    state: Literal["Running", "Suspended", "Paused"]
    problems: list[ProblemAnswer]
    warnings: list[ProblemAnswer]
    queue: QueueAnswer
    oldest_waiting: Time
    cursor: int | None
    database: str
    orthanc: str
    paused_by: str


class LastErrorAnswer(Schema):
    """The last thing that went wrong."""

    class_: str = Field(alias="Class")
    code: str
    message: str


class DeliveryAnswer(Schema):
    """One resource to one destination."""

    id: int = Field(alias="ID")
    status: str
    reason: str
    rule: str
    rule_version: int
    destination: str
    level: str
    resource_id: str = Field(alias="ResourceID")
    study_instance_uid: str = Field(alias="StudyInstanceUID")
    patient_id: str = Field(alias="PatientID")
    patient_name: str
    accession_number: str
    study_date: str
    study_description: str
    modalities: list[str]
    remote_aet: str = Field(alias="RemoteAET")
    called_aet: str = Field(alias="CalledAET")
    priority: str
    instances_count: int
    instances_sent: int
    instances_refused: int
    bytes: int
    attempts: int
    created_at: Time
    started_at: Time
    completed_at: Time
    next_attempt: Time
    verified: str
    last_error: LastErrorAnswer | None
    resend_of: int | None


class AttemptAnswer(Schema):
    """One try."""

    number: int
    started_at: Time
    ended_at: Time
    jobs: list[str]
    instances_sent: int
    instances_refused: int
    error: LastErrorAnswer | None


class TimelineAnswer(Schema):
    """Something that happened."""

    at: Time
    status: str
    text: str


class RefusedAnswer(Schema):
    """An instance that the destination refuses: for good, or each time so far."""

    instance_id: str = Field(alias="InstanceID")
    sop_instance_uid: str = Field(alias="SOPInstanceUID")
    at: Time
    code: str
    message: str


class OutcomeAnswer(Schema):
    """An entry of `proc.json`, or why there is none."""

    success: str
    message: str


class ProcessAnswer(Schema):
    """What came of a process: its outcome, the end of what it wrote, and files that did not enter Orthanc."""

    outcome: list[OutcomeAnswer]
    output: str
    not_taken: list[str]


class DeliveryDetailAnswer(DeliveryAnswer):
    """A delivery with its story. `Attempts` is the list, `AttemptsCount` the number that the plain delivery shows."""

    attempts: list[AttemptAnswer]  # type: ignore[assignment]
    attempts_count: int
    alteration: dict[str, Any] | None = Field(description="What differs from the original, as the rule says it")
    timeline: list[TimelineAnswer]
    refused_instances: list[RefusedAnswer]
    process: ProcessAnswer | None
    results_of: int | None  # the delivery to the process whose results these are


class HistoryAnswer(Schema):
    """A page of deliveries, newest first."""

    items: list[DeliveryAnswer]
    next: str | None
    total: int


class EmptyBody(Schema):
    """Nothing."""


class ResendBody(Schema):
    """What to send again, and where to."""

    destination: str | None = None
    instances: Literal["Missing", "All"] | None = None


class FilterBody(Schema):
    """The parameters of /history."""

    status: str | None = None
    rule: str | None = None
    destination: str | None = None
    study: str | None = None
    patient: str | None = None
    accession: str | None = None
    from_: str | None = Field(None, validation_alias=AliasChoices("From", "from"), serialization_alias="From")
    to: str | None = None
    q: str | None = None


class BulkBody(Schema):
    """Which deliveries."""

    filter: FilterBody
    destination: str | None = None


class CountAnswer(Schema):
    """How many were changed."""

    count: int


class DeliveryIdAnswer(Schema):
    """The delivery that was made or changed."""

    id: int | None = Field(alias="ID")
    status: str


class RouteBody(Schema):
    """Rules to look at, or destinations to send to; neither: all rules."""

    rules: list[str] | None = None
    destinations: list[str] | None = None


class RouteAnswer(Schema):
    """What came of it."""

    deliveries: list[int]
    decision: list[dict[str, Any]]


class StoredDecisionAnswer(Schema):
    """A decision of the past."""

    made_at: Time
    trigger: str
    rules: list[dict[str, Any]]


class ExplainAnswer(Schema):
    """Why a study was or was not sent."""

    resource_id: str = Field(alias="ResourceID")
    sentences: list[str]
    stored: list[StoredDecisionAnswer]
    now: list[dict[str, Any]]
    deliveries: list[DeliveryAnswer]


class RuleAnswer(Schema):
    """A rule as it was written, in the syntax of orthanc.json, and what the router knows of it."""

    model_config = ConfigDict(alias_generator=to_pascal, populate_by_name=True, extra="allow")

    name: str
    origin: Literal["Config", "Database"]
    version: int
    warnings: list[ProblemAnswer]


class RulesAnswer(RootModel[list[RuleAnswer]]):
    """All rules in the order in which they are looked at."""


def _as_written(body: dict[str, Any]) -> dict[str, Any]:
    """Without what the router adds to a rule when it shows it, so that what was read can be changed and written."""
    return {key: value for key, value in body.items() if key not in ADDED}


ADDED = {"Origin", "Version", "Warnings"}
WrittenRule = Annotated[dict[str, Any], AfterValidator(_as_written)]


class RuleBody(RootModel[WrittenRule]):
    """A rule in the syntax of orthanc.json."""


class RulesBody(Schema):
    """Several rules."""

    rules: list[WrittenRule]


class OrderBody(RootModel[list[str]]):
    """The names of all rules made over REST, in the order wanted."""


class CheckAnswer(Schema):
    """What is wrong, and what is probably wrong."""

    problems: list[ProblemAnswer]
    warnings: list[ProblemAnswer]


class RuleVersionAnswer(Schema):
    """A version of a rule; `Rule` is null in the version that deleted it. `MadeBy` is empty where nobody was named."""

    version: int
    made_at: Time
    made_by: str
    rule: dict[str, Any] | None


class RuleVersionsAnswer(RootModel[list[RuleVersionAnswer]]):
    """All versions of a rule, newest first."""


class RestoreBody(Schema):
    """The version to go back to."""

    version: StrictInt


class DestinationAnswer(Schema):
    """A destination and its health."""

    name: str
    kind: str
    target: str
    state: Literal["Up", "Held", "Paused", "Disabled", "Waiting"]
    reason: str
    paused_by: str
    until: Time
    counts: dict[str, int]
    oldest_waiting: Time
    instances_per_minute: float
    bytes_per_minute: float
    last_error: LastErrorAnswer | None
    last_success: Time


class DestinationsAnswer(RootModel[list[DestinationAnswer]]):
    """All destinations."""


class StateAnswer(Schema):
    """Whether it is paused now."""

    state: str


class TestAnswer(Schema):
    """What came of a sign of life. `Seconds` it took."""

    ok: bool
    seconds: float
    error: LastErrorAnswer | None
