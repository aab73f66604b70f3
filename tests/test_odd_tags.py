# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tags of every kind, as Orthanc may tell them: none makes rules, explanations, history or folder names raise.

FUZZ_EXAMPLES says how many; 10,000 have been run, see docs/reliability.md.
"""

import json
import os
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from builders import NOW, configured, emptied
from dicom_router.filing.template import parse_template
from dicom_router.orthanc_rest import OrthancRest
from dicom_router.routing.explanation import sentences
from dicom_router.rules.attributes import base_keys
from dicom_router.rules.decision import decide
from dicom_router.rules.facts import TagFacts
from dicom_router.rules.keys import parse_key
from dicom_router.store.journal import StoredDecision
from dicom_router.store.store import Store
from dicom_router.studies.study import ResourceFacts
from fakes.orthanc import FakeOrthanc
from rest_client import Client, make_routing

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))

# What the index tells by keyword, and what a file tells by number.
KEYWORDS = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyDescription", "Modality")
KEYWORDS += ("AccessionNumber", "StudyInstanceUID", "SeriesDescription", "ProtocolName", "BodyPartExamined")
NUMBERS = {
    "0008,0005": "SpecificCharacterSet",
    "0010,1010": "PatientAge",
    "0010,1030": "PatientWeight",
    "0018,0050": "SliceThickness",
    "0028,0010": "Rows",
    "0008,0021": "SeriesDate",
    "0008,0031": "SeriesTime",
    "0008,002a": "AcquisitionDateTime",
    "0040,0275": "RequestAttributesSequence.ScheduledProcedureStepID",
    "0009,1001": "0009,1001",
    "0029,1010": "0029,1010",
    "7fe0,0010": "7fe0,0010",
    "0020,0037": "ImageOrientationPatient",
}
METADATA = (
    "RemoteAET",
    "CalledAET",
    "RemoteIP",
    "Origin",
    "HttpUsername",
    "SopClassUid",
    "TransferSyntax",
    "ReceptionDate",
    "IndexInSeries",
)
ODD = (
    *(
        "",
        " ",
        "\0",
        "\0\0",
        "\\",
        "\\\\\\",
        "^^^^",
        "=",
        "山田^太郎=やまだ^たろう",
        "\udc80\udcff",
        "\ud800",
        "\ufffd",
        "\u202e",
    ),
    *("20261122", "20260230", "00000000", "99999999", "20261122-20261123", "2026.11.22", "120000.999999", "246060"),
    *(
        "20261122120000.000000+1400",
        "20261122120000&ZZXX",
        "045Y",
        "999W",
        "-12Y",
        "1e400",
        "NaN",
        "-0",
        "0x10",
        "1\\2\\x",
    ),
    *(
        "../../etc/passwd",
        "/",
        "con",
        "C:\\x",
        "a" * 70_000,
        "é" * 300,
        "'; DROP TABLE delivery; --",
        "<script>",
        "%s%n",
    ),
    *(
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "999.1.1.1",
        "fe80::1%eth0",
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.",
        "٣٤",
        "²",
        "1_000",
    ),
)
TEXTS = st.one_of(st.sampled_from(ODD), st.text(max_size=30))
SCALARS = st.one_of(TEXTS, TEXTS, st.none())
SEQUENCES = st.recursive(
    st.lists(
        st.dictionaries(st.sampled_from(["0040,0009", "0008,0100", "0009,1001"]), SCALARS, max_size=3), max_size=3
    ),
    lambda inner: st.lists(st.dictionaries(st.sampled_from(["0040,0009", "0040,0275"]), inner, max_size=2), max_size=2),
    max_leaves=6,
)
INSTANCES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(KEYWORDS, TEXTS),
        **dict.fromkeys(NUMBERS, st.one_of(SCALARS, SEQUENCES)),
    },
)
TOLD = st.fixed_dictionaries({}, optional=dict.fromkeys(METADATA, TEXTS))
KEYS = [*KEYWORDS, *NUMBERS.values(), "PatientAgeYears", "StudyWeekday", "ReceivedWeekday", "ReceivedTime"]
KEYS += ["SOPClass", "SOPClassUID", "TransferSyntaxUID", "RemoteIP", "RemoteAET", "Origin", "InstancesCount"]

RULES: list[dict[str, Any]] = [
    {"Match": {"PatientID": {"Regex": "^[A-Z]+[0-9]*$", "IgnoreCase": True}, "StudyDate": {"NewerThan": "30d"}}},
    {
        "Match": {
            "PatientAgeYears": {"Between": [18, 65]},
            "StudyWeekday": ["Mon", "Sun"],
            "ReceivedTime": {"Ge": "08:00"},
        }
    },
    {"Match": {"RemoteIP": "10.0.0.0/8", "SOPClass": "Image", "PatientName": {"Wildcard": "D?E*", "Of": "All"}}},
    {"Match": {"Any": [{"SliceThickness": {"Le": 1.5}}, {"Rows": {"Gt": 512}}, {"0009,1001": {"Exists": True}}]}},
    {
        "Match": {"None": [{"RequestAttributesSequence.ScheduledProcedureStepID": {"StartsWith": "A"}}]},
        "Sample": "Every",
    },
    {"Match": {"SeriesDate": {"OlderThan": "1d"}, "SeriesTime": {"Between": ["22:00", "06:00"]}}},
    {"Match": {"AcquisitionDateTime": {"Lt": "20260101120000"}, "PatientWeight": {"NotIn": [70, "80"]}}},
    {"Match": {"Modality": ["CT", "MR"], "BodyPartExamined": {"Contains": "CHEST"}}, "Instances": {"Rows": {"Ge": 1}}},
    {"Match": {"ImageOrientationPatient": {"Exists": False}, "InstancesCount": {"Ge": 1}}},
]
RULES = [rule | {"Name": f"rule {number}", "Send": ["ARCHIVE"]} for number, rule in enumerate(RULES)]
PATH = "{PatientID}/{PatientName}/{StudyDate}-{AccessionNumber}/{Modality} {SeriesDescription}/{PatientAge}.dcm"
TEMPLATE = parse_template(PATH, one_file=False)


PARTS = [("PatientID", 0x00100020), ("PatientName", 0x00100010), ("StudyDate", 0x00080020), ("Modality", 0x00080060)]
PARTS += [("AccessionNumber", 0x00080050), ("SeriesDescription", 0x0008103E), ("PatientAge", 0x00101010)]
BASE_KEYS = [key for name in KEYS for key in base_keys(parse_key(name))]
COMPILED = configured({"Destinations": {"ARCHIVE": {"Modality": "ARCHIVE"}}, "Rules": RULES}).rules


class Orthanc(FakeOrthanc):
    """Tells raw values too."""

    def get_bytes(self, path: str, timeout: float = 60.0) -> bytes:
        return b"\xff\xfe\0\x01raw"


def without_keywords(orthanc: FakeOrthanc) -> None:
    """A file tells its tags by number only."""
    for each in orthanc.instances.values():
        each.tags = {name: value for name, value in each.tags.items() if "," in name}


@pytest.fixture
def client(store: Store) -> Client:
    section = {"Destinations": {"ARCHIVE": {"Modality": "ARCHIVE"}}, "Rules": RULES}
    return Client(store, configured(section), orthanc=cast(Any, Orthanc()))


Told = list[tuple[dict[str, Any], dict[str, str]]]
NOTHING: Told = [({}, {})]
HUGE: Told = [
    ({"PatientID": "a" * 70_000, "PatientName": "\0" * 500, "0009,1001": None}, {"RemoteIP": "\\", "RemoteAET": ""})
]


STUDIES = st.lists(st.tuples(INSTANCES, TOLD), min_size=1, max_size=3)


def receive(orthanc: FakeOrthanc, instances: Told, *, no_patient: bool) -> None:
    """The fake holds these and nothing else."""
    for held in (orthanc.instances, orthanc.study_tags, orthanc.series_tags):
        held.clear()
    for number, (tags, metadata) in enumerate(instances):
        orthanc.receive("s", series=f"a{number % 2}", tags=tags, metadata=metadata)
    if no_patient:
        orthanc.study_tags["s"] = {"StudyInstanceUID": ""}
    without_keywords(orthanc)


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(STUDIES, st.booleans(), st.booleans())
@example(NOTHING, False, False)
@example(HUGE, True, False)
@example([({}, {"IndexInSeries": "²"}), ({}, {"IndexInSeries": "9" * 5000})], False, True)
def test_no_tags_make_facts_rules_explanations_or_names_raise(
    instances: Told, no_patient: bool, finds_all: bool
) -> None:
    orthanc = Orthanc(finds_all=finds_all)
    receive(orthanc, instances, no_patient=no_patient)
    facts = ResourceFacts(cast(OrthancRest, orthanc), "s")
    found = [value for key in BASE_KEYS for side in (facts, facts.every()) for value in side.values(key)]
    assert all(each is None or isinstance(each, str) for each in found)

    decision = decide(COMPILED, facts, datetime.fromtimestamp(NOW, UTC))
    verdicts = json.loads(json.dumps([verdict.to_json() for verdict in decision.verdicts]))
    assert [each["Rule"] for each in verdicts] == [rule["Name"] for rule in RULES]
    assert sentences([StoredDecision(1, NOW, "Study", "s", "StableStudy", verdicts)])

    place = TEMPLATE.place({tag: next((v for v in facts.values(parse_key(name)) if v), "") for name, tag in PARTS})
    assert all(step not in {"", ".", ".."} and "/" not in step for step in (*place.folders, place.file_name()))


def test_no_tags_make_routing_or_history_raise(client: Client) -> None:
    """A tenth as many: each writes to the database."""
    store = client.store
    assert store is not None

    @settings(max_examples=max(1, EXAMPLES // 10), suppress_health_check=list(HealthCheck))
    @given(STUDIES, st.booleans())
    @example(NOTHING, False)
    @example(HUGE, True)
    def check(instances: Told, no_patient: bool) -> None:
        emptied(store.database)
        receive(client.orthanc, instances, no_patient=no_patient)
        make_routing(store, client.orthanc, client.settings, lambda: NOW).look_at("s", "StableStudy", None)
        told = client.get("/studies/s/explain")
        assert [each["Rule"] for each in told["Now"]] == [rule["Name"] for rule in RULES]
        client.get("/history", study="s")
        client.get("/history", q=str(instances[0][0].get("PatientName", "x"))[:200])

    check()


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(
    st.dictionaries(
        st.sampled_from(KEYS), st.one_of(SCALARS, st.integers(), st.floats(), st.lists(SCALARS, max_size=4)), max_size=8
    )
)
def test_no_tags_of_a_preview_make_rules_raise(tags: dict[str, object]) -> None:
    decision = decide(COMPILED, TagFacts(tags), datetime.fromtimestamp(NOW, UTC))
    json.dumps([verdict.to_json() for verdict in decision.verdicts])
