# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading the deliveries: filters, pages, counts, and what is forgotten."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import (
    ARCHIVE,
    BROKEN,
    NOT_UNDERSTOOD,
    NOW,
    claimed,
    ended,
    enqueued,
    fill,
    found,
    instance,
    new_delivery,
    subject,
)
from dicom_router.deliveries.delivery import Reason, Status
from dicom_router.housekeeping.retention import Retention
from dicom_router.store import schema
from dicom_router.store.database import session
from dicom_router.store.history import Filter
from dicom_router.store.journal import NewDecision
from dicom_router.store.sqlite import open_sqlite
from dicom_router.store.store import Store
from fakes.orthanc import FakeOrthanc


def ids(store: Store, **wanted: Any) -> list[int]:
    items, _, total = store.history.page(Filter(**wanted), 100, None)
    told = [each.id for each in items]
    assert total == len(told)
    assert sorted(store.history.ids(Filter(**wanted))) == sorted(told)
    return told


def test_an_empty_history_is_an_empty_page(store: Store) -> None:
    assert store.history.page(Filter(), 10, None) == ([], None, 0)
    assert store.history.get(1) is None
    assert store.history.oldest_waiting() is None
    assert store.history.waiting_destinations() == []


def test_pages_go_from_the_newest_to_the_oldest_without_a_gap(store: Store) -> None:
    made = [enqueued(store, f"s{number}") for number in range(7)]
    seen: list[int] = []
    before = None
    while True:
        items, before, total = store.history.page(Filter(), 3, before)
        assert total == 7
        seen += [each.id for each in items]
        if before is None:
            break
    assert seen == made[::-1]


def test_a_page_stays_right_while_new_deliveries_come(store: Store) -> None:
    made = [enqueued(store, f"s{number}") for number in range(4)]
    _, before, _ = store.history.page(Filter(), 2, None)
    enqueued(store, "new")
    items, _, _ = store.history.page(Filter(), 2, before)
    assert [each.id for each in items] == [made[1], made[0]]


def test_the_last_page_has_no_next_also_when_it_is_full(store: Store) -> None:
    for number in range(4):
        enqueued(store, f"s{number}")
    assert store.history.page(Filter(), 4, None)[1] is None


def test_each_filter_finds_its_own(store: Store) -> None:
    about = subject(
        "one",
        study_instance_uid="1.2.3",
        patient_id="P77",
        patient_name="MÜLLER^EVA",
        accession_number="ACC9",
        study_description="Thorax",
    )
    one = enqueued(store, at=NOW, subject=about, rule="night")
    two = enqueued(store, "two", at=NOW + 100, destination="WORKSTATION")
    for wanted in (
        {"rule": "night"},
        {"destination": ARCHIVE},
        {"study": "one"},
        {"study": "1.2.3"},
        {"patient": "P77"},
        {"patient": "EVA"},
        {"accession": "ACC9"},
        {"created_to": NOW},
        {"text": "Thorax"},
        {"text": "MÜLLER"},
        {"text": "ACC9"},
        {"rule": "night", "destination": ARCHIVE, "text": "P77"},
    ):
        assert ids(store, **wanted) == [one], wanted
    assert ids(store, created_from=NOW + 1) == [two]
    assert ids(store, created_from=NOW, created_to=NOW + 100) == [two, one]
    assert ids(store, rule="night", destination="WORKSTATION") == []


@pytest.mark.parametrize("text", ["%", "_", "'", '"', "\\", "P%", "*"])
def test_a_text_is_looked_for_as_it_stands(store: Store, text: str) -> None:
    enqueued(store, "plain")
    special = enqueued(store, "special", subject=subject("special", study_description=f"a {text} b"))
    assert ids(store, text=text) == [special]


def test_a_text_is_found_in_the_rule_the_destination_and_the_error_too(store: Store) -> None:
    failed = ended(store, Status.FAILED, "failed", rule="night shift").id
    other = enqueued(store, "other", destination="WORKSTATION", rule="all", subject=subject("other", patient_name="ÖZ"))
    assert ids(store, text="NIGHT") == [failed]
    assert ids(store, text="workst") == [other]
    assert ids(store, text="cannot understand") == [failed]
    assert ids(store, text="öz") == [other]


