# SPDX-License-Identifier: AGPL-3.0-or-later
"""Why a delivery waits and when it can go, as the history shows it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from builders import ARCHIVE, BROKEN, BUSY, NOW, claimed, configured, enqueued
from dicom_router.deliveries.delivery import Priority, Reason
from dicom_router.dispatch.dispatcher import Blocked
from dicom_router.store.store import Store
from rest_client import Client

HOUR = 3600.0
MINUTE = 60.0
# NOW is 11:06:40.
OPEN_UNTIL_NOON = "08:00-12:00"
OPEN_AT_NIGHT = "19:00-07:00"
TONIGHT, TOMORROW = "2026-11-18T19:00:00Z", "2026-11-19T08:00:00Z"


def client(store: Store, schedule: str = "") -> Client:
    archive = {"Modality": "ARCHIVE"} | ({"Schedule": schedule} if schedule else {})
    section = {"TimeZone": "UTC", "Destinations": {ARCHIVE: archive}}
    return Client(store, configured(section))


def told(client: Client, delivery: int) -> tuple[str, str | None]:
    answer = client.get(f"/history/{delivery}")
    return answer["Reason"], answer["NextAttempt"]


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def retrying(store: Store, retry_at: float, error: Any = BUSY) -> int:
    delivery = claimed(store)
    assert store.queue.fail(delivery, error, 0, 0, retry_at, NOW)
    return delivery.id


@pytest.mark.parametrize("woken", [False, True])
def test_what_has_waited_for_its_delay_waits_for_a_lane(store: Store, *, woken: bool) -> None:
    made = enqueued(store, due_at=NOW + 3, reason=Reason.DELAY)
    shown = client(store)
    assert told(shown, made) == (Reason.DELAY, at(NOW + 3))
    if woken:
        store.queue.wake_due(NOW + 3)
    shown.now = NOW + MINUTE
    assert told(shown, made) == (Reason.QUEUED, at(NOW + MINUTE))


def test_an_attempt_that_is_due_waits_for_a_lane(store: Store) -> None:
    made = retrying(store, NOW + 30)
    shown = client(store)
    assert told(shown, made) == (Reason.RETRY, at(NOW + 30))
    shown.now = NOW + MINUTE
    assert told(shown, made) == (Reason.QUEUED, at(NOW + MINUTE))


@pytest.mark.parametrize(("pause", "expected"), [(HOUR, (Reason.WINDOW, TOMORROW)), (MINUTE, (Reason.RETRY, None))])
def test_the_next_attempt_is_in_the_window(store: Store, pause: float, expected: tuple[str, str | None]) -> None:
    reason, time = expected
    assert told(client(store, OPEN_UNTIL_NOON), retrying(store, NOW + pause)) == (reason, time or at(NOW + pause))


def test_the_next_attempt_is_in_the_window_of_the_rule(store: Store) -> None:
    made = enqueued(store, options=json.dumps({"Send": {}, "Schedule": OPEN_AT_NIGHT}))
    assert told(client(store), made) == (Reason.WINDOW, TONIGHT)


def test_windows_of_rule_and_destination_must_both_be_open(store: Store) -> None:
    options = json.dumps({"Send": {"Schedule": "10:00-20:00"}, "Schedule": None})
    made = enqueued(store, options=options, at=NOW)
    assert told(client(store, OPEN_AT_NIGHT), made) == (Reason.WINDOW, TONIGHT)


def test_what_never_opens_has_no_planned_time(store: Store) -> None:
    options = json.dumps({"Send": {}, "Schedule": "13:00-14:00"})
    assert told(client(store, OPEN_UNTIL_NOON), enqueued(store, options=options)) == (Reason.WINDOW, None)


def test_what_is_urgent_waits_for_no_window(store: Store) -> None:
    made = enqueued(store, priority=Priority.URGENT)
    assert told(client(store, OPEN_AT_NIGHT), made) == (Reason.QUEUED, at(NOW))


def test_a_held_destination_decides_only_until_its_window_closes(store: Store) -> None:
    made = enqueued(store)
    shown = client(store, OPEN_UNTIL_NOON)
    shown.dispatcher.blocks[ARCHIVE] = Blocked(Reason.HELD, NOW + 30)
    assert told(shown, made) == (Reason.HELD, at(NOW + 30))
    shown.now = NOW + HOUR
    shown.dispatcher.blocks[ARCHIVE] = Blocked(Reason.HELD, NOW + HOUR + 30)
    assert told(shown, made) == (Reason.WINDOW, TOMORROW)


def test_what_is_woken_with_its_destination_goes_as_soon_as_that_is_back(store: Store) -> None:
    shown = client(store)
    shown.dispatcher.blocks[ARCHIVE] = Blocked(Reason.HELD, NOW + 30)
    assert told(shown, retrying(store, NOW + HOUR, BROKEN)) == (Reason.HELD, at(NOW + 30))


def test_a_delay_that_outlasts_the_probe_decides(store: Store) -> None:
    shown = client(store)
    shown.dispatcher.blocks[ARCHIVE] = Blocked(Reason.HELD, NOW + 30)
    made = enqueued(store, due_at=NOW + HOUR, reason=Reason.DELAY)
    assert told(shown, made) == (Reason.DELAY, at(NOW + HOUR))


def test_nobody_knows_when_a_pause_ends(store: Store) -> None:
    shown = client(store)
    shown.dispatcher.blocks[ARCHIVE] = Blocked(Reason.PAUSED)
    assert told(shown, enqueued(store)) == (Reason.PAUSED, None)
