# SPDX-License-Identifier: AGPL-3.0-or-later
"""DeleteAfterSend: what Orthanc may forget, and what something else has still to bring."""

import json

import pytest

from builders import ARCHIVE, NOT_UNDERSTOOD, NOW, claimed, destination, ended, enqueued, found, subject
from dicom_router.deliveries.delivery import Status, Subject
from dicom_router.housekeeping.cleanup import Cleanup
from dicom_router.store.journal import Position
from dicom_router.store.store import Store
from dicom_router.studies.study import list_instances
from fakes.orthanc import FakeOrthanc

SECOND = "SECOND"
PATIENT = subject("patient-of-study", level="Patient")
SERIES_A, SERIES_B = (subject("study", level="Series", resource_id=f"study-{name}") for name in "ab")


class World:
    """A study of two series that has arrived in the archive, and is to be deleted for that."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.orthanc = FakeOrthanc()
        self.triggers = {"StableStudy"}
        destinations = {name: destination(name) for name in (ARCHIVE, SECOND)}
        self.cleanup = Cleanup(
            store, self.orthanc, destinations, lambda: NOW, lambda _: None, triggers=lambda: self.triggers
        )
        for series in "ab":
            self.orthanc.receive("study", series=series)
        self.orthanc.stable("study")
        ended(store, Status.COMPLETED)
        self.arrived(ARCHIVE, "ab")
        store.cleanups.want("study", [[ARCHIVE]], NOW)
        self.settled(self.orthanc.last)

    def arrived(self, name: str, series: str) -> None:
        for each in list_instances(self.orthanc, "Study", "study"):
            if each.series_id[-1] in series:
                self.store.ledger.add("study", name, [each.digest])

    def settled(self, seq: int) -> None:
        self.store.journal.move(Position(self.orthanc.last, seq, ""))

    def deletes(self) -> bool:
        self.cleanup.look()
        return not self.orthanc.instances


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def ends(store: Store, what: Subject, *, well: bool, options: object = None) -> None:
    """A delivery of this to the second destination ends."""
    delivery = claimed(store, subject=what, destination=SECOND, options=json.dumps(options or {}))
    if well:
        assert store.queue.succeed(delivery, 1, 0, "Accepted", NOW)
    else:
        assert store.queue.fail(delivery, NOT_UNDERSTOOD, 0, 1, None, NOW)


def test_what_has_arrived_is_deleted(world: World) -> None:
    assert world.deletes()
    assert world.store.cleanups.wanted() == []


@pytest.mark.parametrize("what", [subject(), SERIES_A, PATIENT], ids=["study", "series", "patient"])
def test_what_something_waits_to_be_sent_of_stays(world: World, what: Subject) -> None:
    waiting = enqueued(world.store, subject=what, destination=SECOND, at=NOW + 20)
    assert not world.deletes()
    world.store.queue.wake_due(NOW + 20)
    delivery = world.store.queue.claim(SECOND, "lease", NOW + 20)
    assert delivery is not None
    assert not world.deletes()
    world.store.queue.succeed(delivery, 2, 0, "Accepted", NOW + 21)
    assert found(world.store, waiting).status is Status.COMPLETED
    assert world.deletes()


@pytest.mark.parametrize("what", [subject(), SERIES_A, PATIENT], ids=["study", "series", "patient"])
def test_what_failed_to_arrive_stays_until_it_has(world: World, what: Subject) -> None:
    ends(world.store, what, well=False)
    assert not world.deletes()
    ends(world.store, what, well=True)
    assert world.deletes()


def test_one_series_that_arrived_does_not_speak_for_another(world: World) -> None:
    ends(world.store, SERIES_A, well=False)
    ends(world.store, SERIES_B, well=True)
    world.arrived(SECOND, "b")
    assert not world.deletes()


def test_what_has_come_another_way_since_is_no_longer_missing(world: World) -> None:
    ends(world.store, SERIES_A, well=False)
    ends(world.store, subject(), well=True)
    world.arrived(SECOND, "ab")
    assert world.deletes()


def test_one_rules_instances_do_not_speak_for_another_ones(world: World) -> None:
    ends(world.store, subject(), well=False, options={"Instances": [{"Modality": "CT"}]})
    ends(world.store, subject(), well=True, options={"Instances": [{"Modality": "SR"}]})
    assert not world.deletes()


def test_another_patients_deliveries_keep_nothing(world: World) -> None:
    enqueued(world.store, subject=subject("patient-of-another", level="Patient"), destination=SECOND)
    assert world.deletes()


def test_nothing_is_deleted_before_the_rules_for_patients_have_looked(world: World) -> None:
    world.triggers.add("StablePatient")
    world.settled(1)
    assert not world.deletes()
    for _ in range(3):  # others go on sending
        world.orthanc.receive("another")
    world.settled(world.orthanc.last - 3)
    world.cleanup.look()
    assert not world.orthanc.instances_of("study")


def test_what_came_late_is_waited_for_as_well(world: World) -> None:
    world.triggers.add("StablePatient")
    world.settled(1)
    assert not world.deletes()
    before = world.orthanc.last
    world.orthanc.receive("study", series="a")
    world.orthanc.stable("study")
    world.arrived(ARCHIVE, "a")
    world.settled(before)
    assert not world.deletes()
    world.settled(world.orthanc.last)
    assert world.deletes()


def test_rows_that_went_with_a_deleted_study_are_not_waited_for(world: World) -> None:
    world.triggers.add("StablePatient")
    world.settled(1)
    assert not world.deletes()
    del world.orthanc.changes[-2:]
    world.settled(world.orthanc.changes[-1]["Seq"])
    assert world.deletes()