def test_much_that_has_a_text_is_found_without_counting_all_of_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then each row is looked at, instead of looking them up; what is found must be the same."""
    monkeypatch.setattr("dicom_router.store.history.MOST_COUNTED", 3)
    made = [enqueued(store, f"s{number}", at=NOW + number, rule="night") for number in range(5)]
    enqueued(store, "else", rule="day", subject=subject("else", patient_name="OTHER"))
    for wanted in (Filter(text="night"), Filter(text="DOE^"), Filter(patient="doe"), Filter(text="P-s", rule="night")):
        items, following, total = store.history.page(wanted, 2, None)
        assert ([each.id for each in items], following, total) == (made[:2:-1], made[3], 3)
        assert [each.id for each in store.history.page(wanted, 9, following)[0]] == made[2::-1]


def test_what_a_study_is_found_by_is_kept_once_and_forgotten_with_its_last_delivery(store: Store) -> None:
    def kept() -> list[str]:
        with session(store.database):
            return [row.study_id for row in schema.StudyText.select()]

    old = claimed(store, "study")
    store.queue.succeed(old, 3, 0, "Accepted", NOW)
    other = enqueued(store, "study", destination="WORKSTATION")
    assert kept() == ["study"]
    assert store.history.prune(NOW + 1) == 1
    assert ids(store, text="DOE") == [other]
    store.queue.cancel(other, NOW)
    enqueued(store, "newer")
    assert store.history.prune(NOW + 1) == 1
    assert kept() == ["newer"]


def test_states_are_filtered(store: Store) -> None:
    failed = ended(store, Status.FAILED, "failed").id
    completed = ended(store, Status.COMPLETED, "completed").id
    waiting = enqueued(store, "waiting")
    assert ids(store, statuses=["Failed"]) == [failed]
    assert ids(store, statuses=["Failed", "Completed"]) == [completed, failed]
    assert ids(store, statuses=["Scheduled"]) == [waiting]
    assert ids(store, statuses=[]) == []


def test_counts_tell_every_state(store: Store) -> None:
    ended(store, Status.FAILED, "a")
    ended(store, Status.WARNING, "b")
    enqueued(store, "c", destination="WORKSTATION")
    nothing = dict.fromkeys(Status, 0)
    assert store.history.counts() == nothing | {"Failed": 1, "Warning": 1, "Scheduled": 1}
    assert store.history.counts("WORKSTATION") == nothing | {"Scheduled": 1}


def test_the_oldest_that_has_not_ended_is_told(store: Store) -> None:
    ended(store, Status.COMPLETED, "ended", at=NOW - 500)
    claimed(store, "sending", at=NOW - 100)
    enqueued(store, "waits", at=NOW, destination="WORKSTATION")
    assert store.history.oldest_waiting() == NOW - 100
    assert store.history.oldest_waiting("WORKSTATION") == NOW
    assert sorted(store.history.waiting_destinations()) == [ARCHIVE, "WORKSTATION"]


def test_the_rate_counts_what_ended_well_since_then(store: Store) -> None:
    delivery = claimed(store)
    store.queue.listed(delivery, 3, 3000, "three")
    store.queue.succeed(delivery, 3, 0, "Accepted", NOW)
    ended(store, Status.FAILED, "failed")
    assert store.history.sent_since(ARCHIVE, NOW) == (3, 3000)
    assert store.history.sent_since(ARCHIVE, NOW + 1) == (0, 0)
    assert store.history.sent_since("WORKSTATION", 0) == (0, 0)


def test_the_last_error_of_a_destination_is_told(store: Store) -> None:
    assert store.history.last_error(ARCHIVE) is None
    store.queue.fail(claimed(store, "a"), BROKEN, 0, 0, NOW + 30, NOW)
    store.queue.fail(claimed(store, "b"), NOT_UNDERSTOOD, 0, 1, None, NOW + 1)
    ended(store, Status.COMPLETED, "c")
    assert store.history.last_error(ARCHIVE) == (NOW + 1, "Permanent", "0xC000", NOT_UNDERSTOOD.message)
    assert store.history.last_error("WORKSTATION") is None


def test_the_timeline_tells_the_story(store: Store) -> None:
    delivery = claimed(store)
    store.queue.fail(delivery, BROKEN, 0, 0, NOW, NOW + 1)
    again = store.queue.claim(ARCHIVE, "lease-2", NOW + 2)
    assert again is not None
    store.queue.succeed(again, 3, 0, "Accepted", NOW + 3)
    told = [(row.at - NOW, row.status) for row in store.history.timeline(delivery.id)]
    assert told == [(0, "Scheduled"), (0, "Sending"), (1, "Retrying"), (2, "Sending"), (3, "Completed")]


def test_what_ended_long_ago_is_forgotten_with_its_story(store: Store) -> None:
    old = claimed(store, "old")
    store.queue.refused(old, instance(1), NOT_UNDERSTOOD, NOW)
    store.queue.succeed(old, 2, 1, "Accepted", NOW)
    store.journal.record(NewDecision("Study", "old", "old", "StableStudy", []), [], None, NOW)
    store.journal.record(NewDecision("Study", "old", "old", "StableStudy", []), [], None, NOW + 50)
    waiting = enqueued(store, "waiting", at=NOW - 1000)
    young = claimed(store, "young", destination="WORKSTATION")
    store.queue.succeed(young, 3, 0, "Accepted", NOW + 50)
    assert store.history.prune(NOW + 10) == 1
    assert store.history.prune_decisions(NOW + 10) == 1
    assert ids(store) == [young.id, waiting]
    assert store.history.timeline(old.id) == store.history.attempts(old.id) == store.history.refusals(old.id) == []
    assert [each.made_at for each in store.journal.decisions("old")] == [NOW + 50]
    assert store.history.prune(NOW + 10) == 0
    assert store.history.prune_decisions(NOW + 10) == 0


def test_decisions_are_forgotten_however_few_deliveries_there_are(store: Store) -> None:
    for number in range(1200):
        new = NewDecision("Study", f"s{number}", f"s{number}", "StableStudy", [])
        store.journal.record(new, [], None, NOW + (5000 if number >= 1100 else 0))
    Retention(store, FakeOrthanc(), 100.0, lambda: NOW + 200).prune()
    with session(store.database):
        assert schema.Decision.select().count() == 100


@pytest.mark.parametrize("forgotten", [0, 1, 3, 5])
def test_the_counts_are_right_whoever_made_and_whoever_forgot_the_deliveries(
    open_store: Callable[[str], Store], forgotten: int
) -> None:
    here, there = open_store("here"), open_store("there")
    for number, status in enumerate([Status.FAILED, Status.COMPLETED, Status.CANCELED, Status.WARNING]):
        ended(here, status, f"here {number}", at=NOW + number)
        ended(there, status, f"there {number}", rule="night", destination="WORKSTATION", at=NOW + number)
    claimed(there, "is being sent", rule="night", at=NOW + 9)
    enqueued(here, "waits", at=NOW + 9)
    if forgotten:
        here.history.prune(NOW + 1, limit=forgotten)
        there.history.prune(NOW + 1, limit=1)
    for rule in (None, "all CT", "night", "unknown"):
        for destination in (None, ARCHIVE, "WORKSTATION"):
            for statuses in (None, ["Completed", "Failed"], ["Scheduled"], ["Sending", "Warning"], list(Status)):
                ids(there, rule=rule, destination=destination, statuses=statuses)
    assert sum(here.history.counts().values()) == len(ids(here))
    assert sum(here.history.counts("WORKSTATION").values()) == len(ids(here, destination="WORKSTATION"))
    assert all(number > 0 for store in (here, there) for *_, number in store.tallies.deliveries())


def test_a_long_past_costs_the_counts_and_the_first_page_nothing(tmp_path: Path) -> None:
    """Whatever has ended was counted before. SQLite tells how many instructions a query takes."""
    store = Store(open_sqlite(tmp_path / "long.db"), "here", lambda: NOW)
    works: list[Callable[[], object]] = [
        lambda: store.history.page(Filter(), 5, None),
        lambda: store.history.page(Filter(statuses=["Completed"], destination=ARCHIVE), 5, None),
        store.history.counts,
    ]
    fill(store, 0, 200, Status.COMPLETED)
    before = [instructions(store, work) for work in works]
    fill(store, 1000, 5000, Status.COMPLETED)
    assert store.history.page(Filter(), 5, None)[2] == 5200
    assert [instructions(store, work) for work in works] == before
    store.database.close()


def instructions(store: Store, work: Callable[[], object]) -> int:
    """How many of SQLite's instructions some work takes."""
    taken: list[None] = []
    with session(store.database):
        connection = store.database.connection()
        connection.set_progress_handler(lambda: taken.append(None), 1)
        work()
        connection.set_progress_handler(None, 1)
    return len(taken)


def test_forgetting_goes_in_small_steps(store: Store) -> None:
    for number in range(6):
        ended(store, Status.COMPLETED, f"s{number}")
    assert [store.history.prune(NOW + 1, limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_no_delivery_gets_the_number_of_one_that_was_forgotten(store: Store) -> None:
    newest = [ended(store, Status.COMPLETED, f"s{number}").id for number in range(3)][-1]
    while store.history.prune(NOW + 1):
        pass
    assert enqueued(store, "another") > newest


def test_a_delivery_made_again_tells_of_the_first(store: Store) -> None:
    first = ended(store, Status.FAILED)
    second = enqueued(store, resend_of=first.id)
    assert found(store, second).resend_of == first.id


def test_nothing_about_a_delivery_is_left_out_of_the_value(store: Store) -> None:
    made = store.queue.enqueue(new_delivery(options='{"Send": {}}', reason=Reason.DELAY), NOW)
    assert made is not None
    with session(store.database):
        row = schema.Delivery.select().where(schema.Delivery.id == made).dicts().get()
    assert row == vars(found(store, made))
