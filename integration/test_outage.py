# SPDX-License-Identifier: AGPL-3.0-or-later
"""A destination is down for a while: it harms no other, nothing is lost, and the history tells the story."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

PROBE_SECONDS = 15


def test_a_destination_that_refuses_connections_harms_no_other_and_is_served_when_it_is_back(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    good, down = start_scp("GOOD"), start_scp("DOWN")
    down.stop_listening()
    router = start_router({"GOOD": good.node, "DOWN": down.node})
    first, second = (make_study(tmp_path / str(number), instances=10) for number in range(2))
    assert send(first.files, router.node).acknowledged == first.sop_instance_uids

    good.wait_for(10, 10)
    wait_until(lambda: destination(router)["State"] == "Held", 30, "DOWN is held")
    held_at = time.monotonic()
    assert send(second.files, router.node).acknowledged == second.sop_instance_uids
    good.wait_for(20, 10)
    router.wait_until_completed(2, destination="GOOD")
    waiting = router.wait_for_deliveries(lambda found: len(found) == 2, destination="DOWN")
    assert {each["Status"] for each in waiting} <= {"Scheduled", "Retrying"}
    assert {each["Reason"] for each in waiting} == {"The destination does not answer"}
    assert all(each["NextAttempt"] for each in waiting)
    assert destination(router)["Until"]
    assert down.received == Counter()

    down.start_listening()
    down.wait_for(20, PROBE_SECONDS + 10)
    router.wait_until_completed(2, destination="DOWN")
    assert time.monotonic() - held_at < PROBE_SECONDS + 10
    assert destination(router)["State"] == "Up"
    assert down.received == good.received == Counter(first.sop_instance_uids + second.sop_instance_uids)

    story = router.router_get(f"/history/{waiting[-1]['ID']}")
    *failed, last = story["Attempts"]
    assert len(failed) == 3
    assert {attempt["Error"]["Class"] for attempt in failed} == {"Transient"}
    # The DCMTK of Orthanc 1.13 does not tell that it was refused.
    assert {attempt["Error"]["Code"] for attempt in failed} <= {"ConnectionRefused", "ConnectionFailed"}
    assert (last["Error"], last["InstancesSent"]) == (None, 10)
    assert [step["Status"] for step in story["Timeline"]][-1] == "Completed"


def test_what_waits_for_a_destination_that_stays_away_is_given_up_and_can_be_resent(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    down = start_scp("DOWN")
    down.stop_listening()
    retry = {"First": "100ms", "Max": "100ms", "GiveUpAfter": "6s"}
    router = start_router({"DOWN": down.node}, section={"Retry": retry})
    first, second = (make_study(tmp_path / str(number), instances=3) for number in range(2))
    assert send(first.files, router.node).acknowledged == first.sop_instance_uids
    wait_until(lambda: destination(router)["State"] == "Held", 30, "DOWN is held")
    assert send(second.files, router.node).acknowledged == second.sop_instance_uids
    failed = router.wait_for_deliveries(lambda found: [each["Status"] for each in found] == ["Failed"] * 2)
    assert all(each["LastError"]["Message"] for each in failed)
    assert "Given up" in router.router_get(f"/history/{failed[0]['ID']}")["Timeline"][-1]["Text"]

    down.start_listening()
    for each in failed:
        router.router_post(f"/history/{each['ID']}/resend")
    down.wait_for(6, PROBE_SECONDS + 10)
    ended = ["Completed"] * 2 + ["Failed"] * 2
    router.wait_for_deliveries(lambda found: [each["Status"] for each in found] == ended)
    assert down.received == Counter(first.sop_instance_uids + second.sop_instance_uids)


def destination(router: Any) -> dict[str, Any]:
    answer: dict[str, Any] = router.router_get("/destinations/DOWN")
    return answer


def test_a_destination_without_a_schedule_is_always_up(start_router: StartRouter, start_scp: StartScp) -> None:
    """Its window is open at any microsecond, however the clock is rounded."""
    router = start_router({"PACS": start_scp("PACS").node})
    assert {router.router_get("/destinations/PACS")["State"] for _ in range(50)} == {"Up"}
