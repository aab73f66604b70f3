# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests share: the store, once for each kind of database."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from dicom_router.store.database import open_sqlite
from dicom_router.store.store import Store

OpenStore = Callable[[str], Store]

# The tests share a machine with others; a slow example is no bug.
settings.register_profile("router", deadline=None)
settings.load_profile("router")


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, made once: making all tables anew would cost more than most tests."""
    path = tmp_path_factory.mktemp("empty") / "router.db"
    open_sqlite(path).close()
    return path


@pytest.fixture(params=["sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path, empty_sqlite: Path) -> Iterator[OpenStore]:
    """Opens the store of one database in the name of an owner. A second kind of database joins in as a parameter."""
    assert request.param == "sqlite"
    shutil.copy(empty_sqlite, tmp_path / "router.db")
    database = open_sqlite(tmp_path / "router.db")

    def opened(owner: str) -> Store:
        return Store(database, owner)

    yield opened
    database.close()


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    """The store as one Orthanc sees it."""
    return open_store("here")
