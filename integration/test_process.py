# SPDX-License-Identifier: AGPL-3.0-or-later
"""Processes in a real Orthanc: each end of a command, its results where they should be, and nothing left behind."""

import json
import os
import random
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.orthanc import Orthanc
from support.router import Router
from support.store_scu import send
from support.studies import Study, make_study
from support.waiting import wait_until

SEED = 20261122
TRIALS = 10
ENDED = {"Completed", "Warning", "Failed", "Canceled"}
PROCESS = "seg (process)"

StartOrthanc = Callable[..., Orthanc]
StartRouter = Callable[..., Router]

# Copies each input with a new SOP Instance UID into a series of its own, then says what its first argument tells.
SCRIPT = """#!{python}
import json, os, subprocess, sys, time
from pathlib import Path
here = Path(sys.argv[1])
what = sys.argv[2]
Path({seen!r}).write_text(json.dumps({{
    "environment": dict(os.environ), "nice": os.nice(0), "cwd": os.getcwd(),
    "input": sorted(each.name for each in (here / "INPUT").iterdir()),
    "info": json.loads((here / "info.json").read_text()), "folder": str(here),
}}))
sys.path[:0] = {path!r}
import pydicom
from pydicom.uid import generate_uid
print("computing on", what, flush=True)
def make(count):
    source = pydicom.dcmread(sorted((here / "INPUT").iterdir())[0])
    series = generate_uid()
    for index in range(count):
        source.SeriesInstanceUID = series
        source.Modality = "SEG"
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        source.save_as(here / "OUTPUT" / f"{{index}}.dcm")
def say(success, message=""):
    (here / "proc.json").write_text(json.dumps([{{"success": success, "message": message}}]))
if what == "hang":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    time.sleep(600)
elif what == "fail":
    make(1)
    say("failed", "no liver found")
elif what == "exit":
    print("a bad end")
    sys.exit(3)
elif what == "silent":
    make(1)
elif what == "rubbish":
    (here / "proc.json").write_text("{{{{ not json")
    (here / "OUTPUT" / "x.txt").write_text("no DICOM")
elif what == "slow":
    time.sleep(0.7)
    make(2)
    say("success")
else:
    make(int(what))
    (here / "OUTPUT" / "notes.txt").write_text("no DICOM")
    (here / "OUTPUT" / "out").symlink_to("/etc/passwd")
    say("success")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "compute"
    libraries = [each for each in sys.path if "site-packages" in each]
    path.write_text(SCRIPT.format(python=sys.executable, seen=str(tmp_path / "seen.json"), path=libraries))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def rule(script: Path, what: str, sends: list[Any], timeout: str = "5m", **more: Any) -> dict[str, Any]:
    process = {"Command": [str(script), "{dir}", what], "Timeout": timeout}
    return {"Name": "seg", "Match": {"Modality": "CT"}, "Process": process, "Send": sends, **more}


SENDS = [
    {"To": "RESULTS", "When": "success"},
    {"To": "FALLBACK", "When": "failed", "From": "Input"},
]


def world(
    start_orthanc: StartOrthanc, start_router: StartRouter, rules: list[dict[str, Any]], **arguments: Any
) -> tuple[Router, Orthanc, Orthanc]:
    results, fallback = start_orthanc("RESULTS"), start_orthanc("FALLBACK")
    router = start_router({"RESULTS": results.node, "FALLBACK": fallback.node}, rules=rules, **arguments)
    return router, results, fallback


def store(router: Router, folder: Path, count: int = 3, **tags: Any) -> Study:
    study = make_study(folder, instances=count, pixels=(16, 16), **tags)
    for path in study.files:
        router.post("/instances", path.read_bytes())
    return study


def all_ended(router: Router, count: int, timeout: float = 60) -> dict[str, dict[str, Any]]:
    found = router.wait_for_deliveries(
        lambda found: len(found) == count and all(each["Status"] in ENDED for each in found), timeout
    )
    return {each["Destination"]: each for each in found}


def only_the_study_is_left(router: Router, *studies: Study) -> None:
    wanted = {uid for study in studies for uid in study.sop_instance_uids}
    wait_until(lambda: set(router.sop_instance_uids()) == wanted, 40, "the results are deleted")
    assert not list((router.folder / "storage").glob("router-processing-*/*"))


def test_what_succeeds_sends_its_results_and_nothing_else(
    start_orthanc: StartOrthanc, start_router: StartRouter, script: Path, tmp_path: Path
) -> None:
    others = {"Name": "all", "Match": {}, "Send": ["FALLBACK"]}
    section = {"Database": "", "Destinations": {}}
    os.environ["ROUTER_TEST_SECRET"] = "s3cret"
    try:
        router, results, fallback = world(
            start_orthanc, start_router, [rule(script, "2", SENDS), others], section=section
        )
    finally:
        del os.environ["ROUTER_TEST_SECRET"]
    study = store(router, tmp_path / "study", PatientID="P7")
    ended = all_ended(router, 3)
    assert {name: each["Status"] for name, each in ended.items()} == dict.fromkeys(
        [PROCESS, "RESULTS", "FALLBACK"], "Completed"
    )
    assert len(results.sop_instance_uids()) == 2
    assert not set(results.sop_instance_uids()) & set(study.sop_instance_uids)
    assert sorted(fallback.sop_instance_uids()) == sorted(study.sop_instance_uids)  # by the other rule
    only_the_study_is_left(router, study)

    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["environment"].keys() <= {"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE"}
    assert "s3cret" not in str(seen)
    assert seen["nice"] == 10
    assert seen["cwd"] == seen["folder"] == seen["environment"]["HOME"]
    assert len(seen["input"]) == 3
    assert seen["info"]["Tags"]["PatientID"] == "P7"
    assert {"CallingAET", "CalledAET"} <= seen["info"].keys()
    assert not Path(seen["folder"]).exists()
    detail = router.router_get(f"/history/{ended[PROCESS]['ID']}")
    assert detail["Process"]["Outcome"] == [{"Success": "success", "Message": ""}]
    assert "computing on 2" in detail["Process"]["Output"]
    assert sorted(each.split(" ")[0] for each in detail["Process"]["NotTaken"]) == ["notes.txt", "out"]


FAILURES = {
    "fail": "no liver found",
    "exit": "exit code 3",
    "silent": "no proc.json",
    "rubbish": "is not JSON",
    "hang": "did not end within 2 s",
}


def test_what_does_not_succeed_sends_the_original_elsewhere(
    start_orthanc: StartOrthanc, start_router: StartRouter, script: Path, tmp_path: Path
) -> None:
    rules = [
        rule(script, what, SENDS, "2s" if what == "hang" else "5m")
        | {"Name": what, "Match": {"StudyDescription": what}}
        for what in FAILURES
    ]
    router, results, fallback = world(start_orthanc, start_router, rules)
    studies = [store(router, tmp_path / what, StudyDescription=what) for what in FAILURES]
    found = router.wait_for_deliveries(
        lambda found: len(found) == 2 * len(FAILURES) and all(each["Status"] in ENDED for each in found), 120
    )
    runs = {each["Rule"]: each for each in found if each["Destination"].endswith("(process)")}
    assert {each["Status"] for each in runs.values()} == {"Failed"}
    for what, words in FAILURES.items():
        assert words in runs[what]["LastError"]["Message"]
    assert sorted(fallback.sop_instance_uids()) == sorted(uid for study in studies for uid in study.sop_instance_uids)
    assert results.sop_instance_uids() == []
    only_the_study_is_left(router, *studies)
    wait_until(lambda: not working_in(str(router.folder)), 30, "no process of a command is left")


def working_in(folder: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "cwd").startswith(f"{folder}/storage/router-processing"):
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_thousand_results_arrive_at_the_second_of_two_when_the_first_is_dead(
    start_orthanc: StartOrthanc, start_router: StartRouter, script: Path, tmp_path: Path
) -> None:
    sends = [{"FirstOf": ["RESULTS", "FALLBACK"], "After": "300ms", "When": "success"}]
    router, results, fallback = world(start_orthanc, start_router, [rule(script, "1000", sends)])
    results.kill()
    study = store(router, tmp_path / "study")
    router.wait_for_deliveries(
        lambda found: any(each["Destination"] == "FALLBACK" and each["Status"] == "Completed" for each in found), 300
    )
    assert len(fallback.sop_instance_uids()) == 1000
    only_the_study_is_left(router, study)


def test_rerouted_results_are_looked_at_by_rules_once(
    start_orthanc: StartOrthanc, start_router: StartRouter, script: Path, tmp_path: Path
) -> None:
    rules = [
        rule(script, "2", [{"To": "FALLBACK", "When": "failed", "From": "Input"}], Reroute=True),
        {"Name": "segmentations", "Match": {"Modality": "SEG"}, "Instances": {"Modality": "SEG"}, "Send": ["RESULTS"]},
    ]
    router, results, fallback = world(start_orthanc, start_router, rules)
    store(router, tmp_path / "study")
    ended = all_ended(router, 2)
    assert ended.keys() == {PROCESS, "RESULTS"}
    wait_until(lambda: len(results.sop_instance_uids()) == 2, 20, "the results have arrived")
    assert len(router.sop_instance_uids()) == 5
    assert fallback.sop_instance_uids() == []


def test_nothing_is_lost_and_nothing_left_behind_whenever_it_is_killed(
    start_orthanc: StartOrthanc, start_router: StartRouter, script: Path, tmp_path: Path
) -> None:
    router, results, fallback = world(start_orthanc, start_router, [rule(script, "slow", SENDS)])
    chance = random.Random(SEED)
    studies = []
    for trial in range(TRIALS):
        study = make_study(tmp_path / str(trial), instances=2, pixels=(16, 16))
        assert len(send(study.files, router.node).acknowledged) == 2
        studies.append(study)
        threading.Event().wait(chance.uniform(0.8, 4.0))
        router.kill()
        router.start()
    router.wait_for_deliveries(
        lambda found: (
            all(each["Status"] in ENDED for each in found)
            and len({each["StudyInstanceUID"] for each in found if each["Destination"] == "RESULTS"}) == TRIALS
        ),
        120,
    )
    made = results.get("/studies?expand")
    assert {each["MainDicomTags"]["StudyInstanceUID"] for each in made} == {study.uid for study in studies}
    assert len(results.sop_instance_uids()) == 2 * TRIALS
    assert fallback.sop_instance_uids() == []
    only_the_study_is_left(router, *studies)
    assert not working_in(str(router.folder))
