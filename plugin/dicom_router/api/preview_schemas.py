# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes in and out of a preview, of moving rules, and of a backfill."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field, StrictBool, StrictInt

from dicom_router.api.schemas import ProblemAnswer, Schema, Time, WrittenRule


class PreviewBody(Schema):
    """A rule, and what it is tried on: exactly one of studies, the last ones, and tags.

    `Now` goes with tags: the moment that they are looked at, for rules that tell of the time of day or of the age.
    """

    rule: WrittenRule
    studies: list[str] | None = Field(None, max_length=1000)
    last: StrictInt | None = Field(None, ge=1, le=1000)
    tags: dict[str, Any] | None = None
    now: AwareDatetime | None = None


class PreviewSendAnswer(Schema):
    """How many instances would go to a destination, whatever it has already."""

    destination: str
    instances_count: int


class PreviewItemAnswer(Schema):
    """What a rule makes of a study (or of the tags given)."""

    study: str = ""
    study_instance_uid: str = Field("", alias="StudyInstanceUID")
    patient_id: str = Field("", alias="PatientID")
    patient_name: str = ""
    study_date: str = ""
    study_description: str = ""
    modalities: list[str] = Field(default_factory=list)
    matched: bool
    sentence: str
    verdicts: list[dict[str, Any]]
    send: list[PreviewSendAnswer]


class DifferenceAnswer(Schema):
    """Studies that would go elsewhere than by the rules of now."""

    destination: str
    change: Literal["NoLonger", "New", "Otherwise"]
    studies: list[str]
    sentence: str


class PreviewAnswer(Schema):
    """A dry run. `Matched` counts the items."""

    rule: str
    matched: int
    items: list[PreviewItemAnswer]
    difference: list[DifferenceAnswer]
    sentences: list[str]
    warnings: list[ProblemAnswer]


class ExportAnswer(Schema):
    """Rules in the syntax of orthanc.json."""

    rules: list[dict[str, Any]]


class ImportBody(Schema):
    """Rules of another router. `Replace`: those made over REST before go."""

    rules: list[WrittenRule]
    replace: StrictBool = False


class BackfillBody(Schema):
    """Which studies of Orthanc, by a query as of C-FIND; through which rules (all of them where none is named)."""

    query: dict[str, str]
    rules: list[str] | None = None
    dry_run: StrictBool = False


class BackfillAnswer(Schema):
    """How far it is. `Destinations`: how many studies go (or would go) to each."""

    state: Literal["None", "Running", "Done", "Stopped", "Failed"]
    dry_run: bool
    studies: int
    looked_at: int
    matched: int
    deliveries: int
    failed: int
    destinations: dict[str, int]
    started_at: Time
    ended_at: Time
    error: str
