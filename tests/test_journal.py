# SPDX-License-Identifier: AGPL-3.0-or-later
"""The journal: decision, deliveries and the place in the change log are one transaction."""

import pytest

from builders import NOW, enqueued, found, new_delivery
from conftest import OpenStore
from dicom_router.deliveries.delivery import Status
from dicom_router.store.journal import NewDecision, Position
from dicom_router.store.store import Store


def decision(study: str = "study", rule: str = "all CT") -> NewDecision:
    return NewDecision("Study", study, study, "StableStudy", [{"Rule": rule, "Matched": True}])


def test_before_the_first_start_there_is_no_position(store: Store) -> None:
    assert store.journal.position() is None


def test_the_last_position_counts_also_after_a_restart(open_store: OpenStore) -> None:
    journal = open_store("here").journal
    journal.move(Position(5, 3, "20261122T010203"))
    journal.move(Position(9, 9, "20261122T010204"))
    assert open_store("here").journal.position() == Position(9, 9, "20261122T010204")


def test_a_decision_its_deliveries_and_the_position_are_written_together(store: Store) -> None:
    new = [new_delivery(), new_delivery(destination="WORKSTATION")]
    made = store.journal.record(decision(), new, Position(7, 6, "d"), NOW)
    assert [found(store, each).destination for each in made] == ["ARCHIVE", "WORKSTATION"]
    assert store.journal.position() == Position(7, 6, "d")
    kept = store.journal.decisions("study")
    assert [(each.made_at, each.trigger, each.verdicts) for each in kept] == [
        (NOW, "StableStudy", [{"Rule": "all CT", "Matched": True}])
    ]


@pytest.mark.parametrize("fails", ["enqueue", "move"])
def test_when_one_part_cannot_be_written_none_is(store: Store, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    store.journal.move(Position(1, 1))

    def broken(*_: object) -> int:
        raise OSError("the disk is full")

    enqueue = store.queue.enqueue
    calls: list[object] = []

    def second_fails(*arguments: object) -> int | None:
        calls.append(arguments)
        return broken() if len(calls) == 2 else enqueue(*arguments)  # type: ignore[arg-type]

    if fails == "enqueue":
        monkeypatch.setattr(store.queue, "enqueue", second_fails)
    else:
        monkeypatch.setattr(store.journal, "move", broken)
    with pytest.raises(OSError, match="full"):
        store.journal.record(decision(), [new_delivery(), new_delivery("other")], Position(7, 7), NOW)
    assert store.journal.position() == Position(1, 1)
    assert store.journal.decisions("study") == []
    assert sum(store.history.counts().values()) == 0


def test_a_decision_without_a_position_leaves_it(store: Store) -> None:
    store.journal.move(Position(4, 4))
    store.journal.record(decision(), [], None, NOW)
    assert store.journal.position() == Position(4, 4)


def test_only_new_deliveries_are_answered(store: Store) -> None:
    waiting = enqueued(store)
    made = store.journal.record(decision(), [new_delivery(), new_delivery(destination="WORKSTATION")], None, NOW)
    assert len(made) == 1
    assert waiting not in made
    assert found(store, waiting).status is Status.SCHEDULED


def test_the_last_decisions_about_a_study_come_newest_first(store: Store) -> None:
    for number in range(5):
        store.journal.record(decision(rule=f"r{number}"), [], None, NOW + number)
    store.journal.record(decision("other"), [], None, NOW)
    assert [each.verdicts[0]["Rule"] for each in store.journal.decisions("study", limit=3)] == ["r4", "r3", "r2"]
