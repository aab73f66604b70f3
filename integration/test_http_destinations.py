# SPDX-License-Identifier: AGPL-3.0-or-later
"""Destinations over HTTP: another Orthanc as a peer, and one with the DICOMweb plugin."""

import random
import threading
from pathlib import Path

import pytest

from support.http_server import PASSWORD, ScriptedHttpServer
from support.http_ways import DICOM_WEB, KINDS, PEER, TO_ALL, as_counterpart, knows, sends_to
from support.orthanc import Orthanc
from support.router import Delivery, Router
from support.starting import StartHttpServer, StartOrthanc, StartRouter
from support.store_scu import send
from support.studies import Study, make_study
from support.waiting import wait_until
from support.witness import what_it_said, write_witness

TRIALS = 10
SEED = 20261122
LATEST_KILL = 3.0  # seconds after the study was received; StableAge is 1
ROUTER_SECONDS = 1.5  # of a stop that are the router's own
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"

each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def away(start_orthanc: StartOrthanc) -> Orthanc:
    """A real Orthanc that wants a password."""
    return start_orthanc("AWAY", config=as_counterpart())


@pytest.fixture
def server(start_http_server: StartHttpServer) -> ScriptedHttpServer:
    return start_http_server()


def receive(router: Router, folder: Path, instances: int = 10) -> Study:
    study = make_study(folder, instances=instances, pixels=(16, 16))
    assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    return study


def ended(router: Router, status: str, timeout: float = 60) -> Delivery:
    """The only delivery with all its details, once it has that status."""
    found = router.wait_for_deliveries(lambda all_: [each["Status"] for each in all_] == [status], timeout)
    answer: Delivery = router.router_get(f"/history/{found[0]['ID']}")
    return answer


@each_kind
def test_a_study_arrives_and_is_counted_and_the_password_is_nowhere(
    start_router: StartRouter, away: Orthanc, tmp_path: Path, kind: str
) -> None:
    router = start_router(**sends_to(kind, away.url, Verify="Counted"))
    study = receive(router, tmp_path / "study", 120)
    delivery = ended(router, "Completed")
    assert (delivery["InstancesSent"], delivery["Verified"]) == (120, "Counted")
    assert set(away.sop_instance_uids()) == set(study.sop_instance_uids)
    assert router.router_post("/destinations/AWAY/test")["Ok"]
    assert PASSWORD not in router.log()
    assert PASSWORD not in str([delivery, router.router_get("/destinations"), router.router_get("/status")])


@each_kind
def test_what_is_not_stored_here_is_sent_too(
    start_router: StartRouter, away: Orthanc, tmp_path: Path, kind: str
) -> None:
    rule = TO_ALL | {"Send": [{"To": "AWAY", "Transcode": JPEG_LOSSLESS, "Verify": "Counted"}]}
    router = start_router(**sends_to(kind, away.url) | {"rules": [rule]})
    study = receive(router, tmp_path / "study", 6)
    assert ended(router, "Completed")["Verified"] == "Counted"
    received = away.get("/instances?expand")
    assert {each["MainDicomTags"]["SOPInstanceUID"] for each in received} == set(study.sop_instance_uids)
    syntaxes = {away.get_bytes(f"/instances/{each['ID']}/metadata/TransferSyntax").decode() for each in received}
    assert syntaxes == {JPEG_LOSSLESS}


@each_kind
def test_what_the_server_dropped_is_found_out_by_counting(
    start_router: StartRouter, start_orthanc: StartOrthanc, tmp_path: Path, kind: str
) -> None:
    script = tmp_path / "forgets.lua"
    script.write_text("function ReceivedInstanceFilter(dicom) return dicom.InstanceNumber ~= '3' end", encoding="utf-8")
    away = start_orthanc("AWAY", config=as_counterpart() | {"LuaScripts": [str(script)]})
    router = start_router(**sends_to(kind, away.url, Verify="Counted"))
    study = receive(router, tmp_path / "study", 5)
    delivery = ended(router, "Warning")
    assert [each["Code"] for each in delivery["RefusedInstances"]] == ["NotKept"]
    assert set(away.sop_instance_uids()) == set(study.sop_instance_uids) - {study.sop_instance_uids[2]}


