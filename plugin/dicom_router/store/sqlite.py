# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the side database in an SQLite file, in WAL mode, with connections that are kept: opening one costs."""

from pathlib import Path

import peewee
from playhouse.pool import PooledSqliteDatabase

from dicom_router.store.database import StoreError, migrate, session
from dicom_router.store.schema import TABLES

MOST_CONNECTIONS = 100  # more than there are threads, Orthanc's included (`HttpThreadsCount`, 50)


def open_sqlite(path: Path) -> PooledSqliteDatabase:
    """The database at `path`, made when missing, brought to this code's schema. Raises StoreError."""
    database = PooledSqliteDatabase(  # type: ignore[no-untyped-call]
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
        database.bind(TABLES)
        with session(database):
            migrate(database)
    except peewee.DatabaseError as problem:
        raise StoreError(f"The router's database {path} cannot be used: {problem}.") from problem
    return database
