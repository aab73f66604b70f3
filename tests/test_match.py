# SPDX-License-Identifier: AGPL-3.0-or-later
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dicom_router.rules.facts import TagFacts
from dicom_router.rules.keys import Key, parse_key
from dicom_router.rules.match import Entry, Match, Verdict, compile_match
from dicom_router.rules.operators import OPERATORS

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 12, tzinfo=BERLIN)
CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("match_cases.json").read_text(encoding="utf-8"))


def compiled(spec: object) -> Match:
    match, problems = compile_match(spec, "Match")
    assert not problems
    assert match is not None
    return match


def evaluated(spec: object, tags: dict[str, object]) -> Verdict:
    return compiled(spec).evaluate(TagFacts(tags), NOW)


# --- the truth table -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_truth_table_holds(case: dict[str, Any]) -> None:
    now = datetime.fromisoformat(case["now"]).astimezone(BERLIN) if "now" in case else NOW
    assert case["expect"] is compiled(case["match"]).evaluate(TagFacts(case["tags"]), now).matched


def test_the_truth_table_knows_every_operator() -> None:
    written = json.dumps(CASES)
    assert [name for name in OPERATORS if f'"{name}"' not in written] == []


# --- reasons ---------------------------------------------------------------------------------------------------------


def test_a_verdict_names_the_first_entry_that_failed_and_what_it_saw() -> None:
    spec = {"Modality": "CT", "SeriesNumber": {"Gt": 9}, "StudyDate": "20261122"}
    verdict = evaluated(spec, {"Modality": ["CT", "SR"], "SeriesNumber": ["1", "2"]})
    assert Entry("SeriesNumber.Gt", "Gt", 9, ("1", "2"), False) == verdict.failed
    assert [entry.path for entry in verdict.entries] == ["Modality", "SeriesNumber.Gt"]


def test_a_missing_tag_is_seen_as_nothing() -> None:
    failed = Entry("Modality", "Equals", "CT", (), False)
    assert Verdict(False, failed, (failed,)) == evaluated({"Modality": "CT"}, {})


def test_a_verdict_names_the_entries_that_held() -> None:
    spec = {"Modality": ["CT"], "Any": [{"StudyDate": "20260101"}, {"SeriesNumber": 5}]}
    verdict = evaluated(spec, {"Modality": "CT", "SeriesNumber": "05"})
    assert (
        Entry("Modality", "In", ["CT"], ("CT",), True),
        Entry("Any[1].SeriesNumber", "Equals", 5, ("05",), True),
    ) == verdict.entries
    assert verdict.failed is None


def test_a_failing_any_shows_what_its_branches_saw() -> None:
    spec = [{"Modality": "MR"}, {"StudyDate": "20260101"}]
    verdict = evaluated({"Any": spec}, {"Modality": "CT", "StudyDate": "20261122"})
    assert Entry("Any", "Any", spec, ("CT", "20261122"), False) == verdict.failed
    assert [entry.path for entry in verdict.entries] == ["Any[0].Modality", "Any[1].StudyDate", "Any"]


def test_a_failing_none_names_the_branch_that_held() -> None:
    spec = [{"Modality": "MR"}, {"Modality": "CT"}]
    verdict = evaluated({"None": spec}, {"Modality": "CT"})
    assert Entry("None[1]", "None", spec, ("CT",), False) == verdict.failed
    assert [entry.path for entry in verdict.entries] == ["None[1].Modality", "None[1]"]


def test_at_most_ten_values_are_shown_the_deciding_ones_first() -> None:
    series = [str(number) for number in range(1, 31)]
    held = evaluated({"SeriesNumber": 30}, {"SeriesNumber": series}).entries[0]
    failed = evaluated({"SeriesNumber": {"Lt": 30, "Of": "All"}}, {"SeriesNumber": series}).failed
    assert failed is not None
    assert [len(held.seen), len(failed.seen)] == [10, 10]
    assert [held.seen[0], failed.seen[0]] == ["30", "30"]


def test_a_long_text_is_shown_shortened() -> None:
    (seen,) = evaluated({"ImageComments": {"Exists": True}}, {"ImageComments": "x" * 5000}).entries[0].seen
    assert len(seen) == 200
    assert seen.endswith("…")


def test_a_verdict_can_be_written_as_json() -> None:
    verdict = evaluated({"Modality": {"In": ["CT"], "NotEquals": "SR"}}, {"Modality": ["CT", "SR"]})
    failed = {
        "Path": "Modality.NotEquals",
        "Operator": "NotEquals",
        "Expected": "SR",
        "Seen": ["CT", "SR"],
        "Matched": False,
    }
    held = {"Path": "Modality.In", "Operator": "In", "Expected": ["CT"], "Seen": ["CT", "SR"], "Matched": True}
    assert {"Matched": False, "Failed": failed, "Entries": [held, failed]} == json.loads(json.dumps(verdict.to_json()))


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_match_lists_the_keys_it_asks_for() -> None:
    spec = {"PatientAgeYears": 5, "Any": [{"0008,0060": "CT"}, {"None": [{"ReceivedTime": {"Lt": "07:00"}}]}]}
    names = {"PatientAge", "PatientBirthDate", "StudyDate", "Modality", "ReceptionDate"}
    assert names == {key.name for key in compiled(spec).keys}


