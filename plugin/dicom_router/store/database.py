# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the side database: SQLite in WAL mode, its schema's version checked and migrated forward."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peewee
from peewee import Database, Model, SqliteDatabase

from dicom_router.store.schema import INDEXES, TABLES, Meta

SCHEMA_VERSION = 1


class StoreError(Exception):
    """The side database cannot be used; the message names it and the remedy."""


class NewerSchemaError(StoreError):
    """The database was written by a newer dicom-router."""


def open_sqlite(path: Path) -> SqliteDatabase:
    """The database at `path`, made when missing, brought to this code's schema. Raises StoreError."""
    database = SqliteDatabase(
        str(path),
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


def rows(query: Any) -> list[Any]:
    """The rows of a query; as tuples or dicts where the query says so. (peewee's stubs know models only.)"""
    return list(query)


def scalar(query: Any) -> Any:
    """The one value of a query, or None."""
    return query.scalar()


def replace(model: type[Model], **values: object) -> None:
    """Write a row, over the one with the same key."""
    model.replace(**values).execute()  # type: ignore[no-untyped-call]


@contextmanager
def session(database: Database) -> Iterator[None]:
    """A connection of this thread for as long as the block lasts; nests."""
    opened = database.connect(reuse_if_open=True)
    try:
        yield
    finally:
        if opened:
            database.close()


@contextmanager
def transaction(database: Database) -> Iterator[None]:
    """All or nothing; the write lock is taken at once, so that what was read is still true when it is written."""
    with session(database), database.atomic("IMMEDIATE"):
        yield


def migrate(database: SqliteDatabase) -> None:
    """Bring an open, bound database to SCHEMA_VERSION in one transaction. Raises NewerSchemaError."""
    with database.atomic("IMMEDIATE"):
        found = _version() if database.table_exists("meta") else 0
        if found > SCHEMA_VERSION:
            raise NewerSchemaError(
                f"The router's database has schema {found}, this dicom-router knows {SCHEMA_VERSION}: "
                "install the newer version again, or name another database in Router.Database."
            )
        for version in range(found, SCHEMA_VERSION):
            MIGRATIONS[version](database)
        replace(Meta, key="schema_version", value=str(SCHEMA_VERSION))


def _version() -> int:
    row = Meta.get_or_none(Meta.key == "schema_version")
    text = row.value if row else "0"
    if not text.isdigit():
        raise StoreError(f'The router\'s database says that its schema is "{text}"; it was made by something else.')
    return int(text)


def _create(database: SqliteDatabase) -> None:
    database.create_tables(TABLES, safe=False)
    for statement in INDEXES:
        database.execute_sql(statement)  # type: ignore[no-untyped-call]


# MIGRATIONS[n] brings schema n to n + 1.
MIGRATIONS: tuple[Callable[[SqliteDatabase], None], ...] = (_create,)
