# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the two kinds of side database have in common: sessions, transactions, and the schema's version."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import peewee
from peewee import Database, Model, PostgresqlDatabase, SchemaManager

from dicom_router.store.schema import INDEXES, TABLES, Meta
from dicom_router.store.sqlite_file import DamagedError, SqliteFile
from dicom_router.whole_numbers import whole_number

SCHEMA_VERSION = 1

# The database does not answer, or not now: what was asked can be asked again later.
LOST = (peewee.OperationalError, peewee.InterfaceError, peewee.InternalError)

# The key of PostgreSQL's advisory lock for transactions that run alone; any number, the same in every Orthanc.
ALONE = 0x6469636F6D


class StoreError(Exception):
    """The side database cannot be used; the message names it and the remedy."""


class NewerSchemaError(StoreError):
    """The database was written by a newer dicom-router."""


class UnreachableError(StoreError):
    """The database's server does not answer, or its file cannot be read or written; it may later."""


class DamageError(StoreError):
    """The database's file is damaged; `reason` says how."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def rows(query: Any) -> list[Any]:
    """The rows of a query; as tuples or dicts where the query says so. (peewee's stubs know models only.)"""
    return list(query)


def scalar(query: Any) -> Any:
    """The one value of a query, or None."""
    return query.scalar()


def replace(model: type[Model], **values: object) -> None:
    """Write a row, over the one with the same key."""
    replacing(model, **values).execute()


def replacing(model: type[Model], **values: object) -> Any:
    """The statement of `replace`."""
    meta: Any = model._meta
    key = {field.name: field for field in meta.get_primary_keys()}
    others = [meta.fields[name] for name in values if name not in key]
    return model.insert(**values).on_conflict(conflict_target=list(key.values()), preserve=others)


@contextmanager
def session(database: Database) -> Iterator[None]:
    """A connection of this thread for as long as the block lasts; nests. What SQLite says of its file is remembered."""
    with database.watched() if isinstance(database, SqliteFile) else nullcontext():
        opened = database.connect(reuse_if_open=True)
        try:
            yield
        finally:
            if opened:
                database.close()


@contextmanager
def transaction(database: Database) -> Iterator[None]:
    """All or nothing, and no other transaction of this kind meanwhile: what was read is still true when it is written.

    Within a `row_transaction` it must not begin: two that wait for each other's rows and turn would never end.
    """
    with row_transaction(database):
        if shared(database):
            database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (ALONE,))  # type: ignore[no-untyped-call]
        yield


@contextmanager
def row_transaction(database: Database) -> Iterator[None]:
    """All or nothing. In PostgreSQL others write at the same time: what must stay true is read `for_update`."""
    how = () if shared(database) else ("IMMEDIATE",)  # SQLite: the write lock at once
    with session(database), database.atomic(*how):
        yield


def shared(database: Database) -> bool:
    """Several Orthancs may use it."""
    return isinstance(database, PostgresqlDatabase)


def for_update(query: Any, database: Database) -> Any:
    """A query whose rows nobody else changes until the transaction ends."""
    return query.for_update() if shared(database) else query


def free_rows(query: Any, database: Database) -> Any:
    """As `for_update`, without the rows that somebody else is changing just now: nobody waits for anybody."""
    return query.for_update("FOR UPDATE SKIP LOCKED") if shared(database) else query


def migrate(database: Database) -> None:
    """Bring an open, bound database to SCHEMA_VERSION in one transaction. Raises NewerSchemaError, DamagedError."""
    with transaction(database):
        _refuse_remains(database)
        found = _version(database) if database.table_exists("meta") else 0
        if found > SCHEMA_VERSION:
            raise NewerSchemaError(
                f"The router's database has schema {found}, this dicom-router knows {SCHEMA_VERSION}: "
                "install the newer version again, or name another database in Router.Database."
            )
        for version in range(found, SCHEMA_VERSION):
            MIGRATIONS[version](database)
        # Also when it is there already: a database that cannot be written is found out here, and is tried again.
        replacing(Meta, key="schema_version", value=str(SCHEMA_VERSION)).execute(database)


def _refuse_remains(database: Database) -> None:
    """Tables are missing without which no version of the schema was."""
    found = set(database.get_tables())
    if found & {"delivery", "cursor"}:
        missing = sorted({"meta", "delivery", "cursor"} - found)
        if missing:
            raise DamagedError(f"the table {missing[0]} is missing")


def _version(database: Database) -> int:
    text = Meta.select(Meta.value).where(Meta.key == "schema_version").scalar(database) or "0"
    version = whole_number(text)
    if version is None:
        raise StoreError(f'The router\'s database says that its schema is "{text}"; it was made by something else.')
    return version


def create_schema(database: Database) -> None:
    """All tables of now. The models need not be bound to the database."""
    for model in TABLES:
        SchemaManager(model, database).create_all(safe=False)
    for statement in INDEXES:
        database.execute_sql(statement)  # type: ignore[no-untyped-call]


# MIGRATIONS[n] brings schema n to n + 1.
MIGRATIONS: tuple[Callable[[Database], None], ...] = (create_schema,)
