# SPDX-License-Identifier: AGPL-3.0-or-later
"""The delivery queue's contract, on each database."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from builders import (
    ARCHIVE,
    BROKEN,
    BUSY,
    DEAD,
    NOT_UNDERSTOOD,
    NOW,
    STRANGER,
    claimed,
    ended,
    enqueued,
    fill,
    found,
    instance,
    new_delivery,
    take_over,
)
from conftest import OpenStore
from dicom_router.deliveries.alternates import Alternates
from dicom_router.deliveries.delivery import FINAL, IllegalTransitionError, Priority, Reason, Status
from dicom_router.deliveries.outcome import SendError
from dicom_router.store.database import session
from dicom_router.store.failover import MOST_AT_ONCE
from dicom_router.store.store import Store

HOUR = 3600.0
LEASE = 60.0  # seconds


def rows_of(store: Store, delivery_id: int) -> dict[str, object]:
    """All that is kept of a delivery."""
    told: dict[str, object] = {
        "delivery": found(store, delivery_id),
        "attempts": store.history.attempts(delivery_id),
        "timeline": store.history.timeline(delivery_id),
    }
    return told


def claim_all(store: Store, destination: str = ARCHIVE, now: float = NOW) -> list[str]:
    """The studies in the order in which they are claimed."""
    store.queue.wake_due(now)
    order = []
    while (delivery := store.queue.claim(destination, f"lease-{len(order)}", now)) is not None:
        order.append(delivery.study_id)
    return order


# --- enqueue ---------------------------------------------------------------------------------------------------------


def test_a_new_delivery_is_scheduled_and_tells_why_it_waits(store: Store) -> None:
    made = enqueued(store, reason=Reason.DELAY, at=NOW)
    delivery = found(store, made)
    assert (delivery.status, delivery.reason, delivery.attempts) == (Status.SCHEDULED, Reason.DELAY, 0)
    assert (delivery.created_at, delivery.started_at, delivery.completed_at) == (NOW, None, None)
    assert [(row.status, row.text) for row in store.history.timeline(made)] == [("Scheduled", Reason.DELAY)]


def test_a_window_that_opens_earlier_than_planned_is_planned_anew(store: Store) -> None:
    def waits(study: str, **changes: Any) -> int:
        return enqueued(store, study, due_at=NOW + 9 * HOUR, **({"reason": Reason.WINDOW} | changes))

    late, delayed = waits("late"), waits("delayed", rule="with a delay")
    other, sooner = waits("other", reason=Reason.DELAY), waits("sooner")
    elsewhere = waits("elsewhere", destination="ELSEWHERE")
    assert store.queue.plan_earlier(ARCHIVE, NOW + HOUR, ["with a delay"]) == 2
    due = {each: found(store, each).due_at - NOW for each in (late, delayed, other, sooner, elsewhere)}
    assert due == {late: HOUR, delayed: 9 * HOUR, other: 9 * HOUR, sooner: HOUR, elsewhere: 9 * HOUR}
    assert store.queue.plan_earlier(ARCHIVE, NOW + 2 * HOUR, []) == 1, "never later than planned"
    assert claim_all(store, now=NOW + HOUR) == ["late", "sooner"]


def test_a_window_that_opens_earlier_brings_the_failover_forward_as_well(store: Store) -> None:
    alternates = Alternates(("SECOND",), 600.0).to_text()
    due = {"due_at": NOW + 9 * HOUR, "reason": Reason.WINDOW}
    waiting = enqueued(store, alternates=alternates, failover_at=NOW + 9 * HOUR + 600, **due)
    plain = enqueued(store, "plain", **due)
    assert store.queue.plan_earlier(ARCHIVE, NOW + HOUR, []) == 2
    assert found(store, waiting).failover_at == NOW + HOUR + 600
    assert found(store, plain).failover_at is None


def test_what_waits_already_fails_over_when_a_later_one_would(store: Store) -> None:
    waiting = enqueued(store)
    alternates = Alternates(("SECOND",), 600.0).to_text()
    assert store.queue.enqueue(new_delivery(alternates=alternates, failover_at=NOW + 600), NOW) is None
    assert [each.id for each in store.failover.due(NOW + 600, [])] == [waiting]


FAILS_OVER = {"alternates": Alternates(("SECOND",), 600.0).to_text(), "failover_at": NOW + 600}


@pytest.mark.parametrize("error", [DEAD, BROKEN, BUSY])
def test_only_what_the_way_to_its_destination_keeps_waiting_fails_over(store: Store, error: SendError) -> None:
    store.queue.fail(claimed(store, "tried", **FAILS_OVER), error, 0, 0, NOW + 30, NOW)
    enqueued(store, "untried", **FAILS_OVER)
    elsewhere = enqueued(store, destination="WORKSTATION", **FAILS_OVER)
    blamed = ["tried"] if error is not BUSY else []
    assert [each.study_id for each in store.failover.due(NOW + 600, [ARCHIVE, "WORKSTATION"])] == blamed
    assert elsewhere in [each.id for each in store.failover.due(NOW + 600, [ARCHIVE])]
    assert len(store.failover.due(NOW + 600, ["WORKSTATION"])) == 2
    assert store.failover.due(NOW + 599, []) == []


def test_of_many_the_longest_due_fail_over_first_and_not_all_at_once(store: Store) -> None:
    made = [enqueued(store, str(n), **FAILS_OVER | {"failover_at": NOW - n}) for n in range(MOST_AT_ONCE + 1)]
    assert [each.id for each in store.failover.due(NOW, [])] == made[:0:-1]


def test_the_same_resource_waits_for_a_destination_only_once(store: Store) -> None:
    made = enqueued(store)
    assert store.queue.enqueue(new_delivery(), NOW + 1) is None
    assert store.queue.enqueue(new_delivery(destination="WORKSTATION"), NOW + 1) is not None
    assert store.queue.enqueue(new_delivery("other"), NOW + 1) is not None
    assert store.queue.enqueue(new_delivery(), NOW + 2) is None
    assert found(store, made).created_at == NOW


def test_what_comes_while_a_resource_is_sent_waits_for_the_next_delivery(store: Store) -> None:
    sending = claimed(store)
    again = store.queue.enqueue(new_delivery(), NOW)
    assert again is not None
    assert claim_all(store) == []  # one at a time
    store.queue.succeed(sending, 3, 0, "Accepted", NOW)
    assert claim_all(store) == ["study"]


def test_what_is_being_sent_already_makes_no_second_delivery(store: Store) -> None:
    sending = claimed(store, content="three")
    assert store.queue.enqueue(new_delivery(content="three"), NOW) is None
    assert store.queue.enqueue(new_delivery(content="three", options='{"Send": {}}'), NOW) is not None
    store.queue.listed(sending, 4, 4000, "four")
    assert store.queue.enqueue(new_delivery(content="four"), NOW) is None
    assert store.queue.enqueue(new_delivery(content="five"), NOW) is not None


def test_what_is_sent_by_hand_is_sent_again_also_while_it_is_being_sent(store: Store) -> None:
    claimed(store)
    assert store.queue.enqueue(new_delivery(), NOW) is not None


def test_a_delivery_that_retries_takes_along_what_came_since(store: Store) -> None:
    store.queue.fail(claimed(store), BROKEN, 1, 0, NOW + 30, NOW)
    assert store.queue.enqueue(new_delivery(), NOW + 1) is None


def test_a_waiting_delivery_sends_all_again_when_the_second_one_should(store: Store) -> None:
    made = enqueued(store)
    assert store.queue.enqueue(new_delivery(renew=True), NOW) is None
    assert found(store, made).renew
    assert store.queue.enqueue(new_delivery(), NOW) is None
    assert found(store, made).renew


# --- claim -----------------------------------------------------------------------------------------------------------


def test_a_claimed_delivery_is_sending_with_its_first_attempt(store: Store) -> None:
    made = enqueued(store)
    delivery = store.queue.claim(ARCHIVE, "lease", NOW + 5)
    assert delivery is not None
    assert delivery == found(store, made)
    assert (delivery.status, delivery.attempts, delivery.owner) == (Status.SENDING, 1, "here")
    assert (delivery.started_at, delivery.reason) == (NOW + 5, "")
    attempts = store.history.attempts(made)
    assert [(row.number, row.started_at, row.ended_at) for row in attempts] == [(1, NOW + 5, None)]


def test_nothing_is_claimed_before_its_time(store: Store) -> None:
    store.queue.enqueue(new_delivery(due_at=NOW + 60), NOW)
    assert store.queue.next_due() == NOW + 60
    assert claim_all(store, now=NOW + 59) == []
    assert store.queue.first_rank(ARCHIVE) is None
    assert claim_all(store, now=NOW + 60) == ["study"]
    assert store.queue.next_due() is None


def test_only_the_named_destination_is_claimed_for(store: Store) -> None:
    enqueued(store, destination="WORKSTATION")
    assert store.queue.first_rank(ARCHIVE) is None
    assert claim_all(store) == []
    assert store.queue.first_rank("WORKSTATION") is not None
    assert claim_all(store, "WORKSTATION") == ["study"]


def test_one_study_goes_to_two_destinations_at_once(store: Store) -> None:
    claimed(store)
    enqueued(store, destination="WORKSTATION")
    assert claim_all(store, "WORKSTATION") == ["study"]


def test_two_deliveries_of_one_study_do_not_go_to_a_destination_at_once(store: Store) -> None:
    claimed(store)
    series = replace(new_delivery().subject, level="Series", resource_id="series")
    assert store.queue.enqueue(new_delivery(subject=series), NOW) is not None
    enqueued(store, "other")
    assert claim_all(store) == ["other"]


def test_the_oldest_goes_first(store: Store) -> None:
    for number in (3, 1, 2):
        enqueued(store, f"s{number}", at=NOW + number)
    assert claim_all(store, now=NOW + 10) == ["s1", "s2", "s3"]


def test_urgent_goes_before_normal_before_low(store: Store) -> None:
    for number, priority in enumerate((Priority.LOW, Priority.NORMAL, Priority.URGENT)):
        enqueued(store, priority.lower(), at=NOW + number, priority=priority)
    assert claim_all(store, now=NOW + 10) == ["urgent", "normal", "low"]


def test_a_low_delivery_has_aged_enough_after_an_hour(store: Store) -> None:
    enqueued(store, "low", priority=Priority.LOW)
    enqueued(store, "within", at=NOW + HOUR - 1)
    enqueued(store, "after", at=NOW + HOUR + 1)
    assert claim_all(store, now=NOW + 2 * HOUR) == ["within", "low", "after"]


def test_no_age_passes_an_urgent_delivery(store: Store) -> None:
    enqueued(store, "old", at=NOW - 20 * 365 * 86400)
    enqueued(store, "urgent", priority=Priority.URGENT)
    assert claim_all(store) == ["urgent", "old"]


def test_only_urgent_ones_are_claimed_when_only_they_may(store: Store) -> None:
    enqueued(store, "normal")
    assert store.queue.claim(ARCHIVE, "lease", NOW, urgent_only=True) is None
    enqueued(store, "urgent", priority=Priority.URGENT)
    claimed_one = store.queue.claim(ARCHIVE, "lease", NOW, urgent_only=True)
    assert claimed_one is not None
    assert claimed_one.study_id == "urgent"


def test_a_retry_keeps_its_place_in_the_queue(store: Store) -> None:
    first = claimed(store, "first")
    enqueued(store, "second", at=NOW + 1)
    store.queue.fail(first, BUSY, 0, 0, NOW + 2, NOW + 1)
    assert claim_all(store, now=NOW + 3) == ["first", "second"]


# --- how an attempt ends ---------------------------------------------------------------------------------------------


def test_success_completes(store: Store) -> None:
    delivery = claimed(store)
    assert store.queue.succeed(delivery, 3, 0, "Accepted", NOW + 9)
    after = found(store, delivery.id)
    assert (after.status, after.completed_at, after.instances_sent) == (Status.COMPLETED, NOW + 9, 3)
    assert (after.verified, after.lease) == ("Accepted", "")
    assert [(row.ended_at, row.instances_sent) for row in store.history.attempts(delivery.id)] == [(NOW + 9, 3)]


def test_success_with_refused_instances_is_a_warning(store: Store) -> None:
    delivery = claimed(store)
    store.queue.refused(delivery, instance(1), NOT_UNDERSTOOD, NOW)
    assert store.queue.succeed(delivery, 2, 1, "Accepted", NOW)
    after = found(store, delivery.id)
    assert (after.status, after.instances_refused) == (Status.WARNING, 1)
    told = store.history.refusals(delivery.id)
    assert [(row.instance_id, row.code) for row in told] == [("study-1", "0xC000")]


def test_success_forgets_the_error_of_the_attempt_before(store: Store) -> None:
    delivery = claimed(store)
    store.queue.fail(delivery, BROKEN, 1, 0, NOW, NOW)
    again = store.queue.claim(ARCHIVE, "lease-2", NOW)
    assert again is not None
    assert (again.error_code, again.attempts) == ("Aborted", 2)
    store.queue.succeed(again, 3, 0, "Accepted", NOW)
    assert found(store, delivery.id).error_code == ""


def test_a_passing_failure_retries_at_its_time(store: Store) -> None:
    delivery = claimed(store)
    assert store.queue.fail(delivery, BROKEN, 1, 0, NOW + 30, NOW)
    after = found(store, delivery.id)
    assert (after.status, after.due_at, after.reason) == (Status.RETRYING, NOW + 30, Reason.RETRY)
    assert (after.instances_sent, after.completed_at, after.error_code) == (1, None, "Aborted")
    assert claim_all(store, now=NOW + 29) == []
    assert claim_all(store, now=NOW + 30) == ["study"]


@pytest.mark.parametrize(
    ("error", "sent", "status"),
    [
        (BROKEN, 0, Status.FAILED),
        (BROKEN, 2, Status.FAILED),  # the rest is missing, and nobody has refused it
        (NOT_UNDERSTOOD, 0, Status.FAILED),
        (NOT_UNDERSTOOD, 2, Status.WARNING),
    ],
)
def test_a_failure_for_good_ends_it(store: Store, error: SendError, sent: int, status: Status) -> None:
    delivery = claimed(store)
    assert store.queue.fail(delivery, error, sent, 1, None, NOW + 1)
    after = found(store, delivery.id)
    assert (after.status, after.completed_at, after.error_message) == (status, NOW + 1, error.message)


def test_many_that_did_not_arrive_are_all_named_and_refused_by_nobody(store: Store) -> None:
    delivery = claimed(store)
    unsent = [instance(number) for number in range(1050)]
    assert store.queue.fail(delivery, STRANGER, 2, 1, None, NOW, unsent)
    assert {row.instance_id for row in store.history.refusals(delivery.id)} == {each.id for each in unsent}
    assert found(store, delivery.id).instances_refused == 1051
    assert not store.ledger.refused("study", ARCHIVE).intersection(each.digest for each in unsent)


def test_what_was_canceled_meanwhile_names_nothing_and_is_handed_to_nobody(store: Store) -> None:
    delivery = claimed(store, alternates=Alternates(("SECOND",), 600.0).to_text())
    store.queue.cancel(delivery.id, NOW)
    assert store.queue.fail(delivery, STRANGER, 2, 0, None, NOW, [instance(1)])
    assert found(store, delivery.id).status is Status.CANCELED
    assert store.history.refusals(delivery.id) == []
    assert store.queue.first_rank("SECOND") is None


def test_each_attempt_tells_only_what_it_sent_itself(store: Store) -> None:
    delivery = claimed(store)
    store.queue.fail(delivery, BROKEN, 2, 0, NOW, NOW)
    again = store.queue.claim(ARCHIVE, "lease-2", NOW)
    assert again is not None
    store.queue.succeed(again, 5, 0, "Accepted", NOW)
    told = [(row.number, row.instances_sent, row.error_code) for row in store.history.attempts(delivery.id)]
    assert told == [(1, 2, "Aborted"), (2, 3, "")]


def test_a_deferred_attempt_does_not_count(store: Store) -> None:
    delivery = claimed(store)
    assert store.queue.defer(delivery, Reason.WINDOW, NOW + HOUR, 0, 0, NOW)
    after = found(store, delivery.id)
    assert (after.status, after.reason, after.due_at) == (Status.SCHEDULED, Reason.WINDOW, NOW + HOUR)
    assert (after.attempts, store.history.attempts(delivery.id)) == (0, [])


def test_a_deferred_attempt_that_sent_something_is_told(store: Store) -> None:
    delivery = claimed(store)
    assert store.queue.defer(delivery, Reason.PAUSED, NOW, 2, 0, NOW)
    assert [row.instances_sent for row in store.history.attempts(delivery.id)] == [2]
    assert found(store, delivery.id).instances_sent == 2


def test_the_jobs_of_an_attempt_are_kept_with_it(store: Store) -> None:
    delivery = claimed(store)
    for job in ("job-1", "job-2"):
        store.queue.job_submitted(delivery, job)
    assert [row.jobs for row in store.history.attempts(delivery.id)] == [["job-1", "job-2"]]


def test_progress_and_the_count_are_shown_while_it_is_sent(store: Store) -> None:
    delivery = claimed(store, renew=True)
    store.queue.listed(delivery, 7, 7000, "seven")
    store.queue.progress(delivery, 4, 1)
    after = found(store, delivery.id)
    assert (after.instances_count, after.bytes, after.renew) == (7, 7000, False)
    assert (after.instances_sent, after.instances_refused) == (4, 1)


# --- a lost lease ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        lambda store, old: store.queue.succeed(old, 3, 0, "Accepted", NOW + 1),
        lambda store, old: store.queue.fail(old, BROKEN, 1, 0, NOW, NOW + 1),
        lambda store, old: store.queue.fail(old, NOT_UNDERSTOOD, 1, 0, None, NOW + 1),
        lambda store, old: store.queue.defer(old, Reason.PAUSED, NOW, 1, 0, NOW + 1),
        lambda store, old: store.queue.progress(old, 3, 0),
        lambda store, old: store.queue.listed(old, 99, 99, "many"),
    ],
    ids=["succeed", "fail", "fail for good", "defer", "progress", "listed"],
)
@pytest.mark.parametrize("since", ["taken over", "ended", "canceled", "claimed again"])
def test_a_lost_lease_writes_nothing(open_store: OpenStore, write: object, since: str) -> None:
    here, there = open_store("here"), open_store("there")
    old = claimed(here)
    later = NOW + LEASE + 1
    take_over(there, later)
    if since != "taken over":
        again = there.queue.claim(ARCHIVE, "lease-there", later)
        assert again is not None
        if since == "ended":
            there.queue.succeed(again, 3, 0, "Accepted", later)
        elif since == "canceled":
            there.queue.defer(again, Reason.QUEUED, later, 0, 0, later)
            there.queue.cancel(again.id, later)
    before = rows_of(here, old.id)
    assert not write(here, old)  # type: ignore[operator]
    assert rows_of(here, old.id) == before


def test_an_attempt_is_closed_only_once(store: Store) -> None:
    delivery = claimed(store)
    assert store.queue.succeed(delivery, 3, 0, "Accepted", NOW)
    before = rows_of(store, delivery.id)
    assert not store.queue.fail(delivery, BROKEN, 0, 0, NOW, NOW)
    assert rows_of(store, delivery.id) == before


# --- owners ----------------------------------------------------------------------------------------------------------


def test_after_a_restart_the_own_deliveries_are_retried_at_once(open_store: OpenStore) -> None:
    delivery = claimed(open_store("here"))
    restarted = open_store("here")
    assert take_over(restarted, NOW + 1) == [delivery.id]
    after = found(restarted, delivery.id)
    assert (after.status, after.error_code, after.attempts) == (Status.RETRYING, "Interrupted", 1)
    assert claim_all(restarted, now=NOW + 1) == ["study"]
    ends = [row.ended_at for row in restarted.history.attempts(delivery.id)]
    assert ends == [NOW + 1, None]


def test_what_another_living_router_sends_is_left_alone(open_store: OpenStore) -> None:
    here, there = open_store("here"), open_store("there")
    delivery = claimed(here)
    here.queue.renew_leases([delivery.lease], NOW + 50)
    assert take_over(there, NOW + LEASE + 40) == []
    assert found(here, delivery.id).status is Status.SENDING


def test_what_a_dead_router_sent_is_taken_over(open_store: OpenStore) -> None:
    here, there = open_store("here"), open_store("there")
    delivery = claimed(here)
    assert take_over(there, NOW + LEASE - 1) == []
    assert take_over(there, NOW + LEASE + 1) == [delivery.id]
    again = there.queue.claim(ARCHIVE, "lease-there", NOW + LEASE + 1)
    assert again is not None
    assert (again.owner, again.attempts) == ("there", 2)


def test_taking_over_leaves_what_waits_and_what_ended(store: Store) -> None:
    waiting = enqueued(store, "waits")
    done = ended(store, Status.COMPLETED, "done", destination="WORKSTATION")
    before = [rows_of(store, waiting), rows_of(store, done.id)]
    assert take_over(store, NOW + 1) == []
    assert [rows_of(store, waiting), rows_of(store, done.id)] == before


# --- cancel ----------------------------------------------------------------------------------------------------------


def test_a_waiting_delivery_is_canceled_at_once(store: Store) -> None:
    made = enqueued(store)
    assert store.queue.cancel(made, NOW + 3) is Status.CANCELED
    after = found(store, made)
    assert (after.status, after.completed_at, after.reason) == (Status.CANCELED, NOW + 3, "")
    assert claim_all(store) == []


def test_a_retrying_delivery_is_canceled_at_once(store: Store) -> None:
    delivery = claimed(store)
    store.queue.fail(delivery, BROKEN, 0, 0, NOW, NOW)
    assert store.queue.cancel(delivery.id, NOW) is Status.CANCELED
    assert claim_all(store) == []


def test_cancel_while_sending_ends_it_with_the_attempt(store: Store) -> None:
    for study, end in (
        ("fails", lambda each: store.queue.fail(each, BROKEN, 1, 0, NOW + 30, NOW)),
        ("fails for good", lambda each: store.queue.fail(each, NOT_UNDERSTOOD, 0, 1, None, NOW)),
        ("stops", lambda each: store.queue.defer(each, Reason.QUEUED, NOW, 1, 0, NOW)),
    ):
        delivery = claimed(store, study, lease=study)
        assert store.queue.cancel(delivery.id, NOW) is Status.SENDING
        assert found(store, delivery.id).status is Status.SENDING
        assert end(delivery)
        after = found(store, delivery.id)
        assert (after.status, after.completed_at) == (Status.CANCELED, NOW)
        assert not after.cancel_asked


def test_success_wins_over_cancel(store: Store) -> None:
    delivery = claimed(store)
    store.queue.cancel(delivery.id, NOW)
    assert store.queue.succeed(delivery, 3, 0, "Accepted", NOW)
    assert found(store, delivery.id).status is Status.COMPLETED


def test_a_cancel_that_was_asked_for_outlives_a_restart(store: Store) -> None:
    delivery = claimed(store)
    store.queue.cancel(delivery.id, NOW)
    take_over(store, NOW + 1)
    after = found(store, delivery.id)
    assert (after.status, after.completed_at, after.reason) == (Status.CANCELED, NOW + 1, "")
    assert claim_all(store) == []


def test_what_has_ended_cannot_be_canceled(store: Store) -> None:
    for status in sorted(FINAL):
        delivery = ended(store, status, study=status)
        before = rows_of(store, delivery.id)
        with pytest.raises(IllegalTransitionError):
            store.queue.cancel(delivery.id, NOW)
        assert rows_of(store, delivery.id) == before


def test_an_unknown_delivery_is_not_canceled(store: Store) -> None:
    assert store.queue.cancel(12345, NOW) is None


# --- a destination that is back --------------------------------------------------------------------------------------


def test_what_waits_for_a_dead_destination_is_due_when_it_is_back(store: Store) -> None:
    for study, error in (("dead", DEAD), ("broken", BROKEN), ("busy", BUSY)):
        store.queue.fail(claimed(store, study, lease=study), error, 0, 0, NOW + HOUR, NOW)
    elsewhere = claimed(store, "elsewhere", destination="WORKSTATION")
    store.queue.fail(elsewhere, DEAD, 0, 0, NOW + HOUR, NOW)
    store.queue.enqueue(new_delivery("later", due_at=NOW + HOUR), NOW)
    assert store.queue.wake_destination(ARCHIVE, NOW + 1) == 2
    assert claim_all(store, now=NOW + 1) == ["dead", "broken"]
    assert claim_all(store, "WORKSTATION", NOW + 1) == []


# --- the cost of a long queue ----------------------------------------------------------------------------------------


def questions(store: Store, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The statements, with their parameters, that `work` asks of the database."""
    asked: list[tuple[str, Any]] = []
    execute = store.database.execute_sql

    def listen(sql: str, params: Any = None, *more: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, *more)

    with session(store.database), monkeypatch.context() as patched:
        patched.setattr(store.database, "execute_sql", listen)
        work()
    return [each for each in asked if each[0].split(maxsplit=1)[0] in {"SELECT", "UPDATE", "DELETE"}]


