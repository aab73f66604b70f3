# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the side database in PostgreSQL: a few pooled connections, the server's clock, and who else is connected."""

import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import peewee
from peewee import Database, PostgresqlDatabase
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase

from dicom_router.postgres_address import PostgresAddress
from dicom_router.store.database import LOST, StoreError, UnreachableError, migrate, session
from dicom_router.store.schema import TABLES

MOST_CONNECTIONS = 16
WAIT_SECONDS = 20  # for one of them to be free
STALE_SECONDS = 600
PATIENCE_SECONDS = 3
FAIL_FAST_SECONDS = 1.0  # after a connection could not be made, the next ones are not even tried

# What the address may say differently. A server that vanished must be noticed, and so must a client by the server:
# without these a cut cable is noticed after two hours, and a transaction that it cut would hold its locks until then.
CONNECTION = {"connect_timeout": "5", "tcp_user_timeout": "20000", "keepalives_idle": "10", "keepalives_interval": "5"}
CONNECTION |= {"keepalives_count": "3", "application_name": "dicom-router"}
SETTINGS = {
    "default_transaction_isolation": r"read\ committed",
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "15s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


class Postgres(PooledPostgresqlDatabase):
    """A pool of connections. While the server does not answer, only one attempt a second is made."""

    def __init__(self, address: PostgresAddress) -> None:
        options = CONNECTION | dict(address.options)
        settings = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
        options["options"] = f"{settings} {options.get('options', '')}".strip()
        given = {"host": address.host, "port": address.port, "user": address.user, "password": address.password}
        super().__init__(
            address.name,
            max_connections=MOST_CONNECTIONS,
            stale_timeout=STALE_SECONDS,
            timeout=WAIT_SECONDS,
            prefer_psycopg3=True,
            **options,
            **{key: value for key, value in given.items() if value},
        )
        self._failed_at = float("-inf")
        self._failure = ""

    def connect(self, reuse_if_open: bool = False) -> bool:
        """A connection for this thread. Raises the errors of LOST."""
        try:
            return bool(super().connect(reuse_if_open))
        except MaxConnectionsExceeded as problem:
            raise peewee.OperationalError("All connections of the pool are in use.") from problem

    def own_connection(self) -> Any:
        """A connection of the driver, beside the pool. Raises the driver's errors."""
        return PostgresqlDatabase._connect(self)  # type: ignore[attr-defined]

    def _connect(self) -> Any:
        if time.monotonic() < self._failed_at + FAIL_FAST_SECONDS:
            raise peewee.OperationalError(self._failure)
        try:
            return super()._connect()
        except driver_error() as problem:
            self._failed_at, self._failure = time.monotonic(), str(problem).strip()
            raise


def open_postgres(address: PostgresAddress, leave: Callable[[], None] = lambda: None) -> Postgres:
    """The database at `address`, brought to this code's schema; it must exist. Raises StoreError."""
    driver_error()
    database = Postgres(address)
    try:
        with session(database):
            _check_encoding(database, address)
            migrate(database)
        leave()
        database.bind(TABLES)
    except LOST as problem:
        database.close_all()
        raise UnreachableError(_cannot_be_used(address, problem)) from None
    except peewee.PeeweeException as problem:
        database.close_all()
        raise StoreError(_cannot_be_used(address, problem)) from None
    return database


def _cannot_be_used(address: PostgresAddress, problem: Exception) -> str:
    told = address.without_password(" ".join(str(problem).split()))
    return f"The router's database, {address}, cannot be used: {told}"


def _check_encoding(database: Postgres, address: PostgresAddress) -> None:
    encoding = database.execute_sql("SHOW server_encoding").fetchone()[0]
    if encoding != "UTF8":
        raise StoreError(
            f"The router's database, {address}, has the encoding {encoding}, which cannot hold every patient's name: "
            "make it anew, with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )


def driver_error() -> type[Exception]:
    """The base of the driver's errors. Raises StoreError when there is no driver."""
    try:
        import psycopg  # noqa: PLC0415 - needed for PostgreSQL only
    except ImportError as problem:
        raise StoreError(
            f"A PostgreSQL database needs the Python package psycopg, which cannot be loaded ({problem}). "
            "Install dicom-router with its extra `postgres` (see docs/several-orthancs.md), then restart Orthanc."
        ) from None
    return psycopg.Error


def _lock_not_available() -> type[Exception]:
    import psycopg  # noqa: PLC0415 - see driver_error

    return psycopg.errors.LockNotAvailable


class ServerClock:
    """The time of the database's server, in epoch seconds: the same for every Orthanc, however wrong their own are."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ahead = 0.0  # of this machine's steady clock
        self.sync()

    def sync(self) -> None:
        """Ask the server; in between this machine's steady clock counts on."""
        with session(self._database):
            before = time.monotonic()
            told = self._database.execute_sql("SELECT EXTRACT(EPOCH FROM clock_timestamp())::float8").fetchone()[0]  # type: ignore[no-untyped-call]
            self._ahead = told - (before + time.monotonic()) / 2

    def __call__(self) -> float:
        """The time now."""
        return self._ahead + time.monotonic()


class Presence:
    """An advisory lock, held for as long as this process is connected: that no other one with its name is.

    A process that died has lost it. So after a crash an Orthanc knows its former self to be dead, and not to be a
    living one to which somebody has given the same name.
    """

    def __init__(self, database: Postgres, owner: str) -> None:
        self._database = database
        digest = hashlib.sha256(f"dicom-router {owner}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        self._lock = threading.Lock()
        self._connection: Any = None

    def take(self, *, patient: bool = False) -> bool:
        """Hold it, again after the connection broke. False: another process does. Raises the errors of LOST.

        `patient`: wait for some seconds, since the server may not have noticed yet that a process died.
        """
        with self._lock:
            if self._connection is not None and self._alive():
                return True
            try:
                connection = self._database.own_connection()
                held = self._wait_for(connection) if patient else self._try(connection)
            except driver_error() as problem:
                raise peewee.OperationalError(str(problem)) from problem
            self._connection = connection if held else connection.close()
            return held

    def _try(self, connection: Any) -> bool:
        return bool(connection.execute("SELECT pg_try_advisory_lock(%s)", (self._key,)).fetchone()[0])

    def _wait_for(self, connection: Any) -> bool:
        connection.execute(f"SET lock_timeout = '{PATIENCE_SECONDS}s'")
        with suppress(_lock_not_available()):
            connection.execute("SELECT pg_advisory_lock(%s)", (self._key,))
            return True
        return False

    def leave(self) -> None:
        """This process ends."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _alive(self) -> bool:
        try:
            self._connection.execute("SELECT 1")
        except driver_error():
            self._connection.close()
            self._connection = None
            return False
        return True
