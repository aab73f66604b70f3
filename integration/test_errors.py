# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a destination's misbehaviour does to a delivery, and that it does nothing to the others."""

from collections import Counter
from pathlib import Path

import pytest

from support.router import Delivery, Router
from support.scripted_scp import Misbehaviour, Rejection, ScriptedScp
from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import Study, make_study
from support.waiting import wait_until


@pytest.fixture
def pacs(start_scp: StartScp) -> ScriptedScp:
    return start_scp("PACS")


@pytest.fixture
def router(start_router: StartRouter, pacs: ScriptedScp) -> Router:
    return start_router({"PACS": pacs.node})


def receive(router: Router, folder: Path, instances: int = 20) -> Study:
    study = make_study(folder, instances=instances)
    assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    return study


def ended(router: Router, status: str, timeout: float = 60) -> Delivery:
    """The only delivery with all its details, once it has that status."""
    found = router.wait_for_deliveries(lambda all_: [each["Status"] for each in all_] == [status], timeout)
    answer: Delivery = router.router_get(f"/history/{found[0]['ID']}")
    return answer


def test_an_instance_for_which_the_destination_is_out_of_resources_is_sent_again(
    router: Router, pacs: ScriptedScp, tmp_path: Path
) -> None:
    pacs.on_store(0xA700, at=7)
    study = receive(router, tmp_path)
    delivery = ended(router, "Completed")
    assert pacs.received == Counter(study.sop_instance_uids)
    assert delivery["InstancesSent"] == delivery["InstancesCount"] == 20


@pytest.mark.parametrize("status", [0xA900, 0xC000, 0xC123])
def test_an_instance_that_is_refused_for_good_is_named_and_the_rest_arrives(
    router: Router, pacs: ScriptedScp, tmp_path: Path, status: int
) -> None:
    study = make_study(tmp_path, instances=20)
    poisonous = study.sop_instance_uids[7]
    pacs.on_store(status, uid=poisonous)
    send(study.files, router.node)
    delivery = ended(router, "Warning")
    assert pacs.received == Counter(set(study.sop_instance_uids) - {poisonous})
    (refused,) = delivery["RefusedInstances"]
    assert (refused["SOPInstanceUID"], refused["Code"]) == (poisonous, f"0x{status:04X}")
    assert (delivery["InstancesSent"], delivery["InstancesRefused"]) == (19, 1)
    assert [request.uid for request in pacs.requests].count(poisonous) == 1  # permanent: it is not tried again


@pytest.mark.smoke
def test_a_delivery_fails_at_once_when_no_presentation_context_is_accepted(
    router: Router, pacs: ScriptedScp, tmp_path: Path
) -> None:
    pacs.no_contexts = True
    receive(router, tmp_path, instances=3)
    wait_until(lambda: router.history() and router.history()[0]["Status"] in {"Failed", "Warning"}, 30, "it has ended")
    delivery = router.router_get(f"/history/{router.history()[0]['ID']}")
    assert delivery["InstancesSent"] == 0
    assert {each["Code"] for each in delivery["RefusedInstances"]} == {"NoPresentationContext"}
    assert delivery["Status"] == "Failed"
    assert delivery["AttemptsCount"] == 1


@pytest.mark.parametrize(
    ("why", "code"),
    [(Rejection.CALLED_AET, "CalledAetNotRecognized"), (Rejection.CALLING_AET, "CallingAetNotRecognized")],
)
def test_a_delivery_fails_at_once_when_an_ae_title_is_not_recognised(
    router: Router, pacs: ScriptedScp, tmp_path: Path, why: Rejection, code: str
) -> None:
    pacs.reject(why)
    receive(router, tmp_path)
    delivery = ended(router, "Failed")
    assert (delivery["LastError"]["Class"], delivery["LastError"]["Code"]) == ("Permanent", code)
    assert delivery["AttemptsCount"] == 1
    assert pacs.requests == []


@pytest.mark.parametrize("at", [1, 50, 100, 101, 120])
def test_all_arrives_though_the_destination_aborts_in_the_middle(
    router: Router, pacs: ScriptedScp, tmp_path: Path, at: int
) -> None:
    pacs.on_store(Misbehaviour.ABORT, at=at)
    study = receive(router, tmp_path, instances=120)
    delivery = ended(router, "Completed", 60)
    received = pacs.received
    assert set(received) == set(study.sop_instance_uids)
    assert sum(received.values()) <= 121  # at most one instance twice for one abort
    assert delivery["InstancesSent"] == 120


def test_a_destination_that_hangs_in_a_store_does_not_delay_another(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    hanging, good = start_scp("HANGING"), start_scp("GOOD")
    hanging.on_store(Misbehaviour.HANG)
    router = start_router({"HANGING": hanging.node, "GOOD": good.node}, config={"DicomScuTimeout": 60})
    study = receive(router, tmp_path / "first", instances=120)
    wait_until(lambda: hanging.waiting > 0, 30, "a C-STORE hangs")
    good.wait_for(120)
    second = receive(router, tmp_path / "second", instances=120)
    router.wait_until_completed(2, destination="GOOD")
    assert good.received == Counter(study.sop_instance_uids + second.sop_instance_uids)
    assert hanging.waiting > 0
    assert hanging.received == Counter()


def test_of_1000_instances_three_are_refused_one_is_put_off_twice_and_all_others_arrive_once(
    start_router: StartRouter, pacs: ScriptedScp, tmp_path: Path
) -> None:
    section = {"Destinations": {"PACS": {"Modality": "PACS", "Associations": 4}}}
    router = start_router({"PACS": pacs.node}, section=section)
    study = make_study(tmp_path, instances=1000, pixels=(16, 16))
    refused = {study.sop_instance_uids[number] for number in (0, 499, 998)}
    for uid in refused:
        pacs.on_store(0xC000, uid=uid)
    pacs.on_store(0xA700, uid=study.sop_instance_uids[700], times=2)
    assert len(send(study.files, router.node).acknowledged) == 1000
    delivery = ended(router, "Warning", 120)
    assert pacs.received == Counter(set(study.sop_instance_uids) - refused)
    assert {each["SOPInstanceUID"] for each in delivery["RefusedInstances"]} == refused
    assert (delivery["InstancesSent"], delivery["InstancesRefused"]) == (997, 3)


def test_resend_missing_sends_only_what_was_refused(router: Router, pacs: ScriptedScp, tmp_path: Path) -> None:
    study = make_study(tmp_path, instances=20)
    pacs.on_store(0xC000, uid=study.sop_instance_uids[7], times=1)
    send(study.files, router.node)
    delivery = ended(router, "Warning")
    router.router_post(f"/history/{delivery['ID']}/resend", {"Instances": "Missing"})
    router.wait_for_deliveries(lambda found: [each["Status"] for each in found] == ["Completed", "Warning"], 30)
    assert pacs.received == Counter(study.sop_instance_uids)
