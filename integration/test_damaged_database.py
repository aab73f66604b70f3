# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router's database is damaged: at the start, and while the router runs. Nothing is lost."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.router import Router
from support.scripted_scp import ScriptedScp
from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

SMALL = (16, 16)
RULE = {"Name": "by hand", "Match": {"Modality": "CT"}, "Send": ["PACS"]}


@pytest.fixture
def pacs(start_scp: StartScp) -> ScriptedScp:
    return start_scp("PACS")


@pytest.fixture
def router(start_router: StartRouter, pacs: ScriptedScp) -> Router:
    """Its only rule was made over REST. The database is always SQLite here."""
    made = start_router({"PACS": pacs.node}, rules=[], database="")
    made.router_post("/rules", RULE)
    return made


def database(router: Router) -> Path:
    return router.folder / "storage" / "router.db"


def receive(router: Router, folder: Path) -> list[str]:
    study = make_study(folder, instances=4, pixels=SMALL)
    assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    return study.sop_instance_uids


def warning(router: Router) -> str:
    told = [each["Message"] for each in router.router_get("/status")["Warnings"] if each["Path"] == "Router.Database"]
    return "\n".join(told)


def test_a_database_that_is_no_database_any_more_is_replaced_and_nothing_is_lost(
    router: Router, pacs: ScriptedScp, tmp_path: Path
) -> None:
    """What waits is not in the fresh one; it is made again from Orthanc's change log."""
    uids = receive(router, tmp_path / "before")
    pacs.wait_for(4)
    router.wait_until_completed(1)
    pacs.stop_listening()
    uids += receive(router, tmp_path / "waits")
    router.wait_for_deliveries(lambda found: len(found) == 2 and found[0]["Attempts"] >= 1)
    router.stop()
    database(router).write_bytes(b"This is no database. " * 500)
    router.start()

    assert router.router_get("/status")["State"] == "Running"
    assert "file is not a database" in warning(router)
    assert "router.db.damaged-" in warning(router)
    assert warning(router) in router.log()
    (aside,) = database(router).parent.glob("router.db.damaged-*")
    assert aside.read_bytes().startswith(b"This is no database.")
    assert [rule["Name"] for rule in router.router_get("/rules")] == [RULE["Name"]]

    uids += receive(router, tmp_path / "after")
    pacs.start_listening()
    wait_until(lambda: set(pacs.received) == set(uids), 60, "all has arrived")
    wait_until(lambda: all(each["Status"] == "Completed" for each in router.history()), 30, "nothing is open")
    assert set(pacs.received.values()) <= {1, 2}  # what had arrived before may come again

    aside.unlink()
    assert warning(router) == ""
    router.restart()
    assert warning(router) == ""


def test_a_database_whose_past_is_damaged_is_replaced_and_nothing_is_sent_twice(
    router: Router, pacs: ScriptedScp, tmp_path: Path
) -> None:
    uids = receive(router, tmp_path / "before")
    pacs.wait_for(4)
    router.wait_until_completed(1)
    pacs.stop_listening()
    uids += receive(router, tmp_path / "waits")
    (waits, _) = router.wait_for_deliveries(lambda found: len(found) == 2 and found[0]["Attempts"] >= 1)
    router.stop()
    garble(database(router), "timeline")
    pacs.start_listening()
    router.start()

    assert "nothing is to be backfilled" in warning(router)
    pacs.wait_for(8, 60)
    router.wait_until_completed(1)
    assert [each["ID"] for each in router.history()] == [waits["ID"]]
    assert pacs.received == Counter(uids)


def test_damage_that_is_met_while_the_router_runs_is_told_and_mended_without_a_restart(
    router: Router, pacs: ScriptedScp, tmp_path: Path
) -> None:
    uids = receive(router, tmp_path / "before")
    pacs.wait_for(4)
    router.wait_until_completed(1)
    garble(database(router), "timeline")
    uids += receive(router, tmp_path / "met")

    wait_until(lambda: warning(router) != "", 60, "the database was replaced")
    assert router.router_get("/status")["State"] == "Running"
    assert "The database is damaged (database disk image is malformed)" in router.log()
    uids += receive(router, tmp_path / "after")
    wait_until(lambda: set(pacs.received) == set(uids), 60, "all has arrived")
    wait_until(lambda: all(each["Status"] == "Completed" for each in router.history()), 30, "nothing is open")


def garble(path: Path, table: str) -> None:
    """Overwrite the first page of a table. What is in the log of SQLite is put into the file before."""
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        wait_until(lambda: not _busy(connection), 30, "all is in the file")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\x5a" * size)


def _busy(connection: Any) -> bool:
    return bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
