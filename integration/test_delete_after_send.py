# SPDX-License-Identifier: AGPL-3.0-or-later
"""DeleteAfterSend: Orthanc forgets a study when every destination has it, and never before."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.orthanc import Orthanc
from support.router import Router
from support.scripted_scp import Rejection, ScriptedScp
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

RULES = [{"Name": "all", "Match": {}, "Send": ["ARCHIVE", "SECOND"], "DeleteAfterSend": True}]


def start_pair(
    start_orthanc: Callable[..., Orthanc], start_scp: Callable[..., ScriptedScp], start_router: Callable[..., Router]
) -> tuple[Orthanc, ScriptedScp, Router]:
    archive, second = start_orthanc("ARCHIVE", config={"DicomAlwaysAllowFind": True}), start_scp("SECOND")
    section: dict[str, Any] = {"Destinations": {"ARCHIVE": {"Modality": "ARCHIVE", "Verify": "Counted"}}}
    router = start_router({"ARCHIVE": archive.node, "SECOND": second.node}, rules=RULES, section=section)
    return archive, second, router


def test_a_study_is_deleted_once_every_destination_has_all_of_it(
    start_orthanc: Callable[..., Orthanc],
    start_scp: Callable[..., ScriptedScp],
    start_router: Callable[..., Router],
    tmp_path: Path,
) -> None:
    archive, second, router = start_pair(start_orthanc, start_scp, start_router)
    study = make_study(tmp_path, instances=5, pixels=(16, 16))
    send(study.files, router.node)
    wait_until(lambda: router.get("/statistics")["CountInstances"] == 0, 60, "the router's Orthanc is empty")
    assert set(archive.sop_instance_uids()) == set(second.received) == set(study.sop_instance_uids)
    assert {each["Status"] for each in router.history()} == {"Completed"}


def test_a_study_stays_while_one_destination_lacks_it_and_goes_when_that_is_back(
    start_orthanc: Callable[..., Orthanc],
    start_scp: Callable[..., ScriptedScp],
    start_router: Callable[..., Router],
    tmp_path: Path,
) -> None:
    archive, second, router = start_pair(start_orthanc, start_scp, start_router)
    second.stop_listening()
    study = make_study(tmp_path, instances=5, pixels=(16, 16))
    send(study.files, router.node)
    router.wait_for_deliveries(
        lambda found: {each["Destination"]: each["Status"] for each in found}.get("ARCHIVE") == "Completed", 60
    )
    router.kill()
    router.start()
    assert router.get("/statistics")["CountInstances"] == 5
    second.start_listening()
    wait_until(lambda: router.get("/statistics")["CountInstances"] == 0, 90, "the router's Orthanc is empty")
    assert set(archive.sop_instance_uids()) == set(second.received) == set(study.sop_instance_uids)


def test_a_study_of_which_an_instance_was_refused_is_kept(
    start_orthanc: Callable[..., Orthanc],
    start_scp: Callable[..., ScriptedScp],
    start_router: Callable[..., Router],
    tmp_path: Path,
) -> None:
    archive, second, router = start_pair(start_orthanc, start_scp, start_router)
    study = make_study(tmp_path, instances=5, pixels=(16, 16))
    second.on_store(0xC000, uid=study.sop_instance_uids[2])
    other = make_study(tmp_path / "other", instances=2, pixels=(16, 16))
    send(study.files, router.node)
    send(other.files, router.node)
    wait_until(lambda: router.get("/statistics")["CountInstances"] <= 5, 60, "the other study is deleted")
    assert router.get("/statistics")["CountStudies"] == 1
    assert len(archive.sop_instance_uids()) == 7


def test_a_study_that_failed_to_reach_a_destination_of_another_trigger_is_kept(
    start_orthanc: Callable[..., Orthanc],
    start_scp: Callable[..., ScriptedScp],
    start_router: Callable[..., Router],
    tmp_path: Path,
) -> None:
    archive, second = start_orthanc("ARCHIVE"), start_scp("SECOND")
    second.reject(Rejection.CALLED_AET)
    rules = [
        {"Name": "series", "Trigger": "StableSeries", "Match": {}, "Send": ["SECOND"]},
        {"Name": "study", "Match": {}, "Send": ["ARCHIVE"], "DeleteAfterSend": True},
    ]
    router = start_router({"ARCHIVE": archive.node, "SECOND": second.node}, rules=rules)
    study = make_study(tmp_path, instances=3, pixels=(16, 16))
    send(study.files, router.node)
    ended = {"ARCHIVE": "Completed", "SECOND": "Failed"}
    router.wait_for_deliveries(lambda found: {each["Destination"]: each["Status"] for each in found} == ended, 60)
    other = make_study(tmp_path / "other", instances=2, pixels=(16, 16))
    second.reject(None)
    send(other.files, router.node)
    wait_until(lambda: router.get("/statistics")["CountStudies"] == 1, 60, "only the other study is deleted")
    assert set(router.sop_instance_uids()) == set(study.sop_instance_uids)
