# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several Orthancs that start for the first time: what any of them received since is read, and nothing else again."""

import pytest

from builders import NOW
from conftest import OpenStore
from dicom_router.host.global_properties import FIRST_START
from dicom_router.store.journal import Position
from dicom_router.store.roles import NotOursError
from dicom_router.store.store import Store
from fakes.orthanc import FakeOrthanc
from test_starting_place import Starts, began


class Orthanc(Starts):
    """One of several over one index, with the store as it sees it."""

    def __init__(self, index: FakeOrthanc, store: Store) -> None:
        super().__init__(index)
        self.store = store

    def starts(self, *, opens: bool = True) -> None:
        self.start(self.store if opens else None)

    def reads(self, seq: int) -> None:
        """It has the task, and reads so far."""
        assert self.store.reader is not None
        assert self.store.reader.hold(NOW) is not None
        self.store.marks.make()
        self.store.journal.move(Position(seq, seq))


@pytest.fixture
def orthancs(open_store: OpenStore) -> tuple[Orthanc, Orthanc]:
    index = FakeOrthanc()
    one, two = (open_store(name) for name in ("one", "two"))
    for store in (one, two):
        assert store.reader is not None
        store.reader.leave()
    return Orthanc(index, one), Orthanc(index, two)


Orthancs = tuple[Orthanc, Orthanc]


def test_what_one_received_before_the_database_opened_for_another_is_read(orthancs: Orthancs) -> None:
    one, two = orthancs
    one.starts(opens=False)
    first = one.orthanc.last
    one.orthanc.receive("meanwhile")
    two.starts(opens=False)
    two.starts()
    assert began(two.store) > first
    one.starts()
    assert began(one.store) == first
    assert one.remembered == two.remembered == ""


def test_a_reader_who_has_gone_on_begins_anew_before_it_writes(orthancs: Orthancs) -> None:
    one, two = orthancs
    one.starts(opens=False)
    first = one.orthanc.last
    one.orthanc.receive("meanwhile")
    two.starts()
    two.reads(two.orthanc.last + 7)
    assert two.store.reader is not None
    term = two.store.reader.hold(NOW)
    one.starts()
    with pytest.raises(NotOursError):
        two.store.journal.move(Position(99, 99))
    assert began(one.store) == first
    assert two.store.reader.hold(NOW) not in (None, term)


def test_one_that_joins_later_makes_nobody_read_again(orthancs: Orthancs) -> None:
    one, two = orthancs
    two.starts()
    two.reads(two.orthanc.last)
    one.starts(opens=False)
    for _ in range(3):
        two.orthanc.receive("read by the other")
    two.reads(two.orthanc.last)
    one.starts()
    assert began(two.store) == two.orthanc.last
    two.store.journal.move(Position(99, 99))
    assert one.remembered == ""


def test_one_that_has_read_before_makes_nobody_read_again(orthancs: Orthancs) -> None:
    one, two = orthancs
    two.starts()
    one.reads(two.orthanc.last)
    one.host.set_global_property(FIRST_START, "0")
    one.starts()
    assert began(two.store) == two.orthanc.last


def test_a_crash_after_it_was_told_makes_nobody_read_again(orthancs: Orthancs) -> None:
    one, two = orthancs
    one.starts(opens=False)
    remembered = one.remembered
    one.orthanc.receive("meanwhile")
    two.starts()
    one.starts()
    two.reads(two.orthanc.last)
    one.host.set_global_property(FIRST_START, remembered)  # it crashed before it could clear it
    one.starts()
    assert began(two.store) == two.orthanc.last
