# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rules in a real Orthanc: what they look at, what they send, and what the router says of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from support.orthanc import Orthanc
from support.router import REPOSITORY, Router
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

StartOrthanc = Callable[..., Orthanc]
StartRouter = Callable[..., Router]
Rule = dict[str, Any]


def held(orthanc: Orthanc) -> set[str]:
    return set(orthanc.sop_instance_uids())


def wait_for(orthanc: Orthanc, uids: set[str]) -> None:
    wait_until(lambda: held(orthanc) >= uids, 30, f"{orthanc.name} holds {len(uids)} instances")
    assert held(orthanc) == uids


def by_tag(files: list[Path], keyword: str, value: str) -> set[str]:
    return {
        str(found.SOPInstanceUID) for path in files if str((found := pydicom.dcmread(path))[keyword].value) == value
    }


@pytest.fixture
def archive(start_orthanc: StartOrthanc) -> Orthanc:
    return start_orthanc("ARCHIVE")


# --- triggers, levels, instances -------------------------------------------------------------------------------------


def test_a_rule_for_series_sends_the_series_that_match_and_no_other(
    start_router: StartRouter, archive: Orthanc, tmp_path: Path
) -> None:
    rule = {"Name": "second", "Trigger": "StableSeries", "Match": {"SeriesNumber": 2}, "Send": ["ARCHIVE"]}
    router = start_router({"ARCHIVE": archive.node}, rules=[rule])
    study = make_study(tmp_path / "study", series=3, instances=2)
    send(study.files, router.node)
    (delivery,) = router.wait_until_completed(1)
    assert (delivery["Level"], delivery["InstancesCount"]) == ("Series", 2)
    wait_for(archive, by_tag(study.files, "SeriesNumber", "2"))


def test_a_series_can_send_its_study(start_router: StartRouter, archive: Orthanc, tmp_path: Path) -> None:
    rule = {
        "Name": "whole",
        "Trigger": "StableSeries",
        "Level": "Study",
        "Match": {"SeriesNumber": 2},
        "Send": ["ARCHIVE"],
    }
    router = start_router({"ARCHIVE": archive.node}, rules=[rule])
    study = make_study(tmp_path / "study", series=2, instances=2)
    send(study.files, router.node)
    wait_for(archive, set(study.sop_instance_uids))
    assert {each["Level"] for each in router.history()} == {"Study"}


def test_a_rule_for_patients_sends_all_studies_of_the_patient(
    start_router: StartRouter, archive: Orthanc, tmp_path: Path
) -> None:
    rule = {"Name": "patient", "Trigger": "StablePatient", "Match": {"PatientID": "P1"}, "Send": ["ARCHIVE"]}
    router = start_router({"ARCHIVE": archive.node}, rules=[rule])
    studies = [make_study(tmp_path / str(each), modality=each, instances=2, PatientID="P1") for each in ("CT", "MR")]
    other = make_study(tmp_path / "other", instances=1, PatientID="P2")
    send([path for study in (*studies, other) for path in study.files], router.node)
    (delivery,) = router.wait_until_completed(1)
    assert (delivery["Level"], delivery["Modalities"], delivery["InstancesCount"]) == ("Patient", ["CT", "MR"], 4)
    wait_for(archive, {uid for study in studies for uid in study.sop_instance_uids})


def test_a_rule_for_new_instances_sends_those_that_match_before_the_study_is_stable(
    start_router: StartRouter, archive: Orthanc, tmp_path: Path
) -> None:
    rule = {"Name": "at once", "Trigger": "NewInstance", "Match": {"InstanceNumber": {"Le": 2}}, "Send": ["ARCHIVE"]}
    router = start_router({"ARCHIVE": archive.node}, rules=[rule], config={"StableAge": 600})
    study = make_study(tmp_path / "study", instances=4)
    send(study.files, router.node)
    deliveries = router.wait_until_completed(2)
    assert {(each["Level"], each["InstancesCount"]) for each in deliveries} == {("Instance", 1)}
    wait_for(archive, set(study.sop_instance_uids[:2]))