@pytest.mark.parametrize(
    ("kind", "reason", "code"), [(PEER, 415, "Http415"), (DICOM_WEB, 0xA900, "0xA900"), (DICOM_WEB, 0xC122, "0xC122")]
)
def test_an_instance_that_is_refused_for_good_is_named_and_the_rest_arrives(
    start_router: StartRouter, server: ScriptedHttpServer, tmp_path: Path, kind: str, reason: int, code: str
) -> None:
    router = start_router(**sends_to(kind, server.url))
    study = make_study(tmp_path / "study", instances=20, pixels=(16, 16))
    poisonous = study.sop_instance_uids[7]
    server.refuse(poisonous, reason)
    send(study.files, router.node)
    delivery = ended(router, "Warning")
    (refused,) = delivery["RefusedInstances"]
    assert (refused["SOPInstanceUID"], refused["Code"]) == (poisonous, code)
    assert (delivery["InstancesSent"], delivery["InstancesRefused"]) == (19, 1)
    assert set(server.received) == set(study.sop_instance_uids) - {poisonous}


@each_kind
def test_a_wrong_password_and_a_server_that_is_down_are_told_and_what_waits_goes_once_all_is_right(
    start_router: StartRouter, server: ScriptedHttpServer, tmp_path: Path, kind: str
) -> None:
    server.password = "another"
    router = start_router(**sends_to(kind, server.url))
    study = receive(router, tmp_path / "study")
    wait_until(lambda: router.router_get("/destinations/AWAY")["State"] == "Held", 60, "it is held")
    (delivery,) = router.history()
    assert (delivery["LastError"]["Class"], delivery["LastError"]["Code"]) == ("Transient", "Http401")
    server.stop_listening()
    assert router.router_post("/destinations/AWAY/test")["Error"]["Code"] == "ConnectionRefused"
    server.password = PASSWORD
    server.start_listening()
    assert router.router_post("/destinations/AWAY/test")["Ok"]
    router.wait_until_completed(1, 60)
    assert set(server.received) == set(study.sop_instance_uids)


@each_kind
def test_a_server_that_hangs_delays_no_other_and_orthanc_stops_in_time(
    start_router: StartRouter, start_http_server: StartHttpServer, tmp_path: Path, kind: str
) -> None:
    """With two jobs for all, and after the server has shown that it works: it hangs in a job, too."""
    hanging, good = start_http_server(), start_http_server()
    script = str(write_witness(tmp_path / "witness"))
    known = knows({"hanging": (kind, hanging.url), "good": (kind, good.url)})
    rule = TO_ALL | {"Send": ["hanging", "good"]}
    router = start_router(rules=[rule], config=known | {"ConcurrentJobs": 2, "PythonScript": script})
    receive(router, tmp_path / "first", 1)
    router.wait_until_completed(2)
    hanging.hangs = True
    second = receive(router, tmp_path / "second", 60)
    wait_until(lambda: hanging.waiting, 60, "it hangs")
    router.wait_until_completed(2, 60, destination="good")
    assert set(second.sop_instance_uids) <= set(good.received)
    assert hanging.waiting
    router.stop()
    own_seconds, threads_left = what_it_said(router)
    assert threads_left == "[]"
    assert own_seconds < ROUTER_SECONDS
    assert router.crash_signs() == []
    hanging.behave()
    router.start()
    router.wait_until_completed(2, 60, destination="hanging")
    assert set(second.sop_instance_uids) <= set(hanging.received)


@each_kind
def test_nothing_is_lost_whenever_the_router_is_killed(
    start_router: StartRouter, away: Orthanc, tmp_path: Path, kind: str
) -> None:
    router = start_router(**sends_to(kind, away.url, Verify="Counted"))
    chance = random.Random(f"{SEED} {kind}")
    assert router.router_get("/status")["State"] == "Running"  # what comes before its very first start counts as old
    sent: set[str] = set()
    for trial in range(TRIALS):
        sent |= set(receive(router, tmp_path / str(trial), 6).sop_instance_uids)
        threading.Event().wait(chance.uniform(0, LATEST_KILL))
        router.kill()
        router.start()

    def all_ended(found: list[Delivery]) -> bool:
        studies = {each["StudyInstanceUID"] for each in found if each["Status"] == "Completed"}
        return len(studies) == TRIALS and all(each["Status"] in {"Completed", "Canceled"} for each in found)

    router.wait_for_deliveries(all_ended, 120)
    assert set(away.sop_instance_uids()) == sent
    router.stop()


def test_without_the_dicom_web_plugin_nothing_is_sent_and_the_reason_is_told(
    start_router: StartRouter, server: ScriptedHttpServer, tmp_path: Path
) -> None:
    arguments = sends_to(DICOM_WEB, server.url)
    arguments["config"]["Plugins"] = arguments["config"]["Plugins"][:1]
    router = start_router(**arguments)
    (rule,) = router.router_get("/rules")
    assert any("DICOMweb plugin" in each["Message"] for each in rule["Warnings"])
    receive(router, tmp_path / "study")
    wait_until(lambda: router.router_get("/destinations/AWAY")["State"] == "Held", 60, "it is held")
    assert "DICOMweb plugin" in router.history()[0]["LastError"]["Message"]
    assert not server.received