def test_a_match_asks_for_no_other_key() -> None:
    class Asked(TagFacts):
        def values(self, key: Key) -> tuple[str | None, ...]:
            names.add(key.name)
            return super().values(key)

    for case in CASES:
        names: set[str] = set()
        match = compiled(case["match"])
        given = {name: value for name, value in case["tags"].items() if name not in ("StudyWeekday", "PatientAgeYears")}
        match.evaluate(Asked(given), NOW)
        derived = {"StudyWeekday", "PatientAgeYears", "SOPClass", "ReceivedTime", "ReceivedWeekday"}
        assert names - derived <= {key.name for key in match.keys}


@pytest.mark.parametrize(
    ("text", "name", "vr", "path", "level"),
    [
        ("Modality", "Modality", "CS", (0x00080060,), "Series"),
        ("0008,0060", "Modality", "CS", (0x00080060,), "Series"),
        ("PatientID", "PatientID", "LO", (0x00100020,), "Patient"),
        ("StudyDate", "StudyDate", "DA", (0x00080020,), "Study"),
        ("ImageType", "ImageType", "CS", (0x00080008,), "Instance"),
        ("0029,10AB", "0029,10ab", "UN", (0x002910AB,), "Instance"),
        ("(6000,3000)", "6000,3000", "OB", (0x60003000,), "Instance"),
        ("SmallestImagePixelValue", "SmallestImagePixelValue", "US", (0x00280106,), "Instance"),
        ("0040,0275.CodeValue", "RequestAttributesSequence.CodeValue", "SH", (0x00400275, 0x00080100), "Series"),
        ("0029,1010.0029,1011", "0029,1010.0029,1011", "UN", (0x00291010, 0x00291011), "Instance"),
        ("RemoteAET", "RemoteAET", "AE", (), "Instance"),
        ("SOPClassUID", "SOPClassUID", "UI", (), "Instance"),
        ("ReceivedTime", "ReceivedTime", "TM", (), "Instance"),
    ],
)  # fmt: skip
def test_a_key_has_one_canonical_form(text: str, name: str, vr: str, path: tuple[int, ...], level: str) -> None:
    key = parse_key(text)
    assert (name, vr, path, level) == (key.name, key.vr, key.path, key.level)
    assert ("tag" if path else "attribute") == key.kind
    assert key == parse_key(key.name)


# --- problems --------------------------------------------------------------------------------------------------------

