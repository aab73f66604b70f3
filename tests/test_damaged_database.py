# SPDX-License-Identifier: AGPL-3.0-or-later
"""A damaged side database is put aside; what can be saved of it goes on."""

import json
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from builders import NOW, claimed, enqueued, fill, found, instance
from dicom_router.deliveries.delivery import Status
from dicom_router.store import replacing
from dicom_router.store.database import LOST, StoreError, UnreachableError, session
from dicom_router.store.history import Filter
from dicom_router.store.journal import Position
from dicom_router.store.rescue_copy import rescue_place
from dicom_router.store.schema import Delivery
from dicom_router.store.store import Store, open_store

RULE = {"Name": "all CT", "Match": {"Modality": "CT"}, "Send": ["ARCHIVE"]}
DONE = Position(40, 38, "20261122T010203")
LATER = Position(50, 50, "20261122T020304")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "router.db"


def opened(path: Path) -> Store:
    return open_store(path, "here", lambda: NOW)


def used(path: Path) -> tuple[Store, int]:
    """A database with a rule, a key, a pause, a history, and a delivery that waits; the copy is of a moment before."""
    store = opened(path)
    store.rule_book.put(RULE, NOW)
    store.secret.key()
    store.switches.pause_destination("ARCHIVE", paused=True)
    fill(store, 1, 50, Status.COMPLETED)
    store.journal.move(DONE)
    write_copy(store)
    waiting = enqueued(store)
    store.journal.move(LATER)
    write_copy(store)
    assert store.file is not None
    store.file.close_all()  # as at the end of the process
    return store, waiting


def write_copy(store: Store) -> None:
    assert store.rescue is not None
    store.rescue.write()


def pages_of(path: Path, table: str) -> tuple[int, list[int]]:
    """The size of a page, and which pages the table itself takes."""
    with closing(sqlite3.connect(path)) as database:
        size = database.execute("PRAGMA page_size").fetchone()[0]
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    return int(size), [int(root)]


def garble(path: Path, table: str) -> None:
    """The root page of a table is overwritten."""
    size, pages = pages_of(path, table)
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(b"\x5a" * size)


def nonsense(path: Path) -> None:
    path.write_bytes(b"This is no database. " * 500)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def missing(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes()[:4096])


