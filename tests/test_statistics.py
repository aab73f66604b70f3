# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deliveries over time: each is counted in the hour in which it was made and in the one in which it ended."""

import pytest

from builders import ARCHIVE, NOT_UNDERSTOOD, NOW, configured, enqueued, found
from dicom_router.deliveries.delivery import Status
from dicom_router.store.statistics import Hour, Statistics
from dicom_router.store.store import Store
from rest_client import Client

HOUR = 3600
RUNNING = NOW // HOUR * HOUR


def delivered(store: Store, study: str, made: float, ended: float, *, well: bool = True) -> None:
    delivery_id = enqueued(store, study, at=made)
    store.queue.wake_due(made)
    assert store.queue.claim(ARCHIVE, "lease", made)
    delivery = found(store, delivery_id)
    if well:
        assert store.queue.succeed(delivery, 3, 0, "Accepted", ended)
    else:
        assert store.queue.fail(delivery, NOT_UNDERSTOOD, 0, 1, None, ended)


def test_an_hour_tells_what_was_made_what_ended_and_what_had_not(store: Store) -> None:
    delivered(store, "a", RUNNING - 2 * HOUR, RUNNING - 2 * HOUR + 5)
    delivered(store, "b", RUNNING - 2 * HOUR + 10, RUNNING - 1)
    delivered(store, "c", RUNNING - HOUR, RUNNING + 1, well=False)
    enqueued(store, "d", at=RUNNING + 2)
    assert Statistics(store.database).hours(3, RUNNING + 100) == [
        Hour(RUNNING - 2 * HOUR, 2, {Status.COMPLETED: 1}, 1),
        Hour(RUNNING - HOUR, 1, {Status.COMPLETED: 1}, 1),
        Hour(RUNNING, 1, {Status.FAILED: 1}, 1),
    ]


def test_nothing_at_all_is_zero(store: Store) -> None:
    assert Statistics(store.database).hours(2, NOW) == [Hour(RUNNING - HOUR, 0, {}, 0), Hour(RUNNING, 0, {}, 0)]


def test_rest_gives_a_day_or_what_is_asked_for(store: Store) -> None:
    client = Client(store, configured({}))
    enqueued(store)
    assert len(client.get("/statistics")["Hours"]) == 24
    (running,) = client.get("/statistics", hours="1")["Hours"]
    assert (running["Made"], running["Open"], running["Completed"]) == (1, 1, 0)


@pytest.mark.parametrize("hours", ["0", "169", "-1", "x", "1.5", "٣", "9" * 5000])
def test_a_wrong_number_of_hours_is_refused(store: Store, hours: str) -> None:
    status, answer = Client(store, configured({})).call("GET", "/statistics", query={"hours": hours})
    assert status == 400
    assert answer["Problems"][0]["Path"] == "hours"
