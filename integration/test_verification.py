# SPDX-License-Identifier: AGPL-3.0-or-later
"""A destination that says "accepted" is asked whether it has it: by C-FIND, by storage commitment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.orthanc import Orthanc
from support.router import Router
from support.store_scu import send
from support.studies import make_study

MAY_BE_ASKED = {"DicomAlwaysAllowFind": True}

# Orthanc answers Success for what its filter drops, as an archive does that loses what it accepted.
FORGETS = """
local dropped = 0
function ReceivedInstanceFilter(dicom, origin, info)
  if dicom.InstanceNumber == '3' and dropped < %d then
    dropped = dropped + 1
    return false
  end
  return true
end
"""


@pytest.fixture
def forgetful(start_orthanc: Callable[..., Orthanc], tmp_path: Path) -> Callable[[int], Orthanc]:
    """An archive that accepts instance 3 and forgets it, the first so many times."""

    def start(times: int) -> Orthanc:
        script = tmp_path / "forgets.lua"
        script.write_text(FORGETS % times, encoding="utf-8")
        return start_orthanc("ARCHIVE", config={"LuaScripts": [str(script)], **MAY_BE_ASKED})

    return start


def route_one_study(router: Router, folder: Path, instances: int = 5) -> dict[str, Any]:
    study = make_study(folder, instances=instances, pixels=(16, 16))
    assert len(send(study.files, router.node).acknowledged) == instances
    ended = {"Completed", "Warning", "Failed"}
    router.wait_for_deliveries(lambda found: bool(found) and all(each["Status"] in ended for each in found), 60)
    (delivery,) = router.history()
    detail: dict[str, Any] = router.router_get(f"/history/{delivery['ID']}")
    return detail


def start_counted(start_router: Callable[..., Router], archive: Orthanc) -> Router:
    return start_router(
        {"ARCHIVE": archive.node},
        rules=[{"Name": "all", "Match": {}, "Send": [{"To": "ARCHIVE", "Verify": "Counted"}]}],
    )


def test_a_counted_delivery_is_completed_when_the_archive_lists_every_instance(
    start_orthanc: Callable[..., Orthanc], start_router: Callable[..., Router], tmp_path: Path
) -> None:
    router = start_counted(start_router, start_orthanc("ARCHIVE", config=MAY_BE_ASKED))
    delivery = route_one_study(router, tmp_path)
    assert (delivery["Status"], delivery["Verified"]) == ("Completed", "Counted")


def test_an_instance_that_the_archive_forgot_is_found_out_and_sent_again(
    forgetful: Callable[[int], Orthanc], start_router: Callable[..., Router], tmp_path: Path
) -> None:
    archive = forgetful(1)
    delivery = route_one_study(start_counted(start_router, archive), tmp_path)
    assert (delivery["Status"], delivery["InstancesSent"]) == ("Completed", 5)
    assert len(archive.sop_instance_uids()) == 5


def test_an_instance_that_the_archive_forgets_again_ends_as_a_warning_that_names_it(
    forgetful: Callable[[int], Orthanc], start_router: Callable[..., Router], tmp_path: Path
) -> None:
    archive = forgetful(1000)
    delivery = route_one_study(start_counted(start_router, archive), tmp_path)
    assert (delivery["Status"], delivery["InstancesSent"], delivery["InstancesRefused"]) == ("Warning", 4, 1)
    (refused,) = delivery["RefusedInstances"]
    assert refused["Code"] == "NotKept"
    assert refused["SOPInstanceUID"] not in archive.sop_instance_uids()


@pytest.mark.smoke
def test_a_committed_delivery_is_completed_when_the_archive_commits_to_every_instance(
    start_orthanc: Callable[..., Orthanc], start_router: Callable[..., Router], tmp_path: Path
) -> None:
    archive = start_orthanc("ARCHIVE", config=MAY_BE_ASKED)
    router = start_router(
        {"ARCHIVE": archive.node},
        rules=[{"Name": "all", "Match": {}, "Send": [{"To": "ARCHIVE", "Verify": "Committed"}]}],
    )
    archive.put("/modalities/ROUTER", {"AET": "ROUTER", "Host": "127.0.0.1", "Port": router.dicom})
    delivery = route_one_study(router, tmp_path)
    assert (delivery["Status"], delivery["Verified"]) == ("Completed", "Committed")


def test_an_instance_that_the_archive_does_not_commit_to_is_sent_again(
    forgetful: Callable[[int], Orthanc], start_router: Callable[..., Router], tmp_path: Path
) -> None:
    archive = forgetful(1)
    router = start_router(
        {"ARCHIVE": archive.node},
        rules=[{"Name": "all", "Match": {}, "Send": [{"To": "ARCHIVE", "Verify": "Committed"}]}],
    )
    archive.put("/modalities/ROUTER", {"AET": "ROUTER", "Host": "127.0.0.1", "Port": router.dicom})
    delivery = route_one_study(router, tmp_path)
    assert (delivery["Status"], delivery["Verified"]) == ("Completed", "Committed")
    assert len(archive.sop_instance_uids()) == 5


def test_a_destination_that_cannot_be_asked_is_asked_again_and_nothing_is_sent_twice(
    start_scp: Callable[..., Any], start_router: Callable[..., Router], tmp_path: Path
) -> None:
    scp = start_scp("ARCHIVE")  # it has no C-FIND
    router = start_router(
        {"ARCHIVE": scp.node},
        rules=[{"Name": "all", "Match": {}, "Send": [{"To": "ARCHIVE", "Verify": "Counted"}]}],
    )
    study = make_study(tmp_path, instances=5, pixels=(16, 16))
    send(study.files, router.node)
    router.wait_for_deliveries(lambda found: bool(found) and found[0]["Attempts"] >= 3, 60)
    (delivery,) = router.history()
    assert delivery["LastError"]["Code"] == "FindFailed"
    assert set(scp.received.values()) == {1}
