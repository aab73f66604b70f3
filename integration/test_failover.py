# SPDX-License-Identifier: AGPL-3.0-or-later
"""FirstOf and OneOf: one of several destinations, and only one by accident."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.router import Router
from support.scripted_scp import Rejection, ScriptedScp
from support.store_scu import send
from support.studies import make_study

StartScp = Callable[..., ScriptedScp]
StartRouter = Callable[..., Router]


def first_of(after: str = "1s", **more: Any) -> list[dict[str, Any]]:
    return [{"Name": "all", "Match": {}, "Send": [{"FirstOf": ["PACS1", "PACS2"], "After": after, **more}]}]


def send_study(router: Router, folder: Path, instances: int = 3, **tags: Any) -> set[str]:
    study = make_study(folder, instances=instances, pixels=(16, 16), **tags)
    assert len(send(study.files, router.node).acknowledged) == instances
    return set(study.sop_instance_uids)


def completed(router: Router, destination: str) -> None:
    router.wait_for_deliveries(
        lambda found: bool(found) and any(each["Status"] == "Completed" for each in found), 60, destination=destination
    )


def test_the_first_of_several_gets_the_study_while_it_works(
    start_scp: StartScp, start_router: StartRouter, tmp_path: Path
) -> None:
    one, two = start_scp("PACS1"), start_scp("PACS2")
    router = start_router({"PACS1": one.node, "PACS2": two.node}, rules=first_of())
    uids = send_study(router, tmp_path)
    completed(router, "PACS1")
    assert set(one.received) == uids
    assert not two.requests


def test_the_next_one_takes_over_when_the_first_is_unreachable_for_too_long(
    start_scp: StartScp, start_router: StartRouter, tmp_path: Path
) -> None:
    one, two = start_scp("PACS1"), start_scp("PACS2")
    one.stop_listening()
    router = start_router({"PACS1": one.node, "PACS2": two.node}, rules=first_of())
    uids = send_study(router, tmp_path)
    completed(router, "PACS2")
    assert set(two.received) == uids
    (old,) = router.history(destination="PACS1")
    assert old["Status"] == "Canceled"
    assert "PACS2 takes over" in old["Reason"]


def test_the_next_one_takes_over_at_once_when_the_first_fails_for_good(
    start_scp: StartScp, start_router: StartRouter, tmp_path: Path
) -> None:
    one, two = start_scp("PACS1"), start_scp("PACS2")
    one.reject(Rejection.CALLED_AET)
    router = start_router({"PACS1": one.node, "PACS2": two.node}, rules=first_of(after="1h"))
    uids = send_study(router, tmp_path)
    completed(router, "PACS2")
    assert set(two.received) == uids
    (old,) = router.history(destination="PACS1")
    assert old["Status"] == "Failed"


def test_the_first_gets_it_too_once_it_is_back_when_the_rule_says_so(
    start_scp: StartScp, start_router: StartRouter, tmp_path: Path
) -> None:
    one, two = start_scp("PACS1"), start_scp("PACS2")
    one.stop_listening()
    router = start_router({"PACS1": one.node, "PACS2": two.node}, rules=first_of(AndWhenBack=True))
    uids = send_study(router, tmp_path)
    completed(router, "PACS2")
    one.start_listening()
    completed(router, "PACS1")
    assert set(one.received) == set(two.received) == uids


def test_late_instances_follow_the_study_to_the_one_that_took_over(
    start_scp: StartScp, start_router: StartRouter, tmp_path: Path
) -> None:
    one, two = start_scp("PACS1"), start_scp("PACS2")
    one.stop_listening()
    router = start_router({"PACS1": one.node, "PACS2": two.node}, rules=first_of())
    study = make_study(tmp_path, instances=6, pixels=(16, 16))
    send(study.files[:4], router.node)
    completed(router, "PACS2")
    one.start_listening()
    send(study.files[4:], router.node)
    two.wait_for(6)
    assert set(two.received) == set(study.sop_instance_uids)
    assert not one.requests


def test_one_of_in_turn_shares_studies_out_evenly_also_over_a_restart(
    start_scp: StartScp, start_router: StartRouter, tmp_path: Path
) -> None:
    one, two = start_scp("PACS1"), start_scp("PACS2")
    rules = [{"Name": "all", "Match": {}, "Send": [{"OneOf": ["PACS1", "PACS2"]}]}]
    router = start_router({"PACS1": one.node, "PACS2": two.node}, rules=rules)
    for number in range(3):
        send_study(router, tmp_path / str(number), instances=1)
        router.wait_until_completed(number + 1)
    router.restart()
    send_study(router, tmp_path / "last", instances=1)
    router.wait_until_completed(4)
    assert (len(one.received), len(two.received)) == (2, 2)


def test_one_of_by_patient_keeps_a_patient_at_one_destination(
    start_scp: StartScp, start_router: StartRouter, tmp_path: Path
) -> None:
    one, two = start_scp("PACS1"), start_scp("PACS2")
    rules = [{"Name": "all", "Match": {}, "Send": [{"OneOf": ["PACS1", "PACS2"], "By": "Patient"}]}]
    router = start_router({"PACS1": one.node, "PACS2": two.node}, rules=rules)
    for number in range(12):
        send_study(router, tmp_path / str(number), instances=1, PatientID=f"P{number % 6}")
    router.wait_until_completed(12)
    where: dict[str, set[str]] = {}
    for delivery in router.history():
        where.setdefault(delivery["PatientID"], set()).add(delivery["Destination"])
    assert len(where) == 6
    assert all(len(destinations) == 1 for destinations in where.values())
    assert {destination for each in where.values() for destination in each} == {"PACS1", "PACS2"}


def test_a_waiting_delivery_is_moved_to_another_destination_by_hand(
    start_scp: StartScp, start_router: StartRouter, tmp_path: Path
) -> None:
    one, two = start_scp("PACS1"), start_scp("PACS2")
    one.stop_listening()
    rules = [{"Name": "all", "Match": {}, "Send": ["PACS1"]}]
    router = start_router({"PACS1": one.node, "PACS2": two.node}, rules=rules)
    uids = send_study(router, tmp_path)
    router.wait_for_deliveries(lambda found: bool(found) and found[0]["Status"] == "Retrying", 30)
    moved = router.router_post("/history-resend", {"Filter": {"Destination": "PACS1"}, "Destination": "PACS2"})
    assert moved == {"Count": 1}
    completed(router, "PACS2")
    assert set(two.received) == uids
    (old,) = router.history(destination="PACS1")
    assert old["Status"] == "Canceled"
