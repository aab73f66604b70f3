# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the very first start begins to read: behind what is old, before what came while Orthanc was starting."""

from datetime import timedelta

import pytest

from dicom_router.intake.first_start import first_place
from fakes.orthanc import FakeOrthanc

SECOND = timedelta(seconds=1)


def place(orthanc: FakeOrthanc, loaded: float) -> int:
    return first_place(orthanc.get, loaded, orthanc.now.timestamp())


def test_what_is_old_is_passed_over() -> None:
    orthanc = FakeOrthanc()
    orthanc.receive("old")
    orthanc.now += SECOND
    assert place(orthanc, orthanc.now.timestamp()) == orthanc.last


@pytest.mark.parametrize("instances", [1, 1000, 2500], ids=["one", "a page", "several pages"])
def test_what_came_since_this_process_was_loaded_is_new(instances: int) -> None:
    orthanc = FakeOrthanc()
    orthanc.receive("old")
    before = orthanc.last
    orthanc.now += SECOND
    loaded = orthanc.now.timestamp()
    orthanc.now += SECOND
    for _ in range(instances):
        orthanc.receive("new")
    assert place(orthanc, loaded) == before


def test_an_index_in_which_all_is_new_is_read_from_its_start() -> None:
    orthanc = FakeOrthanc()
    loaded = orthanc.now.timestamp()
    orthanc.receive("new")
    assert place(orthanc, loaded) == 0


def test_an_empty_index_is_read_from_its_end() -> None:
    orthanc = FakeOrthanc()
    orthanc.receive("gone")
    orthanc.clear_changes()
    assert place(orthanc, orthanc.now.timestamp()) == orthanc.last


def test_rows_from_the_future_are_no_news() -> None:
    """The clock of this machine was ahead once."""
    orthanc = FakeOrthanc()
    orthanc.now += timedelta(days=400)
    orthanc.receive("old")
    orthanc.now -= timedelta(days=400)
    assert place(orthanc, orthanc.now.timestamp()) == orthanc.last


def test_what_came_before_the_numbers_that_are_missing_is_old() -> None:
    """Rows go with their resources."""
    orthanc = FakeOrthanc()
    orthanc.receive("old")
    for _ in range(1200):
        orthanc.receive("gone")
    orthanc.changes = [row for row in orthanc.changes if not row["ID"].startswith("gone")]
    orthanc.now += SECOND
    loaded = orthanc.now.timestamp()
    before = orthanc.last
    orthanc.receive("new")
    assert place(orthanc, loaded) == before