def test_lost_stable_events_of_series_and_patients_are_made_up_for(
    start_router: StartRouter, archive: Orthanc, tmp_path: Path
) -> None:
    rules = [
        {"Name": name, "Trigger": trigger, "Match": {"Modality": modality}, "Send": ["ARCHIVE"]}
        for name, trigger, modality in (("series", "StableSeries", "CT"), ("patient", "StablePatient", "MR"))
    ]
    router = start_router({"ARCHIVE": archive.node}, rules=rules, config={"StableAge": 3})
    studies = [make_study(tmp_path / each, modality=each, instances=2) for each in ("CT", "MR")]
    send([path for study in studies for path in study.files], router.node)
    router.kill()
    router.start()
    deliveries = router.wait_until_completed(2)
    assert {each["Level"] for each in deliveries} == {"Series", "Patient"}
    wait_for(archive, {uid for study in studies for uid in study.sop_instance_uids})


def test_instances_chooses_what_a_rule_and_one_of_its_sends_send(
    start_router: StartRouter, archive: Orthanc, start_orthanc: StartOrthanc, tmp_path: Path
) -> None:
    station = start_orthanc("STATION")
    rule = {
        "Name": "chosen",
        "Match": {"Modality": "CT"},
        "Instances": {"InstanceNumber": {"Le": 3}},
        "Send": ["ARCHIVE", {"To": "STATION", "Instances": {"SeriesNumber": 2, "InstanceNumber": {"Gt": 1}}}],
    }
    router = start_router({"ARCHIVE": archive.node, "STATION": station.node}, rules=[rule])
    study = make_study(tmp_path / "study", series=2, instances=5)
    send(study.files, router.node)
    router.wait_until_completed(2)
    wait_for(archive, {*study.sop_instance_uids[0:3], *study.sop_instance_uids[5:8]})
    wait_for(station, set(study.sop_instance_uids[6:8]))


def test_two_rules_that_send_different_instances_to_one_destination_send_both(
    start_router: StartRouter, archive: Orthanc, tmp_path: Path
) -> None:
    rules = [
        {"Name": f"instance {number}", "Instances": {"InstanceNumber": number}, "Send": ["ARCHIVE"]}
        for number in (1, 3)
    ]
    rules.append({"Name": "again", "Instances": {"InstanceNumber": [1, 3]}, "Send": ["ARCHIVE"]})
    router = start_router({"ARCHIVE": archive.node}, rules=rules)
    study = make_study(tmp_path / "study", instances=4)
    send(study.files, router.node)
    router.wait_until_completed(2)
    wait_for(archive, {study.sop_instance_uids[0], study.sop_instance_uids[2]})
    explained = router.router_get(f"/studies/{router.get('/studies')[0]}/explain")
    assert any('The rule "instance 1" sends it there already.' in each for each in explained["Sentences"])


def test_a_tag_outside_of_the_index_is_read_from_every_instance_only_when_the_rule_says_so(
    start_router: StartRouter, archive: Orthanc, start_orthanc: StartOrthanc, tmp_path: Path
) -> None:
    station = start_orthanc("STATION")
    match = {"SliceThickness": 5}
    rules = [
        {"Name": "sample", "Match": match, "Send": ["ARCHIVE"]},
        {"Name": "every", "Match": match, "Sample": "Every", "Instances": match, "Send": ["STATION"]},
    ]
    router = start_router({"ARCHIVE": archive.node, "STATION": station.node}, rules=rules)
    study = make_study(tmp_path / "study", instances=3)
    for path, thickness in zip(study.files, ("1", "1", "5.0"), strict=True):
        data_set = pydicom.dcmread(path)
        data_set.SliceThickness = thickness
        data_set.save_as(path)
    send(study.files, router.node)
    router.wait_until_completed(1)
    wait_for(station, {study.sop_instance_uids[2]})
    assert held(archive) == set()


# --- preview, warnings, moving ---------------------------------------------------------------------------------------

CASES: list[dict[str, Any]] = json.loads((REPOSITORY / "tests" / "match_cases.json").read_text(encoding="utf-8"))


def errors(router: Router, method: str, path: str, body: Any) -> dict[str, str]:
    answer = router.router_request(method, path, body)
    assert answer.status == 400, answer.body
    return {each["Path"]: each["Message"] for each in answer.json["Problems"]}


@pytest.fixture
def router(start_router: StartRouter, archive: Orthanc) -> Router:
    return start_router({"ARCHIVE": archive.node}, rules=[], section={"TimeZone": "Europe/Berlin"})


