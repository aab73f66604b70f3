# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router's database cannot be written for a while: Orthanc receives, the router says why, then all is routed."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.disks import fill, may_mount, small_disk, unwritable
from support.router import Router
from support.scripted_scp import ScriptedScp
from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

SMALL = (16, 16)
ENOUGH_STUDIES = 40  # SQLite's log may have room of its own, at first


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if not may_mount(tmp_path):
        pytest.skip("Whoever runs this may not mount a file system; what a full disk does was not looked at.")
    with small_disk(tmp_path / "disk", megabytes=8) as folder:
        yield folder


@pytest.fixture
def pair(disk: Path, start_router: StartRouter, start_scp: StartScp) -> tuple[Router, ScriptedScp]:
    """The disk is made first, so that it outlives them."""
    pacs = start_scp("PACS")
    router = start_router({"PACS": pacs.node}, database=f"sqlite:///{disk / 'router.db'}")
    assert problem(router) == ""
    return router, pacs


def receive(router: Router, folder: Path) -> list[str]:
    study = make_study(folder, instances=2, pixels=SMALL)
    assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    return study.sop_instance_uids


def problem(router: Router) -> str:
    status = router.router_get("/status")
    told = [each["Message"] for each in status["Problems"] if each["Path"] == "Router.Database"]
    assert bool(told) == (status["State"] == "Suspended")
    return "\n".join(told)


def receive_until_told(router: Router, folder: Path, reason: str) -> list[str]:
    uids: list[str] = []
    for number in range(ENOUGH_STUDIES):
        uids += receive(router, folder / str(number))
        if reason in problem(router):
            return uids
    wait_until(lambda: reason in problem(router), 30, f"the status says: {reason}")
    return uids


def assert_all_arrives(router: Router, pacs: ScriptedScp, uids: list[str]) -> None:
    wait_until(lambda: problem(router) == "", 30, "the status is well again")
    pacs.wait_for(len(uids), 60)
    router.wait_until_completed(len(uids) // 2)
    assert pacs.received == Counter(uids)


def test_a_full_disk_is_told_and_all_is_routed_once_there_is_room(
    pair: tuple[Router, ScriptedScp], disk: Path, tmp_path: Path
) -> None:
    router, pacs = pair
    ballast = fill(disk)
    uids = receive_until_told(router, tmp_path / "full", "its disk is full; make room")
    uids += receive(router, tmp_path / "still full")
    wait_until(lambda: "the router's database: its disk is full; make room" in router.log(), 30, "the log says so")
    ballast.unlink()
    assert_all_arrives(router, pacs, uids)
    wait_until(lambda: "the router's database can be written again" in router.log(), 30, "the log says that too")


def test_a_start_with_a_read_only_database_goes_on_by_itself_once_it_can_be_written(
    pair: tuple[Router, ScriptedScp], disk: Path, tmp_path: Path
) -> None:
    router, pacs = pair
    router.stop()
    with unwritable(disk / "router.db"):
        router.start()
        assert "it is read-only" in problem(router)
        uids = receive(router, tmp_path / "read-only")
    assert_all_arrives(router, pacs, uids)
