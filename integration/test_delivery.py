# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is sent to the router arrives where the rules say, once, as it was."""

from collections import Counter
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from support.orthanc import Orthanc
from support.router import Router
from support.scripted_scp import ScriptedScp
from support.starting import StartOrthanc, StartRouter, StartScp
from support.store_scu import send
from support.studies import Study, bundled_files, data_set_bytes, make_study, same_data_set
from support.waiting import wait_until


@pytest.fixture
def pacs(start_scp: StartScp) -> ScriptedScp:
    return start_scp("PACS")


@pytest.fixture
def router(start_router: StartRouter, pacs: ScriptedScp) -> Router:
    return start_router({"PACS": pacs.node})


def receive(router: Router, folder: Path, instances: int = 10, **tags: object) -> Study:
    study = make_study(folder, instances=instances, **tags)
    assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    return study


@pytest.mark.smoke
def test_every_real_file_arrives_at_both_destinations_as_it_was(
    start_router: StartRouter, start_scp: StartScp, start_orthanc: StartOrthanc, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    archive = start_orthanc("ARCHIVE")
    router = start_router({"PACS": pacs.node, "ARCHIVE": archive.node})
    files = bundled_files(tmp_path / "bundled")
    sent = send(files, router.node)
    assert (sent.refused, sent.error) == ({}, "")
    assert len(files) > 150

    pacs.wait_for(len(files), 120)
    wait_until(lambda: len(archive.get("/instances")) == len(files), 120, "ARCHIVE has all")
    # At least: while the machine is busy, a study may come in two parts.
    least = 2 * len(router.get("/studies"))
    router.wait_for_deliveries(
        lambda found: len(found) >= least and all(each["Status"] == "Completed" for each in found)
    )

    assert pacs.received == Counter(sent.acknowledged)
    assert Counter(archive.sop_instance_uids()) == Counter(sent.acknowledged)
    in_pacs = {request.uid: (request.transfer_syntax, request.data) for request in pacs.requests}
    in_archive = held_data_sets(archive, tmp_path / "archived.dcm")
    in_router = held_data_sets(router, tmp_path / "stored.dcm")
    assert changed(in_router, in_pacs) == []
    assert changed(in_router, in_archive) == []


DataSets = dict[str, tuple[str, bytes]]
"""By SOPInstanceUID: the transfer syntax and the encoded data set."""


def held_data_sets(orthanc: Orthanc, scratch: Path) -> DataSets:
    held: DataSets = {}
    for instance in orthanc.get("/instances?expand"):
        scratch.write_bytes(orthanc.get_bytes(f"/instances/{instance['ID']}/file"))
        syntax = orthanc.get_bytes(f"/instances/{instance['ID']}/metadata/TransferSyntax").decode()
        held[instance["MainDicomTags"]["SOPInstanceUID"]] = (syntax, data_set_bytes(scratch))
    return held


def changed(stored: DataSets, received: DataSets) -> list[str]:
    """What did not arrive byte for byte in its own transfer syntax. Deflated data sets are compressed anew."""
    return [
        uid
        for uid, (syntax, data) in stored.items()
        if received[uid][0] != syntax
        or not (syntax == DeflatedExplicitVRLittleEndian or same_data_set(data, received[uid][1]))
    ]


def test_late_instances_are_sent_alone(router: Router, pacs: ScriptedScp, tmp_path: Path) -> None:
    study = receive(router, tmp_path / "study")
    router.wait_until_completed(1)
    late = receive(router, tmp_path / "late", instances=2, StudyInstanceUID=study.uid, PatientID="P1")
    router.wait_until_completed(2)
    assert pacs.received == Counter(study.sop_instance_uids + late.sop_instance_uids)
    assert [each["InstancesCount"] for each in router.history()] == [2, 10]


def test_a_study_that_was_deleted_before_it_was_sent_has_failed(
    router: Router, pacs: ScriptedScp, tmp_path: Path
) -> None:
    router.router_post("/destinations/PACS/pause")
    receive(router, tmp_path / "study")
    (delivery,) = router.wait_for_deliveries(lambda found: len(found) == 1)
    router.delete(f"/studies/{delivery['ResourceID']}")
    router.router_post("/destinations/PACS/resume")
    (failed,) = router.wait_for_deliveries(lambda found: found[0]["Status"] == "Failed")
    assert (failed["LastError"]["Class"], failed["LastError"]["Code"]) == ("Permanent", "ResourceDeleted")
    assert pacs.requests == []


def test_all_is_sent_again_on_request(router: Router, pacs: ScriptedScp, tmp_path: Path) -> None:
    study = receive(router, tmp_path / "study")
    (first,) = router.wait_until_completed(1)
    made = router.router_post(f"/history/{first['ID']}/resend", {"Instances": "All"})
    again, _ = router.wait_until_completed(2)
    assert (again["ID"], again["ResendOf"]) == (made["ID"], first["ID"])
    assert pacs.received == Counter(2 * study.sop_instance_uids)


def test_what_is_missing_is_sent_again_on_request(router: Router, pacs: ScriptedScp, tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", instances=10)
    missing = study.sop_instance_uids[3]
    pacs.on_store(0xC000, uid=missing, times=1)
    send(study.files, router.node)
    (first,) = router.wait_for_deliveries(lambda found: [each["Status"] for each in found] == ["Warning"])
    assert missing not in pacs.received
    made = router.router_post(f"/history/{first['ID']}/resend", {"Instances": "Missing"})
    router.wait_for_deliveries(lambda found: found[0]["ID"] == made["ID"] and found[0]["Status"] == "Completed")
    assert pacs.received == Counter(study.sop_instance_uids)
    assert len(pacs.requests) == 11


def test_a_study_goes_to_another_destination_on_request(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    pacs, other = start_scp("PACS"), start_scp("OTHER")
    rules = [{"Name": "never", "Match": {"Modality": "XX"}, "Send": ["PACS"]}]
    router = start_router({"PACS": pacs.node, "OTHER": other.node}, rules=rules)
    study = receive(router, tmp_path / "study")
    (study_id,) = router.get("/studies")
    explained = wait_until(
        lambda: router.router_get(f"/studies/{study_id}/explain")["Stored"], 30, "the study was looked at"
    )
    assert explained[0]["Rules"][0]["Matched"] is False
    router.router_post(f"/studies/{study_id}/route", {"Destinations": ["OTHER"]})
    router.wait_until_completed(1)
    assert other.received == Counter(study.sop_instance_uids)
    assert pacs.requests == []


def test_a_canceled_delivery_that_waits_is_never_sent(router: Router, pacs: ScriptedScp, tmp_path: Path) -> None:
    router.router_post("/destinations/PACS/pause")
    receive(router, tmp_path / "canceled")
    (canceled,) = router.wait_for_deliveries(lambda found: len(found) == 1)
    assert router.router_post(f"/history/{canceled['ID']}/cancel")["Status"] == "Canceled"
    sent = receive(router, tmp_path / "sent")
    router.router_post("/destinations/PACS/resume")
    router.wait_for_deliveries(lambda found: [each["Status"] for each in found] == ["Completed", "Canceled"])
    assert pacs.received == Counter(sent.sop_instance_uids)


def test_a_canceled_delivery_that_is_being_sent_ends_soon(router: Router, pacs: ScriptedScp, tmp_path: Path) -> None:
    pacs.slow = 0.2
    receive(router, tmp_path / "study", instances=100)
    pacs.wait_for(5)
    (delivery,) = router.history()
    router.router_post(f"/history/{delivery['ID']}/cancel")
    (canceled,) = router.wait_for_deliveries(lambda found: found[0]["Status"] == "Canceled")
    assert 0 < canceled["InstancesSent"] < 100
    wait_until(lambda: pacs.is_idle, 30, "nothing is sent any more")
    assert len(pacs.received) < 100


@pytest.mark.parametrize("what", ["", "/destinations/PACS"])
def test_what_is_paused_is_not_sent_until_it_is_resumed(
    router: Router, pacs: ScriptedScp, tmp_path: Path, what: str
) -> None:
    router.router_post(f"{what}/pause")
    router.restart()  # it stays paused
    study = receive(router, tmp_path / "study")
    (waiting,) = router.wait_for_deliveries(lambda found: len(found) == 1)
    assert (waiting["Status"], "paused" in waiting["Reason"]) == ("Scheduled", True)
    assert router.router_get("/destinations/PACS")["State"] == "Paused"
    assert pacs.associations == 0
    router.router_post(f"{what}/resume")
    router.wait_until_completed(1)
    assert pacs.received == Counter(study.sop_instance_uids)
