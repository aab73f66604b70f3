# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the very first start begins is kept for the database that takes over, and for no later one."""

from collections.abc import Callable
from datetime import timedelta
from typing import cast

import pytest
from peewee import Database

from builders import NOW
from dicom_router.host.global_properties import FIRST_START
from dicom_router.host.sdk import OrthancHost
from dicom_router.intake.starting_place import StartingPlace
from dicom_router.orthanc_rest import OrthancRest
from dicom_router.store.journal import Position
from dicom_router.store.store import Store
from fakes.orthanc import FakeOrthanc
from fakes.sdk import Sdk

SECOND = timedelta(seconds=1)
NewStore = Callable[[], Store]


class Starts:
    """One Orthanc, started several times, with one database or another."""

    def __init__(self, orthanc: FakeOrthanc | None = None) -> None:
        self.host = OrthancHost(Sdk({"Name": "here"}))
        self.orthanc = orthanc or FakeOrthanc()
        self.orthanc.receive("before the router")

    def start(self, store: Store | None, *, stopgap: bool = False) -> None:
        """With a database, or with none that can be opened."""
        self.orthanc.now += SECOND
        now = self.orthanc.now.timestamp()
        place, rest = StartingPlace(self.host, now), cast(OrthancRest, self.orthanc)
        if store is None:
            place.remember(rest, now)
        else:
            place.keep(store, rest, now, stopgap=stopgap)

    @property
    def remembered(self) -> str:
        return self.host.global_property(FIRST_START)


@pytest.fixture
def starts() -> Starts:
    return Starts()


@pytest.fixture
def new_store(open_database: Callable[[], Database]) -> NewStore:
    """Each in a database of its own; from then on that is the one which is used."""

    def opened() -> Store:
        store = Store(open_database(), "here", lambda: NOW)
        store.begin()
        if store.reader is not None:
            store.reader.hold(NOW)
        return store

    return opened


def began(store: Store) -> int:
    position = store.journal.position()
    assert position is not None
    assert position == Position(position.seq, position.seq)
    return position.seq


def test_a_database_that_opens_at_once_begins_behind_what_is_old(starts: Starts, new_store: NewStore) -> None:
    store = new_store()
    starts.start(store)
    assert began(store) == starts.orthanc.last
    assert starts.remembered == ""


@pytest.mark.parametrize("failures", [1, 3])
def test_a_database_that_opens_later_begins_where_the_first_start_was(
    starts: Starts, new_store: NewStore, failures: int
) -> None:
    first = starts.orthanc.last
    for _ in range(failures):
        starts.start(None)
        starts.orthanc.receive("meanwhile")
    store = new_store()
    starts.start(store)
    assert began(store) == first
    assert starts.remembered == ""


def test_where_nobody_can_tell_which_database_is_meant_the_right_one_begins_at_the_first_start(
    starts: Starts, new_store: NewStore
) -> None:
    first, stopgap = starts.orthanc.last, new_store()
    for _ in range(2):
        starts.start(stopgap, stopgap=True)
        starts.orthanc.receive("meanwhile")
    assert began(stopgap) == first
    right = new_store()
    starts.start(right)
    assert began(right) == first
    assert starts.remembered == ""


def test_what_was_remembered_while_a_known_database_was_away_makes_no_later_one_begin_in_the_past(
    starts: Starts, new_store: NewStore
) -> None:
    known = new_store()
    starts.start(known)
    starts.orthanc.receive("meanwhile")
    starts.start(None)
    starts.start(known)
    starts.orthanc.receive("afterwards")
    later = new_store()
    starts.start(later)
    assert began(later) == starts.orthanc.last


def test_an_older_index_that_is_restored_while_routing_is_suspended_has_its_new_rows_read(
    starts: Starts, new_store: NewStore
) -> None:
    store = new_store()
    starts.start(store)
    store.journal.move(Position(900, 800, "20261122T100000"))
    end = starts.orthanc.last
    starts.start(store)
    assert store.journal.position() == Position(end, end, "20261122T100000")
    for number in range(20):
        starts.orthanc.receive(f"later {number}")
    starts.start(store)
    assert store.journal.position() == Position(end, end, "20261122T100000")


def test_a_known_database_that_is_a_stopgap_stays_where_it_is(starts: Starts, new_store: NewStore) -> None:
    known = new_store()
    starts.start(known)
    first = starts.orthanc.last
    starts.orthanc.receive("meanwhile")
    starts.start(known, stopgap=True)
    assert began(known) == first
    assert starts.remembered == ""