def test_preview_answers_the_truth_table(router: Router) -> None:
    wrong = []
    for case in CASES:
        if any(word in json.dumps(case) for word in ("NewerThan", "OlderThan")):  # what is new changes by the day
            continue
        rule = {"Match": case["match"], "Send": ["ARCHIVE"]}
        answer = router.router_post("/rules-preview", {"Rule": rule, "Tags": case["tags"]})
        if answer["Items"][0]["Matched"] is not case["expect"]:
            wrong.append(case["name"])
    assert wrong == []


def test_preview_tells_why_and_what_changes_and_agrees_with_routing(
    start_router: StartRouter, archive: Orthanc, start_orthanc: StartOrthanc, tmp_path: Path
) -> None:
    station = start_orthanc("STATION")
    active = {"Name": "all CT", "Match": {"Modality": "CT"}, "Send": ["ARCHIVE"]}
    router = start_router({"ARCHIVE": archive.node, "STATION": station.node}, rules=[])
    router.router_post("/rules", active | {"Enabled": True})
    router.router_post("/pause")
    for number in range(6):
        study = make_study(
            tmp_path / str(number),
            modality="CT" if number % 2 else "MR",
            instances=1,
            StudyDescription="HEAD" if number % 3 else "KNEE",
        )
        send(study.files, router.node)
    router.wait_for_deliveries(lambda found: len(found) == 3)
    changed = {
        "Name": "all CT",
        "Match": {"Modality": "CT", "StudyDescription": {"Contains": "HEAD"}},
        "Send": ["ARCHIVE", "STATION"],
    }
    told = router.router_post("/rules-preview", {"Rule": changed, "Last": 6})
    assert (len(told["Items"]), told["Matched"]) == (6, 2)
    assert told["Sentences"] == [
        "This study would no longer go to ARCHIVE.",
        "These 2 studies would go to STATION too.",
    ]
    (knee,) = [item for item in told["Items"] if item["Modalities"] == ["CT"] and not item["Matched"]]
    assert knee["Sentence"] == ('Rule "all CT" did not match: StudyDescription must contain "HEAD", but it is "KNEE".')
    assert told["Difference"][0] == {
        "Destination": "ARCHIVE",
        "Change": "NoLonger",
        "Studies": [knee["Study"]],
        "Sentence": "This study would no longer go to ARCHIVE.",
    }
    assert router.router_get("/rules")[0]["Match"] == {"Modality": "CT"}, "a preview saves nothing"
    assert len(router.history()) == 3, "a preview sends nothing"


def test_preview_refuses_what_it_cannot_read(router: Router) -> None:
    rule = {"Match": {}, "Send": ["ARCHIVE"]}
    assert "Tags.Modalty" in errors(router, "POST", "/rules-preview", {"Rule": rule, "Tags": {"Modalty": "CT"}})
    assert "Rule.Send[0]" in errors(router, "POST", "/rules-preview", {"Rule": {"Send": ["NOWHERE"]}, "Tags": {}})
    assert router.router_request("POST", "/rules-preview", {"Rule": rule}).status == 400
    assert router.router_request("POST", "/rules-preview", {"Rule": rule, "Studies": ["no"]}).status == 404


def test_warnings_are_shown_with_the_rule_by_a_check_and_in_the_status(router: Router) -> None:
    body = {"Name": "never", "Match": {"Modality": {"Equals": "CT", "NotEquals": "CT"}}, "Send": ["ARCHIVE"]}
    checked = router.router_post("/rules-check", {"Rules": [body]})
    (expected,) = checked["Warnings"]
    assert expected["Path"] == "Rules[0].Match"
    assert "never matches" in expected["Message"]
    assert checked["Problems"] == []
    saved = router.router_post("/rules", body)
    assert saved["Warnings"] == [expected | {"Path": "Match"}]
    assert expected | {"Path": "Rules.never.Match"} in router.router_get("/status")["Warnings"]
    router.delete("/modalities/ARCHIVE")
    wait_until(lambda: len(router.router_get("/rules/never")["Warnings"]) == 2, 30, "the lost modality is warned of")


