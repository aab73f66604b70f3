# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the side database in an SQLite file, in WAL mode, with connections that are kept: opening one costs."""

from collections.abc import Callable
from pathlib import Path

import peewee

from dicom_router.store.database import DamageError, StoreError, UnreachableError, migrate, rows, session
from dicom_router.store.schema import TABLES
from dicom_router.store.sqlite_file import DamagedError, SqliteFile

# Looking at every page takes about a second for each 60 MB; above that only the small tables are looked through.
WHOLE_CHECK_BYTES = 64_000_000
LARGE = frozenset({"delivery", "timeline", "attempt", "decision", "study_text", "ledger", "refusal"})

MOST_CONNECTIONS = 100  # more than there are threads, Orthanc's included (`HttpThreadsCount`, 50)


def open_sqlite(path: Path, leave: Callable[[], None] = lambda: None) -> SqliteFile:
    """The database at `path`, made when missing, brought to this code's schema.

    Raises StoreError: DamageError for a damaged file, UnreachableError for one that cannot be read or written now.
    """
    database = SqliteFile(
        str(path),
        max_connections=MOST_CONNECTIONS,
        timeout=10,  # seconds; of the pool
        check_same_thread=False,  # one thread at a time has it
        pragmas={
            "journal_mode": "wal",
            # In WAL mode a power cut may take back the last commits but never tears them; the cursor goes back
            # with the deliveries made from it, so they are made again.
            "synchronous": "normal",
            "foreign_keys": 1,
            "busy_timeout": 10_000,
        },
    )
    try:
        with session(database):
            migrate(database)
            _check(database, whole=path.stat().st_size <= WHOLE_CHECK_BYTES)
        leave()
        database.bind(TABLES)
    except peewee.DatabaseError as problem:
        # SQLite removes its log by name when the last connection closes: before it is another's.
        database.close_all()
        raise _store_error(f"The router's database {path} cannot be used", problem, database.trouble) from problem
    return database


def _store_error(place: str, problem: peewee.DatabaseError, trouble: str) -> StoreError:
    if isinstance(problem, DamagedError):
        return DamageError(f"{place}: {problem}.", str(problem))
    if isinstance(problem, peewee.OperationalError):
        return UnreachableError(f"{place}: {trouble or problem}. Routing begins by itself once it can.")
    return StoreError(f"{place}: {problem}.")


def _check(database: SqliteFile, *, whole: bool) -> None:
    """Raises DamagedError for what can be seen in about a second."""
    found = set(database.get_tables())
    names = [model._meta.table_name for model in TABLES]
    missing = [name for name in names if name not in found]
    if missing:
        raise DamagedError(f"the table {missing[0]} is missing")
    looked_through = [""] if whole else [f"('{name}')" for name in names if name not in LARGE]
    for what in looked_through:
        told = [str(text) for (text,) in rows(database.execute_sql(f"PRAGMA quick_check{what}"))]
        if told != ["ok"]:
            raise DamagedError(told[0].splitlines()[-1])
