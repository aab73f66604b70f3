# SPDX-License-Identifier: AGPL-3.0-or-later
"""What alerts are about, looked at: destinations, the queue, who sends, the configuration, Orthanc's room."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Protocol

from dicom_router.alerts import wording
from dicom_router.alerts.alert import AlertKind, Observation
from dicom_router.alerts.settings import AlertSettings, Silence
from dicom_router.problems import Problem
from dicom_router.store.store import Store

QUEUE_SECONDS = 60.0  # between two looks at what waits: with a million waiting deliveries one takes a second
GRACE = 900.0  # seconds after a start in which nobody is called silent: Orthanc was away itself


class Health(Protocol):
    """What the dispatcher knows of a destination (dispatch.breaker.Breaker)."""

    held: bool
    last_error: str
    last_success: float | None


class Watch:
    """Looks at everything. One thread calls it."""

    def __init__(
        self,
        settings: AlertSettings,
        store: Store,
        problems: Callable[[], Sequence[Problem]],
        health: Callable[[], Mapping[str, Health]],
        recycling: Callable[[], tuple[bool, Problem | None]],
        zone: tzinfo,
        started: float,
    ) -> None:
        """`health` by destination; `recycling` answers whether it is known yet, and the warning."""
        self._settings = settings
        self._store = store
        self._problems = problems
        self._health = health
        self._recycling = recycling
        self._zone = zone
        self._started = started
        self._was_held: set[str] = set()
        self._look_at_queue = 0.0

    def look(self, now: float) -> list[Observation]:
        """What holds, what does not, and what is not known; while routing is suspended that alone is known."""
        problems = self._problems()
        observed = [wording.suspended(problems)]
        if problems:
            return observed
        observed += [self._destination(name, health) for name, health in self._health().items()]
        observed += [self._sender(aet, silence, now) for aet, silence in self._settings.nothing_from.items()]
        known, warning = self._recycling()
        observed += [wording.recycling(warning)] if known else []
        if not 0 <= self._look_at_queue - now <= QUEUE_SECONDS:
            self._look_at_queue = now + QUEUE_SECONDS
            observed += self._queue(now)
        return observed

    def subjects(self) -> Mapping[AlertKind, Collection[str]]:
        """What is watched; nothing is said of what is not known now."""
        if self._problems():
            return {}
        return {
            AlertKind.DESTINATION_HELD: self._health().keys(),
            AlertKind.NOTHING_RECEIVED: self._settings.nothing_from.keys(),
        }

    def _destination(self, name: str, health: Health) -> Observation:
        if health.held:
            self._was_held.add(name)
            return wording.held(name, health.last_error)
        # After a restart nobody knows whether it answers before it has.
        return wording.answers(name, known=name in self._was_held or health.last_success is not None)

    def _queue(self, now: float) -> list[Observation]:
        longest = self._settings.waiting_longer_than
        late = self._store.alert_book.late(now - longest) if longest else []
        found = [wording.waiting(each.destination, each.number, each.oldest, longest) for each in late]
        told = {key.subject for key in self._store.alert_book.told() if key.kind is AlertKind.STUDY_WAITING}
        return found + [wording.not_waiting(name, longest) for name in told - {each.destination for each in late}]

    def _sender(self, aet: str, silence: Silence, now: float) -> Observation:
        last = self._store.heard.last(aet, now)
        patient_until = max(last + silence.longest, self._started + min(silence.longest, GRACE))
        expected = self._is_open(silence, now) and self._is_open(silence, now - silence.longest)
        if now < last + silence.longest:
            return wording.sends(aet)
        if now < patient_until or not expected:
            return Observation(wording.sends(aet).key, None)
        return wording.silent(aet, last, silence.longest)

    def _is_open(self, silence: Silence, at: float) -> bool:
        return silence.schedule.is_open(datetime.fromtimestamp(at, self._zone))
