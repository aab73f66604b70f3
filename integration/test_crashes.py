# SPDX-License-Identifier: AGPL-3.0-or-later
"""kill -9 in the middle of failover, of deleting after sending, and of verification: 20 random moments each."""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.orthanc import Orthanc
from support.router import Router
from support.scripted_scp import ScriptedScp
from support.store_scu import send
from support.studies import make_study

TRIALS = 20
INSTANCES = 6
LATEST_KILL = 3.0  # seconds after the study was received; StableAge is 1
SEED = 20261122

CAN_BE_ASKED = {"DicomAlwaysAllowFind": True}
FORGETS_ONE_IN_THREE = """
local seen = {}
function ReceivedInstanceFilter(dicom, origin, info)
  local uid = dicom.SOPInstanceUID
  if tonumber(dicom.InstanceNumber) % 3 == 0 and not seen[uid] then
    seen[uid] = true
    return false
  end
  return true
end
"""


def send_and_kill(router: Router, folder: Path, chance: random.Random) -> set[str]:
    """Send a study, kill the router a random time later, start it again. Answers what it acknowledged."""
    study = make_study(folder, instances=INSTANCES, pixels=(32, 32))
    acknowledged = set(send(study.files, router.node).acknowledged)
    assert len(acknowledged) == INSTANCES
    threading.Event().wait(chance.uniform(0, LATEST_KILL))
    router.kill()
    router.start()
    return acknowledged


def all_ended(router: Router, count: int) -> None:
    """Every study has at least one delivery that was Completed, and nothing is open."""

    def ended(found: list[dict[str, Any]]) -> bool:
        completed = {each["StudyInstanceUID"] for each in found if each["Status"] == "Completed"}
        waiting = [each for each in found if each["Status"] in {"Scheduled", "Sending", "Retrying"}]
        return len(completed) == count and not waiting

    router.wait_for_deliveries(ended, 120)


@pytest.mark.parametrize("first_works", [True, False])
def test_first_of_sends_to_one_member_only_whenever_it_is_killed(
    start_scp: Callable[..., ScriptedScp],
    start_router: Callable[..., Router],
    tmp_path: Path,
    first_works: bool,
) -> None:
    one, two = start_scp("PACS1"), start_scp("PACS2")
    if not first_works:
        one.stop_listening()
    after = "1h" if first_works else "300ms"
    rules = [{"Name": "all", "Match": {}, "Send": [{"FirstOf": ["PACS1", "PACS2"], "After": after}]}]
    router = start_router({"PACS1": one.node, "PACS2": two.node}, rules=rules)
    chance = random.Random(SEED)
    sent: set[str] = set()
    for trial in range(TRIALS // 2):
        sent |= send_and_kill(router, tmp_path / str(trial), chance)
    all_ended(router, TRIALS // 2)
    chosen, other = (one, two) if first_works else (two, one)
    assert set(chosen.received) == sent
    assert not other.requests


def test_nothing_is_deleted_before_it_has_arrived_whenever_the_router_is_killed(
    start_orthanc: Callable[..., Orthanc], start_router: Callable[..., Router], tmp_path: Path
) -> None:
    archive = start_orthanc("ARCHIVE", config=CAN_BE_ASKED)
    section = {"Destinations": {"ARCHIVE": {"Modality": "ARCHIVE", "Verify": "Counted"}}}
    rules = [{"Name": "all", "Match": {}, "Send": ["ARCHIVE"], "DeleteAfterSend": True}]
    router = start_router({"ARCHIVE": archive.node}, rules=rules, section=section)
    chance = random.Random(SEED + 1)
    sent: set[str] = set()
    for trial in range(TRIALS):
        sent |= send_and_kill(router, tmp_path / str(trial), chance)
        # In this order: what leaves the router between the two questions is in the archive by the second.
        here = set(router.sop_instance_uids())
        assert sent <= here | set(archive.sop_instance_uids())
    all_ended(router, TRIALS)
    assert set(archive.sop_instance_uids()) == sent


def test_what_the_archive_forgot_is_found_out_whenever_the_router_is_killed(
    start_orthanc: Callable[..., Orthanc], start_router: Callable[..., Router], tmp_path: Path
) -> None:
    script = tmp_path / "forgets.lua"
    script.write_text(FORGETS_ONE_IN_THREE, encoding="utf-8")
    archive = start_orthanc("ARCHIVE", config=CAN_BE_ASKED | {"LuaScripts": [str(script)]})
    section = {"Destinations": {"ARCHIVE": {"Modality": "ARCHIVE", "Verify": "Counted"}}}
    rules = [{"Name": "all", "Match": {}, "Send": ["ARCHIVE"]}]
    router = start_router({"ARCHIVE": archive.node}, rules=rules, section=section)
    chance = random.Random(SEED + 2)
    sent: set[str] = set()
    for trial in range(TRIALS):
        sent |= send_and_kill(router, tmp_path / str(trial), chance)
    all_ended(router, TRIALS)
    assert set(archive.sop_instance_uids()) == sent