LOOP: dict[str, Callable[[Store], object]] = {
    "wake_due": lambda store: store.queue.wake_due(NOW),
    "next_due": lambda store: store.queue.next_due(),
    "first_rank": lambda store: store.queue.first_rank(ARCHIVE),
    "claim": lambda store: store.queue.claim(ARCHIVE, "lease", NOW),
    "enqueue": lambda store: store.queue.enqueue(new_delivery("another"), NOW),
    "take_over": lambda store: take_over(store, NOW),
    "renew_leases": lambda store: store.queue.renew_leases(["lease"], NOW),
    "failover.due": lambda store: store.failover.due(NOW, [ARCHIVE]),
    "failover.next_due": lambda store: store.failover.next_due(),
}


@pytest.mark.parametrize("name", LOOP)
def test_no_question_of_the_loop_reads_the_whole_queue_or_history(
    sqlite_store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sqlite_store
    claimed(store, "busy")
    fill(store, 0, 500)
    fill(store, 1000, 500, Status.COMPLETED)
    asked = questions(store, lambda: LOOP[name](store), monkeypatch)
    assert asked
    for sql, params in asked:
        with session(store.database):
            told = store.database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()
        steps = [row[3] for row in told]
        assert steps
        for step in steps:
            assert "delivery_destination" not in step, f"{sql}: {steps}"
            assert "TEMP B-TREE FOR ORDER BY" not in step, f"{sql}: {steps}"
            assert not step.startswith("SCAN delivery") or "INDEX" in step, f"{sql}: {steps}"


def steps_of(store: Store, work: Callable[[], object]) -> int:
    """Hundreds of SQLite's own steps that `work` takes: as a clock that does not depend on the machine."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    with session(store.database):
        connection = store.database.connection()
        connection.set_progress_handler(count, 100)
        work()
        connection.set_progress_handler(None, 0)
    return counted


def test_the_loop_costs_as_much_among_20000_deliveries_as_among_200(sqlite_store: Store) -> None:
    store = sqlite_store
    claimed(store, "busy")
    fill(store, 0, 200)
    few = {name: steps_of(store, lambda work=work: work(store)) for name, work in LOOP.items()}
    fill(store, 1000, 20_000)
    fill(store, 50_000, 5000, Status.COMPLETED)
    many = {name: steps_of(store, lambda work=work: work(store)) for name, work in LOOP.items()}
    assert {name: steps for name, steps in many.items() if steps > 3 * few[name] + 5} == {}


def test_an_instance_that_is_refused_twice_is_named_once(store: Store) -> None:
    delivery = claimed(store)
    store.queue.refused(delivery, instance(1), NOT_UNDERSTOOD, NOW)
    store.queue.refused(delivery, instance(2), NOT_UNDERSTOOD, NOW)
    store.queue.refused(delivery, instance(1), STRANGER, NOW + 1)
    told = {each.instance_id: each.code for each in store.history.refusals(delivery.id)}
    assert told == {instance(2).id: NOT_UNDERSTOOD.code, instance(1).id: STRANGER.code}
    assert len(store.history.refusals(delivery.id)) == 2
