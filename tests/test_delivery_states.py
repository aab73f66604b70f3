# SPDX-License-Identifier: AGPL-3.0-or-later
"""The states of a delivery: the table, the database and the queue's methods say the same."""

from collections.abc import Callable
from contextlib import suppress

import peewee
import pytest

from builders import ARCHIVE, BROKEN, NOT_UNDERSTOOD, NOW, claimed, ended, enqueued, found, new_delivery, take_over
from dicom_router.deliveries.alternates import Alternates
from dicom_router.deliveries.delivery import (
    FINAL,
    OPEN,
    TRANSITIONS,
    WAITING,
    Delivery,
    Event,
    IllegalTransitionError,
    Reason,
    Status,
    allowed,
)
from dicom_router.store import schema
from dicom_router.store.database import session
from dicom_router.store.store import Store

PAIRS = [(event, status) for event in Event for status in Status]
GOOD = [pair for pair in PAIRS if pair in TRANSITIONS]
BAD = [pair for pair in PAIRS if pair not in TRANSITIONS]


def test_the_states_are_those_of_the_contract() -> None:
    names = {"Scheduled", "Sending", "Completed", "Warning", "Retrying", "Failed", "Canceled"}
    assert set(Status) == names
    assert names == OPEN | FINAL
    assert set() == OPEN & FINAL
    assert WAITING < OPEN


@pytest.mark.parametrize(("event", "status"), GOOD, ids=str)
def test_an_event_that_may_happen_leads_somewhere(event: Event, status: Status) -> None:
    assert allowed(event, status) == TRANSITIONS[event, status]
    assert allowed(event, status) <= set(Status)
    assert allowed(event, status)


def test_what_is_given_up_is_untold_and_the_next_of_its_first_of_gets_it(store: Store) -> None:
    delivery = in_state(store, Status.RETRYING, alternates=ALTERNATES)
    assert store.overdue.give_up(delivery, BROKEN, NOW)
    given_up, second = found(store, delivery.id), found(store, delivery.id + 1)
    assert (given_up.status, given_up.untold, given_up.error_code) == (Status.FAILED, True, BROKEN.code)
    assert (second.destination, second.status, second.study_id) == ("SECOND", Status.SCHEDULED, delivery.study_id)


@pytest.mark.parametrize(("event", "status"), BAD, ids=str)
def test_an_event_that_may_not_happen_is_refused(event: Event, status: Status) -> None:
    with pytest.raises(IllegalTransitionError) as refused:
        allowed(event, status)
    assert (refused.value.event, refused.value.status) == (event, status)


def test_what_has_ended_stays_so() -> None:
    assert not [(event, status) for event, status in TRANSITIONS if status in FINAL]


def test_every_state_can_be_reached_and_every_open_one_left() -> None:
    reached = {Status.SCHEDULED}.union(*TRANSITIONS.values())
    assert reached == set(Status)
    assert {status for _, status in TRANSITIONS} == OPEN


def test_no_waiting_delivery_becomes_sending_but_by_a_claim() -> None:
    starting = {
        event
        for (event, status), after in TRANSITIONS.items()
        if status is not Status.SENDING and Status.SENDING in after
    }
    assert starting == {Event.CLAIM}


# --- the database ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [*Status, "", "sending", "Waiting", "SCHEDULED"], ids=str)
def test_the_database_holds_exactly_the_states(store: Store, status: str) -> None:
    made = enqueued(store)
    write = schema.Delivery.update(status=status).where(schema.Delivery.id == made)
    with session(store.database):
        if status in set(Status):
            write.execute()
            assert found(store, made).status == status
        else:
            with pytest.raises(peewee.IntegrityError):
                write.execute()


# --- the methods -----------------------------------------------------------------------------------------------------

ALTERNATES = Alternates(("SECOND",), 600.0).to_text()
ALSO_WHEN_BACK = Alternates(("SECOND",), 600.0, and_when_back=True).to_text()


def in_state(store: Store, status: Status, *, cancel: bool = False, alternates: str = "") -> Delivery:
    """A delivery in this state."""
    changes = {"alternates": alternates, "failover_at": NOW + 600 if alternates else None}
    if status is Status.SCHEDULED:
        return found(store, enqueued(store, **changes))
    if status in FINAL:
        return ended(store, status, **changes)
    delivery = claimed(store, **changes)
    if status is Status.RETRYING:
        assert store.queue.fail(delivery, BROKEN, 0, 0, NOW, NOW)
        return found(store, delivery.id)
    if cancel:
        store.queue.cancel(delivery.id, NOW)
    return delivery


Act = Callable[[Store, Delivery], object]

METHODS: dict[Event, list[Act]] = {
    Event.CLAIM: [lambda store, _: store.queue.claim(ARCHIVE, "another lease", NOW)],
    Event.SUCCEED: [
        lambda store, each: store.queue.succeed(each, 3, 0, "Accepted", NOW),
        lambda store, each: store.queue.succeed(each, 2, 1, "Accepted", NOW),
    ],
    Event.FAIL_TRANSIENT: [
        lambda store, each: store.queue.fail(each, BROKEN, 0, 0, NOW + 30, NOW),
        lambda store, each: store.queue.fail(each, BROKEN, 0, 0, None, NOW),
        lambda store, each: store.queue.fail(each, BROKEN, 2, 0, None, NOW),
    ],
    Event.FAIL_PERMANENT: [
        lambda store, each: store.queue.fail(each, NOT_UNDERSTOOD, 0, 1, None, NOW),
        lambda store, each: store.queue.fail(each, NOT_UNDERSTOOD, 2, 1, None, NOW),
    ],
    Event.GIVE_UP: [lambda store, each: store.overdue.give_up(each, BROKEN, NOW)],
    Event.DEFER: [lambda store, each: store.queue.defer(each, Reason.PAUSED, NOW, 0, 0, NOW)],
    Event.OWNER_LOST: [lambda store, _: take_over(store, NOW)],
    Event.CANCEL: [lambda store, each: store.queue.cancel(each.id, NOW)],
    Event.FAIL_OVER: [lambda store, each: store.failover.fail_over(each, NOW)],
    Event.MOVE: [lambda store, each: store.failover.move(each, new_delivery(destination="SECOND"), NOW)],
}


def outcomes(store: Store, event: Event, status: Status) -> set[Status]:
    """The states in which a delivery can be after the event, over all the ways in which it can happen."""
    after = set()
    for act in METHODS[event]:
        for cancel in (False, True) if status is Status.SENDING and event is not Event.CANCEL else (False,):
            for alternates in (ALTERNATES, ALSO_WHEN_BACK) if event is Event.FAIL_OVER else ("",):
                delivery = in_state(store, status, cancel=cancel, alternates=alternates)
                act(store, delivery)
                after.add(found(store, delivery.id).status)
                clear(store)
    return after


def clear(store: Store) -> None:
    with session(store.database):
        schema.Delivery.delete().execute()


@pytest.mark.parametrize(("event", "status"), GOOD, ids=str)
def test_the_methods_reach_exactly_the_states_of_the_table(store: Store, event: Event, status: Status) -> None:
    assert outcomes(store, event, status) == TRANSITIONS[event, status]


@pytest.mark.parametrize(("event", "status"), BAD, ids=str)
def test_a_method_whose_event_may_not_happen_changes_nothing(store: Store, event: Event, status: Status) -> None:
    for act in METHODS[event]:
        before = in_state(store, status, alternates=ALTERNATES if event is Event.FAIL_OVER else "")
        before = found(store, before.id)
        with suppress(IllegalTransitionError):
            assert not act(store, before)
        assert found(store, before.id) == before
        clear(store)
