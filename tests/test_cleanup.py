# SPDX-License-Identifier: AGPL-3.0-or-later
"""DeleteAfterSend: what Orthanc may forget, and what something else has still to bring."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from builders import ARCHIVE, NOT_UNDERSTOOD, NOW, claimed, destination, ended, enqueued, found, subject
from dicom_router.deliveries.delivery import Status, Subject
from dicom_router.housekeeping.cleanup import Cleanup
from dicom_router.orthanc_rest import OrthancError, OrthancUnreachableError
from dicom_router.store.database import LOST
from dicom_router.store.journal import Position
from dicom_router.store.store import Store
from dicom_router.studies.instances import list_instances
from fakes.orthanc import FakeOrthanc, unreachable

SECOND = "SECOND"
PATIENT = subject("patient-of-study", level="Patient")
SERIES_A, SERIES_B = (subject("study", level="Series", resource_id=f"study-{name}") for name in "ab")


class World:
    """A study of two series that has arrived in the archive, and is to be deleted for that."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.orthanc = FakeOrthanc()
        self.triggers = {"StableStudy"}
        self.logged: list[str] = []
        self.cleanup = self.restarted()
        self.sent("study", 2, NOW)

    def restarted(self) -> Cleanup:
        """As it is after a start."""
        names = {name: destination(name) for name in (ARCHIVE, SECOND)}
        triggers = lambda: self.triggers  # noqa: E731
        return Cleanup(self.store, self.orthanc, names, lambda: NOW, self.logged.append, triggers=triggers)

    def sent(self, study: str, count: int, wanted_at: float) -> int:
        """A study of two series arrives in the archive; answers the delivery."""
        for number in range(count):
            self.orthanc.receive(study, series="ab"[number % 2])
        self.orthanc.stable(study)
        delivery = ended(self.store, Status.COMPLETED, study)
        self.arrived(ARCHIVE, "ab", study)
        self.store.cleanups.want(study, [[ARCHIVE]], wanted_at)
        self.settled(self.orthanc.last)
        return delivery.id

    def arrived(self, name: str, series: str, study: str = "study") -> None:
        for each in list_instances(self.orthanc, "Study", study):
            if each.series_id[-1] in series:
                self.store.ledger.add(study, name, [each.digest])

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


# --- one at a time ---------------------------------------------------------------------------------------------------


class Refusing:
    """An Orthanc that cannot delete some studies, and does something at each deletion."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, *, error: Exception | None = None) -> None:
        self.stubborn = {"study"} if error else set()
        self.error = error or OrthancError(500, 8, "cannot remove a file")
        self.then: Callable[[], None] = lambda: None
        self.parts: list[int] = []
        self._delete = world.orthanc.post
        monkeypatch.setattr(world.orthanc, "post", self.post)

    def post(self, path: str, body: Any, timeout: float = 60.0) -> Any:
        if path != "/tools/bulk-delete":
            return self._delete(path, body, timeout)
        if any(each.split("-")[0] in self.stubborn for each in body["Resources"]):
            raise self.error
        self.parts.append(len(body["Resources"]))
        answer = self._delete(path, body, timeout)
        self.then()
        return answer


CANNOT = [OrthancError(500, 8, "cannot remove a file"), unreachable(), ValueError("unexpected")]


@pytest.mark.parametrize("error", CANNOT, ids=["refused", "no answer", "unexpected"])
def test_a_study_that_cannot_be_deleted_keeps_no_newer_one(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    world.sent("newer", 2, NOW + 1)
    Refusing(world, monkeypatch, error=error)
    for _ in range(3):
        with suppress(OrthancUnreachableError):
            world.cleanup.look()
    assert world.orthanc.instances_of("study")
    assert not world.orthanc.instances_of("newer")


def test_what_cannot_be_deleted_is_told_once_and_deleted_once_it_can_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    orthanc = Refusing(world, monkeypatch, error=CANNOT[0])
    for _ in range(3):
        world.cleanup.look()
    assert [line for line in world.logged if "study" in line and "cannot remove a file" in line] == world.logged
    assert len(world.logged) == 1
    orthanc.stubborn.clear()
    assert world.deletes()


def test_a_lost_database_ends_the_round(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> bool:
        raise LOST[0]("the server closed the connection")

    monkeypatch.setattr(world.store.cleanups, "nothing_open", lost)
    with pytest.raises(LOST):
        world.cleanup.look()


def test_a_stop_waits_for_a_part_of_a_large_study_and_the_rest_is_deleted_after_the_restart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = world.sent("large", 250, NOW + 1)
    world.triggers.add("StablePatient")
    orthanc = Refusing(world, monkeypatch)
    orthanc.then = lambda: world.cleanup.end() if orthanc.parts == [2, 100] else None
    world.cleanup.look()
    assert orthanc.parts == [2, 100]
    assert len(world.orthanc.instances_of("large")) == 150
    again = world.restarted()
    again.look()
    assert orthanc.parts == [2, 100, 100, 50]
    assert world.store.cleanups.wanted() == []
    texts = [entry.text for entry in world.store.history.timeline(large)]
    assert [text for text in texts if "deleted" in text] == [
        f"{count} instances were deleted from Orthanc, as the rule asks" for count in (100, 150)
    ]


def test_what_is_overwritten_while_its_study_is_deleted_stays(store: Store) -> None:
    """A large study goes in parts; what the modality corrects meanwhile has been sent nowhere."""
    world = World(store)
    world.sent("large", 300, NOW)
    post, parts = world.orthanc.post, []

    def slow(path: str, body: Any, timeout: float = 60.0) -> Any:
        told = post(path, body, timeout)
        if path == "/tools/bulk-delete" and len(body["Resources"]) == 100 and not parts:
            parts.append(body)
            world.orthanc.receive("large", series="b", instance="large-b-150")
        return told

    world.orthanc.post = slow  # type: ignore[method-assign]
    world.cleanup.look()
    assert parts
    assert set(world.orthanc.instances) == {"large-b-150"}
