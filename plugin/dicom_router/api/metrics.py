# SPDX-License-Identifier: AGPL-3.0-or-later
"""/router/metrics, for Prometheus."""

import time
from collections.abc import Sequence
from contextlib import suppress

from dicom_router import __version__
from dicom_router.api.destinations import state_of as destination_state
from dicom_router.api.http import HEADERS, Call, Endpoint
from dicom_router.api.services import Services
from dicom_router.api.status import state_of
from dicom_router.host.sdk import Response
from dicom_router.metrics import CONTENT_TYPE, DestinationState, Intake, Snapshot, exposition
from dicom_router.orthanc_rest import OrthancError
from dicom_router.store.database import LOST
from dicom_router.store.store import Store
from dicom_router.store.tallies import OpenDeliveries

ORTHANC_SECONDS = 2.0  # for Orthanc to tell how long its change log is; a scrape must not wait for long
REST_AFTER_COUNTING = 20  # counting a million waiting deliveries takes a moment: at most a twentieth of the time


class MetricsRoutes:
    """One look at the router for each scrape."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._waiting: Sequence[OpenDeliveries] = ()
        self._count_again = 0.0

    def endpoints(self) -> list[Endpoint]:
        """The route."""
        return [Endpoint("GET", "/metrics", "Metrics in the text format of Prometheus", self.metrics, None)]

    def metrics(self, _call: Call) -> Response:
        """Never an error: also while routing is suspended, and while the database does not answer."""
        try:
            snapshot = self._snapshot(self._services.store)
        except LOST:
            snapshot = self._snapshot(None)
        return Response(exposition(snapshot), CONTENT_TYPE, headers=HEADERS)

    def _snapshot(self, store: Store | None) -> Snapshot:
        services = self._services
        alerts, unsent = store.alert_book.counts() if store else ({}, {})
        return Snapshot(
            now=services.clock(),
            version=__version__,
            orthanc=services.orthanc_version,
            state=state_of(services, store),
            problems=len(services.problems),
            recycling_near=services.live_warning() is not None,
            destinations=self._destinations(),
            intake=self._intake(store) if store else None,
            deliveries=store.tallies.deliveries() if store else (),
            decisions=store.tallies.decisions() if store else (),
            attempts=store.tallies.attempts() if store else (),
            waiting=self._open_deliveries(store) if store else (),
            alerts=alerts,
            unsent_alerts=unsent,
        )

    def _destinations(self) -> list[DestinationState]:
        engine = self._services.engine
        if engine is None:
            return []
        dispatcher = engine.dispatcher
        return [
            DestinationState(name, not dispatcher.breaker(name).held, destination_state(dispatcher.blocked(name)))
            for name in self._services.destinations
        ]

    def _intake(self, store: Store) -> Intake | None:
        position = store.journal.position()
        if position is None:
            return None
        behind = None
        if self._services.rest is not None:
            with suppress(OrthancError):
                last = int(self._services.rest.get("/changes?last", timeout=ORTHANC_SECONDS)["Last"])
                behind = max(0, last - position.seq)  # the last rows go with what was deleted
        return Intake(position.seq, position.settled_seq, behind)

    def _open_deliveries(self, store: Store) -> Sequence[OpenDeliveries]:
        began = time.monotonic()
        if began >= self._count_again:
            self._waiting = store.tallies.open_deliveries()
            ended = time.monotonic()
            self._count_again = ended + REST_AFTER_COUNTING * (ended - began)
        return self._waiting