def test_a_failing_test_of_a_rule_refuses_the_save(router: Router) -> None:
    tests = [{"Given": {"Modality": "CT"}, "Expect": True}, {"Given": {"Modality": "MR"}, "Expect": True}]
    body = {"Name": "tested", "Match": {"Modality": "CT"}, "Send": ["ARCHIVE"], "Tests": tests}
    assert errors(router, "POST", "/rules", body) == {
        "Rule.Tests[1]": "This test fails: the rule is expected to match, but does not, because "
        'Modality must be "CT", but it is "MR".'
    }
    assert router.router_get("/rules") == []
    router.router_post("/rules", body | {"Tests": tests[:1]})


def test_a_failing_test_in_orthanc_json_suspends_routing(start_router: StartRouter) -> None:
    rule = {"Name": "tested", "Match": {}, "Send": ["A"], "Tests": [{"Given": {"Modality": "CT"}, "Expect": False}]}
    router = start_router(rules=[rule], config={"DicomModalities": {"A": ["A", "127.0.0.1", 4242]}})
    status = router.router_get("/status")
    assert status["State"] == "Suspended"
    assert [each["Path"] for each in status["Problems"]] == ["Router.Rules[0].Tests[0]"]


RULES = [
    {"Name": "one", "Match": {"Modality": ["CT", "MR"]}, "Send": ["ARCHIVE"], "Stop": True},
    {
        "Name": "two",
        "Description": "ünïcode",
        "Match": {},
        "Send": [{"To": "ARCHIVE", "Instances": {"SOPClass": "Image"}}],
    },
    {"Name": "three", "Trigger": "StableSeries", "Match": {"Any": [{"SeriesNumber": 1}]}, "Send": ["ARCHIVE"]},
]


def test_export_import_export_is_identical(router: Router, start_router: StartRouter, archive: Orthanc) -> None:
    for rule in RULES:
        router.router_post("/rules", rule)
    exported = router.router_get("/rules-export")
    assert exported == {"Rules": RULES}
    other = start_router({"ARCHIVE": archive.node}, rules=[], aet="OTHER")
    other.router_post("/rules-import", exported)
    assert other.router_get("/rules-export") == exported
    other.router_post("/rules-import", {"Rules": RULES[::-1], "Replace": True})
    assert other.router_get("/rules-export") == {"Rules": RULES[::-1]}
    assert {rule["Version"] for rule in other.router_get("/rules")} == {1}, "what is the same is no new version"
    other.router_post("/rules-import", {"Rules": [RULES[0]], "Replace": True})
    assert other.router_get("/rules-export") == {"Rules": [RULES[0]]}


def test_an_import_with_one_bad_rule_changes_nothing_and_names_the_rule_and_the_key(router: Router) -> None:
    router.router_post("/rules", RULES[0])
    bad = [RULES[1], {"Name": "bad", "Match": {"Modality": {"Equal": "CT"}}, "Send": ["ARCHIVE"]}]
    problems = errors(router, "POST", "/rules-import", {"Rules": bad, "Replace": True})
    assert list(problems) == ["Rules[1].Match.Modality.Equal"]
    assert 'Rule "bad":' in problems["Rules[1].Match.Modality.Equal"]
    assert router.router_get("/rules-export") == {"Rules": [RULES[0]]}
    assert errors(router, "POST", "/rules-import", {"Rules": [RULES[1], RULES[1]]}) == {
        "Rules[1].Name": 'Rule "two": comes twice.'
    }


def test_rules_are_ordered_versioned_and_restored(router: Router) -> None:
    for rule in RULES:
        router.router_post("/rules", rule)
    ordered = router.router_put("/rules-order", ["three", "one", "two"])
    assert [rule["Name"] for rule in ordered] == ["three", "one", "two"]
    assert router.router_request("PUT", "/rules-order", ["three", "one"]).status == 400
    router.router_put("/rules/one", {"Match": {"Modality": "US"}, "Send": ["ARCHIVE"]})
    versions = router.router_get("/rules/one/versions")
    assert [each["Version"] for each in versions] == [2, 1]
    assert versions[1]["Rule"] == RULES[0]
    restored = router.router_post("/rules/one/restore", {"Version": 1})
    assert (restored["Version"], restored["Match"]) == (3, RULES[0]["Match"])
    router.router_request("DELETE", "/rules/one", headers={"Content-Type": "application/json"})
    router.router_post("/rules/one/restore", {"Version": 2})
    assert [rule["Name"] for rule in router.router_get("/rules")] == ["three", "two", "one"]
