# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests share: the store, in the database that `--database` names.

The store's contract is tested on both: `pytest tests` on SQLite, `pytest tests --database postgresql` on PostgreSQL,
where only the tests that have a database are run. `make test` does both.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import peewee
import pytest
from hypothesis import settings

from builders import NOW
from dicom_router.postgres_address import read_address
from dicom_router.store.postgres import open_postgres
from dicom_router.store.sqlite import open_sqlite
from dicom_router.store.store import Store
from support.postgres_server import PostgresServer

OpenStore = Callable[[str], Store]
OpenDatabase = Callable[[], peewee.Database]

# The tests share a machine with others; a slow example is no bug.
settings.register_profile("router", deadline=None)
settings.load_profile("router")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=["sqlite", "postgresql"], default="sqlite", help="the store's database")


def on_postgres(config: pytest.Config) -> bool:
    return bool(config.getoption("--database") == "postgresql")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What only one kind of database has is tested with that one."""
    return True if collection_path.name == "postgresql" and not on_postgres(config) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not on_postgres(config):
        return
    wanted = [
        item
        for item in items
        if "open_database" in getattr(item, "fixturenames", ()) or item.path.parent.name == "postgresql"
    ]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not on_postgres(config):
        terminalreporter.write_line("The store was tested on SQLite. On PostgreSQL: make test-postgresql.")


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, made once: making all tables anew would cost more than most tests."""
    path = tmp_path_factory.mktemp("empty") / "router.db"
    open_sqlite(path).close()
    return path


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests."""
    made = PostgresServer()
    yield made
    made.close()


@pytest.fixture(scope="session")
def empty_postgres(server: PostgresServer) -> list[str]:
    """The names of databases with empty tables, for the next tests; making and dropping one costs seconds."""
    del server  # its name is needed only
    return []


@pytest.fixture
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenDatabase]:
    """Makes an empty side database of the wanted kind and opens it."""
    made: list[Callable[[], object]] = []

    def sqlite() -> peewee.Database:
        path = tmp_path / f"router-{len(made)}.db"
        shutil.copy(request.getfixturevalue("empty_sqlite"), path)
        database = open_sqlite(path)
        made.append(database.close)
        return database

    def postgres() -> peewee.Database:
        server: PostgresServer = request.getfixturevalue("server")
        empty: list[str] = request.getfixturevalue("empty_postgres")
        name = empty.pop() if empty else server.database()
        database = open_postgres(read_address(server.url(name)))

        def give_back() -> None:
            database.close_all()  # type: ignore[no-untyped-call]
            server.empty(name)
            empty.append(name)

        made.append(give_back)
        return database

    if on_postgres(request.config):
        yield postgres
    else:
        yield sqlite
    for undo in reversed(made):
        undo()


@pytest.fixture
def open_store(open_database: OpenDatabase) -> OpenStore:
    """Opens the store of one database in the name of an owner; the first one reads the change log."""
    database = open_database()

    def opened(owner: str) -> Store:
        store = Store(database, owner, lambda: NOW)
        store.begin()
        if store.reader is not None:
            store.reader.hold(NOW)
        return store

    return opened


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """For what is asked of SQLite alone."""
    database = open_sqlite(tmp_path / "router.db")
    yield Store(database, "here", lambda: NOW)
    database.close()


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    """The store as one Orthanc sees it."""
    return open_store("here")
