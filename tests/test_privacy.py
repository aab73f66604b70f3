# SPDX-License-Identifier: AGPL-3.0-or-later
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from dicom_router.rules.facts import TagFacts
from dicom_router.rules.match import compile_match
from dicom_router.rules.privacy import without_patient
from dicom_router.rules.wording import sentence

SECRET = "SECRET"
TAGS = {
    "PatientName": SECRET,
    "PatientID": SECRET,
    "PatientBirthDate": "19700203",
    "OtherPatientIDs": SECRET,
    "0010,1040": SECRET,
    "ReferencedPatientSequence": [{"PatientID": SECRET}],
    "Modality": "CT",
}


def told(spec: Any) -> dict[str, Any]:
    match, problems = compile_match(spec, "Match")
    assert match is not None, problems
    verdict = match.evaluate(TagFacts(TAGS), datetime(2026, 11, 22, tzinfo=UTC))
    return without_patient({"Rule": "one", "Send": [], **verdict.to_json()})


@pytest.mark.parametrize(
    "spec",
    [
        {"PatientName": {"Contains": "X"}},
        {"PatientID": {"Exists": True}},
        {"0010,0020": {"NotEquals": "X"}},
        {"OtherPatientIDs": {"Regex": "^X"}},
        {"PatientAddress": {"Exists": False}},
        {"ReferencedPatientSequence.PatientID": "X"},
        {"Any": [{"PatientName": "X"}, {"Modality": "CT"}]},
        {"Any": [{"PatientName": "X"}, {"All": [{"PatientID": "Y"}]}]},
        {"None": [{"PatientName": {"Exists": True}}]},
        {"PatientBirthDate": {"Gt": "20000101"}},
    ],
    ids=json.dumps,
)
def test_values_about_the_patient_are_not_told(spec: Any) -> None:
    written = json.dumps(told(spec))
    assert SECRET not in written
    assert "19700203" not in written


def test_other_values_are_told() -> None:
    assert told({"PatientName": {"Exists": True}, "Modality": "MR"})["Failed"]["Seen"] == ["CT"]


def test_the_sentence_says_that_the_value_is_not_kept() -> None:
    assert sentence(told({"PatientName": "X"})) == (
        'Rule "one" did not match: PatientName must be "X", '
        "but it is not (the value is about the patient and is not kept)."
    )
