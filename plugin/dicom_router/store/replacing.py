# SPDX-License-Identifier: AGPL-3.0-or-later
"""A damaged side database is put aside, and a fresh one with all that could be saved takes its place.

The fresh one is made whole under another name first: a kill at any moment leaves either the damaged one where it was,
or a fresh one that only has to be put in its place.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import peewee

from dicom_router.store.damage_report import KEY, DamageReport, from_text, readable, to_text
from dicom_router.store.database import (
    SCHEMA_VERSION,
    DamageError,
    StoreError,
    UnreachableError,
    create_schema,
    row_transaction,
)
from dicom_router.store.location import FILE
from dicom_router.store.rescue_copy import RescueCopy, read_copy, rescue_place, write_copy
from dicom_router.store.salvage import Salvaged, salvage
from dicom_router.store.sqlite import open_sqlite
from dicom_router.store.sqlite_file import SqliteFile

HEADER = b"SQLite format 3\0"
PARTS = ("-wal", "-shm", "")  # the file itself last: without it the fresh one is put in its place


def open_or_replace(path: Path, clock: Callable[[], float], leave: Callable[[], None] = lambda: None) -> SqliteFile:
    """The database at `path`; a fresh one when it is damaged, or missing although it was there. Raises StoreError."""
    copy = read_copy(rescue_place(path))
    try:
        _finish_replacing(path)
        try:
            _refuse_lost(path, copy)
            return open_sqlite(path, leave)
        except DamageError as problem:
            if not _is_ours(path, copy):
                raise StoreError(f"{problem} Move it away, or name another file in Router.Database.") from problem
            _replace(path, copy, problem.reason, clock())
        return open_sqlite(path, leave)
    except (OSError, sqlite3.Error, peewee.DatabaseError) as problem:
        raise UnreachableError(
            f"The router's database {path} is damaged and could not be replaced: {problem}. It is tried again."
        ) from problem


def _refuse_lost(path: Path, copy: RescueCopy | None) -> None:
    """Where there is a copy, there was a database."""
    reason = copy.damage if copy else ""
    if copy and not (path.exists() and path.stat().st_size):
        reason = "the file is empty" if path.exists() else "the file is missing"
    if reason:
        raise DamageError(f"The router's database {path} cannot be used: {reason}.", reason)


def _is_ours(path: Path, copy: RescueCopy | None) -> bool:
    """Whatever else lies where somebody has told us by mistake is not touched."""
    if copy is not None or path.name == FILE:
        return True
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER


def _fresh(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _replace(path: Path, copy: RescueCopy | None, reason: str, now: float) -> None:
    """In one transaction: a fresh database that has a report is whole."""
    fresh = _fresh(path)
    _make(fresh)
    time = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = f"{path.name}.damaged-{time}" if path.exists() else ""
    with closing(sqlite3.connect(fresh)) as into, into:
        saved = salvage(path if path.exists() else None, copy, into, now)
        report = to_text(_report(saved, copy, reason, aside, now))
        into.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (KEY, report))
    _finish_replacing(path)
    if copy is not None:
        write_copy(rescue_place(path), replace(copy, damage=""))


def _make(fresh: Path) -> None:
    """Without a log beside it, so that it can be renamed; and without the models, which others may be using."""
    database = SqliteFile(str(fresh))
    with row_transaction(database):
        create_schema(database)
        version = (str(SCHEMA_VERSION),)
        database.execute_sql("INSERT INTO meta (key, value) VALUES ('schema_version', ?)", version)
    database.close_all()


def _report(saved: Salvaged, copy: RescueCopy | None, reason: str, aside: str, now: float) -> DamageReport:
    position = copy.position if copy and not saved.whole else None
    return DamageReport(
        at=now,
        reason=reason,
        aside=aside,
        owed=saved.owed,
        whole=saved.whole,
        since=readable(position.date) if position else "",
        place_known=saved.place_known,
        ledger_known="ledger" not in saved.lost,
        rules_known=saved.rules_known,
        key_known=saved.key_known,
    )


def _finish_replacing(path: Path) -> None:
    """Put a fresh database that is whole in its place; one that is not is of no use. Raises OSError."""
    fresh = _fresh(path)
    if not fresh.exists():
        return
    report = _report_of(fresh)
    if report is None:
        for part in ("", "-journal"):
            fresh.with_name(fresh.name + part).unlink(missing_ok=True)
        return
    for part in PARTS:
        old = path.with_name(path.name + part)
        if old.exists():
            old.replace(path.with_name((report.aside or f"{path.name}.empty") + part))
    fresh.replace(path)


def _report_of(fresh: Path) -> DamageReport | None:
    with closing(sqlite3.connect(fresh)) as database, suppress(sqlite3.DatabaseError):
        told = database.execute("SELECT value FROM meta WHERE key = ?", (KEY,)).fetchone()
        return from_text(told[0]) if told else None
    return None