PROBLEMS: list[tuple[object, str, str]] = [
    ("CT", "", "An object"),
    (None, "", "An object"),
    ([], "", "An object"),
    ({"Modalty": "CT"}, ".Modalty", 'Did you mean "Modality"'),
    ({"modality": "CT"}, ".modality", 'Did you mean "Modality"'),
    ({"RemoteAet": "CT"}, ".RemoteAet", 'Did you mean "RemoteAET"'),
    ({"": "CT"}, "", "neither a DICOM keyword"),
    ({"FFFE,E000": "CT"}, ".FFFE,E000", "marks an item"),
    ({"Modality.CodeValue": "x"}, ".Modality.CodeValue", "not a sequence"),
    ({"RequestAttributesSequence": "x"}, ".RequestAttributesSequence", "Possible are Exists"),
    ({"PixelData": {"Regex": "x"}}, ".PixelData.Regex", "Possible are Exists"),
    ({"Sample": "Every"}, ".Sample", 'beside "Match"'),
    ({"ReceptionDate": {"Exists": True}}, ".ReceptionDate", "ReceivedTime"),
    ({"Contains": "x"}, ".Contains", "goes inside a key"),
    ({"IgnoreCase": True}, ".IgnoreCase", "goes inside a key"),
    ({"Modality": None}, ".Modality", "not null"),
    ({"Modality": True}, ".Modality", "not true"),
    ({"Modality": ""}, ".Modality", '"Exists": false'),
    ({"Modality": []}, ".Modality", "at least one value"),
    ({"Modality": ["CT", ["MR"]]}, ".Modality[1]", "not a list"),
    ({"Modality": {}}, ".Modality", "No operator"),
    ({"Modality": {"IgnoreCase": True}}, ".Modality", "No operator"),
    ({"Modality": {"Equal": "CT"}}, ".Modality.Equal", 'Did you mean "Equals"'),
    ({"Modality": {"Equals": "CT", "IgnoreCase": "yes"}}, ".Modality.IgnoreCase", "true or false"),
    ({"Modality": {"Equals": "CT", "Of": "Every"}}, ".Modality.Of", '"Any" or "All"'),
    ({"Modality": {"Exists": "yes"}}, ".Modality.Exists", "true or false"),
    ({"Modality": {"In": "CT"}}, ".Modality.In", "A list"),
    ({"Modality": {"NotIn": []}}, ".Modality.NotIn", "at least one value"),
    ({"Modality": {"Contains": ["CT"]}}, ".Modality.Contains", "not a list"),
    ({"Modality": {"Regex": "("}}, ".Modality.Regex", "not a regular expression"),
    ({"Modality": {"NewerThan": "7d"}}, ".Modality.NewerThan", "no meaning for Modality"),
    ({"StudyTime": {"NewerThan": "7d"}}, ".StudyTime.NewerThan", "no meaning for StudyTime"),
    ({"StudyDate": {"NewerThan": "7"}}, ".StudyDate.NewerThan", "not a duration"),
    ({"StudyDate": "yesterday"}, ".StudyDate", "not a date"),
    ({"StudyDate": {"Lt": "abc"}}, ".StudyDate.Lt", "not a date"),
    ({"StudyDate": {"Lt": "20260231"}}, ".StudyDate.Lt", "not a date"),
    ({"StudyDate": {"Between": ["20260101"]}}, ".StudyDate.Between", "two values"),
    ({"StudyDate": {"Between": ["20260101", "20260102", "20260103"]}}, ".StudyDate.Between", "two values"),
    ({"StudyDate": {"Between": "20260101-20260102"}}, ".StudyDate.Between", "two values"),
    ({"StudyDate": {"Between": ["20260101", "x"]}}, ".StudyDate.Between", "not a date"),
    ({"StudyDate": {"In": ["20260101", "x"]}}, ".StudyDate.In[1]", "not a date"),
    ({"StudyTime": "25:00"}, ".StudyTime", "not a time of day"),
    ({"AcquisitionDateTime": {"Lt": "noon"}}, ".AcquisitionDateTime.Lt", "not a date with time"),
    ({"PatientAge": {"Lt": 18}}, ".PatientAge.Lt", "not an age"),
    ({"SeriesNumber": "five"}, ".SeriesNumber", "not a number"),
    ({"SeriesNumber": float("nan")}, ".SeriesNumber", "not a number"),
    ({"InstancesCount": {"Gt": "many"}}, ".InstancesCount.Gt", "not a number"),
    ({"StudyWeekday": ["Sun", "Fry"]}, ".StudyWeekday[1]", "not a weekday"),
    ({"StudyWeekday": {"Between": ["Mon", "Fri"]}}, ".StudyWeekday.Between", "no meaning"),
    ({"SOPClass": "Imag"}, ".SOPClass", 'Did you mean "Image"'),
    ({"SOPClass": {"Lt": "Image"}}, ".SOPClass.Lt", "no meaning"),
    ({"RemoteIP": "10.1.2"}, ".RemoteIP", "not an IP address"),
    ({"RemoteIP": {"NotIn": ["10.0.0.0/8", "10.0.0.0/33"]}}, ".RemoteIP.NotIn[1]", "not an IP address"),
    ({"Any": {"Modality": "CT"}}, ".Any", "A list of matches"),
    ({"Any": []}, ".Any", "never holds"),
    ({"None": ["CT"]}, ".None[0]", "An object"),
    ({"All": [{"Any": [{"StudyDate": {"Lt": "x"}}]}]}, ".All[0].Any[0].StudyDate.Lt", "not a date"),
]


@pytest.mark.parametrize(("spec", "path", "message"), PROBLEMS)
def test_a_mistake_is_named_with_its_path_and_a_remedy(spec: object, path: str, message: str) -> None:
    match, problems = compile_match(spec, "Router.Rules[2].Match")
    assert match is None
    assert [f"Router.Rules[2].Match{path}"] == [problem.path for problem in problems]
    assert message in problems[0].message


def test_all_mistakes_are_named_together() -> None:
    spec = {"Modalty": "CT", "StudyDate": {"Lt": "x", "Gtt": 1}, "Any": [{"SeriesNumber": ["a", "b"]}], "Sample": 1}
    _match, problems = compile_match(spec, "M")
    named = [
        *("M.Modalty", "M.StudyDate.Lt", "M.StudyDate.Gtt"),
        *("M.Any[0].SeriesNumber[0]", "M.Any[0].SeriesNumber[1]", "M.Sample"),
    ]
    assert named == [problem.path for problem in problems]


def test_a_match_nested_without_end_is_refused() -> None:
    spec: dict[str, object] = {"Modality": "CT"}
    for _level in range(500):
        spec = {"All": [spec]}
    match, problems = compile_match(spec, "M")
    assert match is None
    assert "nests deeper" in problems[0].message


def test_a_preview_with_an_unknown_tag_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match='Did you mean "Modality"'):
        TagFacts({"Modalty": "CT"})


# --- cost ------------------------------------------------------------------------------------------------------------


def test_a_thousand_rules_over_ten_series_take_milliseconds() -> None:
    specs = [
        {"Modality": f"X{index}"} if index % 2 else {"StudyDescription": {"Contains": f"{index}"}}
        for index in range(1000)
    ]
    matches = [compiled(spec) for spec in specs]
    facts = TagFacts({"Modality": ["CT", "SR"] * 5, "StudyDescription": "Thorax"})
    costs = []
    for _attempt in range(5):
        started = time.process_time()
        for match in matches:
            match.evaluate(facts, NOW)
        costs.append(time.process_time() - started)
    assert min(costs) < 0.02