def without_deliveries(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DROP TABLE delivery")


def aside(path: Path) -> list[Path]:
    return [each for each in path.parent.glob("router.db.damaged-*") if not each.name.endswith(("-wal", "-shm"))]


@pytest.mark.parametrize("damage", [nonsense, empty, missing, cut, without_deliveries])
def test_where_what_is_owed_cannot_be_read_all_is_looked_at_again_from_where_nothing_was_owed(
    path: Path, damage: Callable[[Path], None]
) -> None:
    key = used(path)[0].secret.key()
    damage(path)
    store = opened(path)
    assert store.journal.position() == DONE
    assert [kept.body for kept in store.rule_book.living()] == [RULE]
    assert store.secret.key() == key
    assert store.switches.destination_paused("ARCHIVE")
    told = store.damage_told()
    assert "received since 2026-11-22 01:02:03" in told
    assert "may arrive twice" in told
    assert [each.name for each in aside(path)] == ([] if damage is missing else ["router.db.damaged-20261118T110640Z"])


def test_what_is_owed_goes_on_where_only_the_past_is_damaged(path: Path) -> None:
    before, waiting = used(path)
    attempted = claimed(before, "under way", destination="OTHER")
    before.ledger.open_chunk("under way", "OTHER", attempted.id, [instance(1).digest])
    garble(path, "timeline")
    store = opened(path)
    assert store.journal.position() == LATER
    assert found(store, waiting).status is Status.SCHEDULED
    assert found(store, attempted.id).status is Status.SENDING
    assert [row.text for row in store.history.timeline(waiting)] == ["Taken over from a damaged database"]
    told = store.damage_told()
    assert "nothing is to be backfilled" in told
    assert "its 2 open deliveries" in told
    assert store.history.page(Filter(), 100, None)[2] == len(store.history.ids(Filter())) == 2
    assert enqueued(store, "new") > attempted.id


def test_what_lies_before_and_after_a_damaged_page_is_taken_over(path: Path) -> None:
    store = opened(path)
    store.journal.move(DONE)
    write_copy(store)
    with session(store.database):
        made = [enqueued(store, f"study {number}") for number in range(400)]
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()
    at = content.index(b"study 200study 200") // 4096 * 4096
    path.write_bytes(content[:at] + b"\x5a" * 4096 + content[at + 4096 :])
    store = opened(path)
    with session(store.database):
        kept = {row.id for row in Delivery.select()}
    assert {made[0], made[-1]} <= kept
    assert 300 < len(kept) < 400
    assert store.journal.position() == DONE


def test_without_a_copy_the_place_is_read_from_the_damaged_file(path: Path) -> None:
    store = used(path)[0]
    rescue_place(path).unlink()
    key = store.secret.key()
    garble(path, "delivery")
    store = opened(path)
    assert store.journal.position() == LATER
    assert store.secret.key() == key
    assert [kept.body for kept in store.rule_book.living()] == [RULE]
    assert "goes on where it was" in store.damage_told()
    assert "POST /router/backfill" in store.damage_told()


def test_without_a_copy_a_file_that_says_nothing_is_told_with_all_that_is_lost(path: Path) -> None:
    used(path)
    rescue_place(path).unlink()
    nonsense(path)
    store = opened(path)
    assert store.journal.position() is None
    told = store.damage_told()
    assert "begins with what arrives now" in told
    assert "POST /router/backfill" in told
    assert "Rules made over REST are lost" in told
    assert "The key of the pseudonyms is lost" in told


def test_a_missing_file_without_a_copy_is_a_first_start(path: Path) -> None:
    store = opened(path)
    assert store.journal.position() is None
    assert store.damage_told() == ""


def test_the_warning_ends_once_the_damaged_file_is_taken_away(path: Path) -> None:
    used(path)
    nonsense(path)
    assert opened(path).damage_told()
    store = opened(path)
    assert store.damage_told()
    aside(path)[0].unlink()
    assert store.damage_told() == ""


def test_damage_that_was_met_while_the_router_ran_is_known_at_the_next_start(path: Path) -> None:
    store, waiting = used(path)
    assert store.rescue is not None
    store.rescue.damaged("database disk image is malformed")
    write_copy(store)  # what is read of a damaged file changes nothing
    store = opened(path)
    assert len(aside(path)) == 1
    assert found(store, waiting).status is Status.SCHEDULED
    assert "database disk image is malformed" in store.damage_told()
    opened(path)
    assert len(aside(path)) == 1


def test_a_database_is_closed_only_once_nobody_reads_it(path: Path) -> None:
    """A request may, while the database is replaced; to close its connection would end the process."""
    database = opened(path).file
    assert database is not None
    reads, may_end = threading.Event(), threading.Event()
    read: list[object] = []

    def read_slowly() -> None:
        with session(database):
            reads.set()
            may_end.wait(10)
            read.append(Delivery.select().count())

    reader = threading.Thread(target=read_slowly)
    reader.start()
    reads.wait(10)
    assert not database.retire(0.01)
    with ThreadPoolExecutor(1) as pool:
        retired = pool.submit(database.retire, 10)
        may_end.set()
        assert retired.result()
    reader.join()
    assert read == [0]
    assert not database._connections


def test_damage_that_is_met_is_told_and_counts_as_a_lost_database(path: Path) -> None:
    store, waiting = used(path)
    told: list[str] = []
    assert store.file is not None
    store.file.on_damage = told.append
    garble(path, "timeline")
    with pytest.raises(LOST):
        store.history.timeline(waiting)
    assert set(told) == {"database disk image is malformed"}


@pytest.mark.parametrize("steps", range(4))
def test_a_kill_while_the_fresh_database_takes_its_place_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    waiting = used(path)[1]
    garble(path, "timeline")
    path.with_name("router.db-wal").write_bytes(b"")
    left = iter(range(steps))
    move = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if self.name.startswith("router.db") and next(left, None) is None:
            raise KeyboardInterrupt
        return move(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with suppress(KeyboardInterrupt):
        opened(path)
    monkeypatch.undo()
    store = opened(path)
    assert found(store, waiting).status is Status.SCHEDULED
    assert store.journal.position() == LATER
    assert len(aside(path)) == 1


def test_a_kill_before_the_fresh_database_is_whole_begins_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = used(path)[1]
    garble(path, "timeline")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(replacing, "to_text", killed)
    with suppress(KeyboardInterrupt):
        opened(path)
    monkeypatch.undo()
    assert aside(path) == []
    assert found(opened(path), waiting).status is Status.SCHEDULED


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "orthanc.json"
    nonsense(path)
    with pytest.raises(StoreError, match="Move it away"):
        opened(path)
    assert path.read_bytes().startswith(b"This is no database.")


def test_a_damaged_database_that_cannot_be_replaced_now_is_tried_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(path)
    nonsense(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UnreachableError, match="No space left"):
        opened(path)
    monkeypatch.undo()
    assert opened(path).journal.position() == DONE


def test_the_copy_holds_its_place_while_something_is_owed(path: Path) -> None:
    store, waiting = used(path)
    assert json.loads(rescue_place(path).read_text())["position"]["seq"] == DONE.seq
    store.queue.cancel(waiting, NOW)
    write_copy(store)
    assert json.loads(rescue_place(path).read_text())["position"]["seq"] == LATER.seq


def test_the_copy_is_for_the_owner_only_and_is_written_when_something_has_changed(path: Path) -> None:
    store = used(path)[0]
    place = rescue_place(path)
    assert place.stat().st_mode & 0o077 == 0
    before = place.stat().st_ino
    write_copy(store)
    assert place.stat().st_ino == before
    store.rule_book.put({**RULE, "Name": "more"}, NOW)
    write_copy(store)
    assert place.stat().st_ino != before


def test_a_full_disk_is_a_lost_database_whose_reason_is_known(path: Path) -> None:
    """SQLite ends the transaction by itself then, and peewee cannot roll it back."""
    store = used(path)[0]
    assert store.file is not None
    with session(store.database):
        pages = store.database.execute_sql("PRAGMA page_count").fetchone()[0]
        store.database.execute_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(LOST):
            store.rule_book.put({"Name": "long", "Description": "x" * 1_000_000}, NOW)
    assert store.trouble() == "its disk is full; make room"
    store.file.try_to_write()
    assert store.trouble() == ""
