# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an editor of rules offers."""

import pytest

from builders import configured
from dicom_router.rules.operators import OPERATORS
from dicom_router.rules.vocabulary import COMMON, search, term
from dicom_router.store.store import Store
from rest_client import Client

CT = {"Name": "all CT", "Match": {"Modality": "CT"}, "Send": ["ARCHIVE"]}


@pytest.fixture
def client(store: Store) -> Client:
    destinations = {"ARCHIVE": {"Modality": "ARCHIVE"}, "EXPORT": {"Folder": "/srv/export"}}
    return Client(store, configured({"Destinations": destinations, "Rules": [CT]}))


# --- keys ------------------------------------------------------------------------------------------------------------


def test_without_a_text_the_usual_keys_are_offered() -> None:
    assert [each.key.name for each in search("", 5)] == [*COMMON[:5]]
    assert len({*COMMON}) == len(COMMON) == len(search("", 100))


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Modality", "Modality"),
        ("study desc", "StudyDescription"),
        ("description study", "StudyDescription"),
        ("0008,1030", "StudyDescription"),
        ("(0008,0060)", "Modality"),
        ("sender called", "CalledAET"),
        ("sop class", "SOPClass"),
        ("thickn", "SliceThickness"),
        ("0029,1010", "0029,1010"),
        ("RequestAttributesSequence.ScheduledProcedureStepID", "RequestAttributesSequence.ScheduledProcedureStepID"),
    ],
)
def test_a_key_is_found_by_keyword_name_and_number(text: str, first: str) -> None:
    assert search(text, 10)[0].key.name == first


def test_what_nothing_is_called_finds_nothing() -> None:
    assert search("no such thing at all", 10) == []


def test_retired_tags_and_those_outside_of_data_sets_are_not_offered() -> None:
    names = {each.key.name for each in search("command", 100)} | {
        each.key.name for each in search("media storage", 100)
    }
    assert not names & {"CommandField", "MediaStorageSOPClassUID"}


def test_every_key_offered_can_be_a_key_of_a_rule() -> None:
    for text in ("a", "sequence", "time", "0018"):
        for each in search(text, 100):
            assert term(each.key.name).key == each.key
            assert each.operators


@pytest.mark.parametrize(
    ("key", "has", "lacks"),
    [
        ("StudyDescription", {"Contains", "Wildcard", "Lt"}, {"NewerThan"}),
        ("StudyDate", {"NewerThan", "Between"}, set()),
        ("ReceivedWeekday", {"Equals", "In"}, {"Contains", "Lt"}),
        ("PixelData", {"Exists"}, {"Equals", "Contains"}),
        ("RemoteIP", {"Equals"}, {"Between"}),
    ],
)
def test_the_operators_fit_the_type(key: str, has: set[str], lacks: set[str]) -> None:
    operators = {*term(key).operators}
    assert has <= operators <= {*OPERATORS}
    assert not operators & lacks


def test_a_path_is_named_step_by_step() -> None:
    found = term("RequestAttributesSequence.ScheduledProcedureStepID")
    assert found.name == "Request Attributes Sequence > Scheduled Procedure Step ID"
    assert (found.tag, found.indexed) == ("0040,0009", False)


def test_keys_over_rest_tell_all_that_an_editor_needs(client: Client) -> None:
    (found,) = client.get("/rules-keys", q="0008,0060", limit="1")
    assert found == {
        "Key": "Modality",
        "Name": "Modality",
        "Tag": "0008,0060",
        "VR": "CS",
        "Kind": "Tag",
        "Level": "Series",
        "Family": "text",
        "Indexed": True,
        "Operators": [*term("Modality").operators],
        "Values": [],
    }
    assert client.get("/rules-keys", q="weekday")[0]["Values"] == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


@pytest.mark.parametrize("limit", ["0", "101", "x", "-1", "٣", "9" * 50, "1".zfill(5000)])
def test_a_limit_out_of_range_is_refused(client: Client, limit: str) -> None:
    assert client.call("GET", "/rules-keys", query={"limit": limit})[0] == 400


# --- values ----------------------------------------------------------------------------------------------------------


def fill(client: Client) -> None:
    for number, (modality, name) in enumerate([("CT", "HEAD"), ("CT", "CHEST"), ("MR", "HEAD")]):
        study = f"s{number}"
        client.orthanc.receive(
            study, tags={"Modality": modality, "StudyDescription": name, "PatientName": f"DOE^{name}"}
        )
        client.orthanc.stable(study)


def test_values_are_those_of_the_last_studies_the_most_frequent_first(client: Client) -> None:
    fill(client)
    told = client.get("/rules-values", key="Modality")
    assert told == {
        "Key": "Modality",
        "Studies": 3,
        "Values": [{"Value": "CT", "Studies": 2}, {"Value": "MR", "Studies": 1}],
        "Hidden": False,
    }
    assert [each["Value"] for each in client.get("/rules-values", key="StudyDescription", last="1")["Values"]] == [
        "HEAD"
    ]


def test_values_of_attributes_are_told_too(client: Client) -> None:
    fill(client)
    assert client.get("/rules-values", key="RemoteAET")["Values"] == [{"Value": "CT1", "Studies": 3}]
    assert client.get("/rules-values", key="SOPClass")["Values"] == [{"Value": "CTImageStorage", "Studies": 3}]


def test_without_patient_data_no_value_of_the_patient_is_told(store: Store) -> None:
    client = Client(store, configured({"PatientData": False, "Destinations": {"ARCHIVE": {"Modality": "ARCHIVE"}}}))
    fill(client)
    assert client.get("/rules-values", key="PatientName") == {
        "Key": "PatientName",
        "Studies": 0,
        "Values": [],
        "Hidden": True,
    }
    assert client.get("/rules-values", key="Modality")["Values"]


def test_a_key_that_names_nothing_is_refused_with_the_nearest(client: Client) -> None:
    status, told = client.call("GET", "/rules-values", query={"key": "Modalty"})
    assert (status, told["Problems"][0]["Path"]) == (400, "key")
    assert 'Did you mean "Modality"?' in told["Error"]


# --- destinations ----------------------------------------------------------------------------------------------------


def test_destinations_are_those_of_the_section_and_all_that_orthanc_knows(client: Client) -> None:
    known = client.get("/rules-destinations")
    assert known[0] == {"Name": "ARCHIVE", "Kind": "Modality", "Configured": True}
    assert known[1] == {"Name": "EXPORT", "Kind": "Folder", "Configured": True}
    assert {"Name": "WORKSTATION", "Kind": "Modality", "Configured": False} in known
    assert len({each["Name"] for each in known}) == len(known)
