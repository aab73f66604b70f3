# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the SQLite side database: made, migrated, refused, and never half written."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import peewee
import pytest

from builders import NOW, enqueued, found
from dicom_router.store import database as database_module
from dicom_router.store import schema
from dicom_router.store.database import (
    MIGRATIONS,
    SCHEMA_VERSION,
    NewerSchemaError,
    StoreError,
    session,
    transaction,
)
from dicom_router.store.sqlite import open_sqlite
from dicom_router.store.store import Store, open_store


def sql(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
    return rows


def version(path: Path) -> list[tuple[object, ...]]:
    return sql(path, "SELECT value FROM meta WHERE key = 'schema_version'")


def test_a_new_database_has_the_version_of_the_code(tmp_path: Path) -> None:
    open_sqlite(tmp_path / "router.db")
    assert version(tmp_path / "router.db") == [(str(SCHEMA_VERSION),)]
    tables = {name for (name,) in sql(tmp_path / "router.db", "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {model._meta.table_name for model in schema.TABLES} <= tables


def test_it_writes_ahead(tmp_path: Path) -> None:
    open_sqlite(tmp_path / "router.db")
    assert sql(tmp_path / "router.db", "PRAGMA journal_mode") == [("wal",)]


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    made = enqueued(open_store(tmp_path / "router.db", "here", lambda: NOW))
    assert found(open_store(tmp_path / "router.db", "here", lambda: NOW), made).created_at == NOW


def test_there_is_a_migration_for_every_version() -> None:
    assert len(MIGRATIONS) == SCHEMA_VERSION


def test_an_older_database_is_brought_forward_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "router.db"
    made = enqueued(open_store(path, "here", lambda: NOW))
    steps: list[str] = []

    def next_version(database: peewee.SqliteDatabase) -> None:
        steps.append("next")
        database.execute_sql("CREATE TABLE added (id INTEGER)")

    def the_one_after(_database: peewee.SqliteDatabase) -> None:
        steps.append("the one after")

    monkeypatch.setattr(database_module, "MIGRATIONS", (*MIGRATIONS, next_version, the_one_after))
    monkeypatch.setattr(database_module, "SCHEMA_VERSION", SCHEMA_VERSION + 2)
    store = open_store(path, "here", lambda: NOW)
    assert steps == ["next", "the one after"]
    assert version(path) == [(str(SCHEMA_VERSION + 2),)]
    assert found(store, made).created_at == NOW
    open_store(path, "here", lambda: NOW)
    assert steps == ["next", "the one after"]


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "router.db"
    open_sqlite(path)

    def broken(database: peewee.SqliteDatabase) -> None:
        database.execute_sql("CREATE TABLE half (id INTEGER)")
        database.execute_sql("CREATE TABLE half (id INTEGER)")

    monkeypatch.setattr(database_module, "MIGRATIONS", (*MIGRATIONS, broken))
    monkeypatch.setattr(database_module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    with pytest.raises(StoreError, match="half"):
        open_sqlite(path)
    assert version(path) == [(str(SCHEMA_VERSION),)]
    assert sql(path, "SELECT name FROM sqlite_master WHERE name = 'half'") == []


def test_a_newer_schema_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "router.db"
    open_sqlite(path)
    sql(path, f"UPDATE meta SET value = '{SCHEMA_VERSION + 1}' WHERE key = 'schema_version'")
    with pytest.raises(NewerSchemaError, match=f"schema {SCHEMA_VERSION + 1}.*knows {SCHEMA_VERSION}"):
        open_sqlite(path)
    assert version(path) == [(str(SCHEMA_VERSION + 1),)]


def test_a_file_that_is_no_database_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "router.db"
    path.write_bytes(b"This is no database. " * 500)
    with pytest.raises(StoreError, match=r"router\.db cannot be used"):
        open_sqlite(path)
    assert path.read_bytes().startswith(b"This is no database.")


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "router.db"
    open_sqlite(path)
    sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[100 : len(content)] = b"\xff" * (len(content) - 100)
    path.write_bytes(content)
    with pytest.raises(StoreError):
        open_sqlite(path)


@pytest.mark.parametrize("place", ["missing-folder/router.db", "folder"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError):
        open_sqlite(tmp_path / place)


def test_a_meta_table_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "router.db"
    sql(path, "CREATE TABLE meta (key TEXT, value TEXT)", "INSERT INTO meta VALUES ('schema_version', 'x')")
    with pytest.raises(StoreError):
        open_sqlite(path)


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    def broken() -> None:
        with transaction(store.database):
            enqueued(store)
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        broken()
    assert sum(store.history.counts().values()) == 0


def test_sessions_nest_and_close_what_they_opened(store: Store) -> None:
    assert store.database.is_closed()
    with session(store.database):
        with session(store.database):
            enqueued(store)
        assert not store.database.is_closed()
    assert store.database.is_closed()


def test_two_threads_write_at_once_without_losing_anything(store: Store) -> None:
    failed: list[Exception] = []

    def write(name: str) -> None:
        try:
            for number in range(40):
                enqueued(store, f"{name}-{number}")
        except Exception as problem:  # noqa: BLE001 - a thread's error must be seen
            failed.append(problem)

    threads = [threading.Thread(target=write, args=(f"t{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert store.history.counts()["Scheduled"] == 120
