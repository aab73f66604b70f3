# SPDX-License-Identifier: AGPL-3.0-or-later
"""What runs while routing is not suspended: the rooms put together, and their threads from start to stop."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dicom_router.api.services import Engine, Services
from dicom_router.config import Settings
from dicom_router.dispatch.breaker import Breaker
from dicom_router.dispatch.dispatcher import Dispatcher
from dicom_router.dispatch.outside import Outside
from dicom_router.following import FollowingThread
from dicom_router.host import orthanc_settings
from dicom_router.host.index_mark import IndexMark
from dicom_router.host.sdk import OrthancHost
from dicom_router.housekeeping.cleanup import Cleanup, CleanupThread
from dicom_router.housekeeping.recycling import risk
from dicom_router.housekeeping.retention import HousekeepingThread, Retention
from dicom_router.intake.intake import Intake, IntakeThread, Tenure
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.problems import Problem
from dicom_router.routing.aftermath import Aftermath
from dicom_router.routing.backfill import Backfill
from dicom_router.routing.routing import Routed, Routing
from dicom_router.store.journal import Position
from dicom_router.store.location import processing_folder
from dicom_router.store.store import Store
from dicom_router.studies.listings import Listings
from dicom_router.transports.transport import JobState
from dicom_router.ways import Ways

OWN_JOBS_SECONDS = 1.0  # for the router's own jobs to end, once their connections are shut down


class Running:
    """Made of one open database and one Orthanc. `configuration`: Orthanc's; `owner`: the name of this Orthanc."""

    def __init__(
        self,
        host: OrthancHost,
        rest: OrthancRest,
        store: Store,
        services: Services,
        settings: Settings,
        configuration: Mapping[str, Any],
        owner: str,
    ) -> None:
        self._host = host
        self._rest = rest
        self._store = store
        self._services = services
        self._settings = settings
        self._configuration = configuration
        tenure = Tenure(store.reader, store.clock) if store.reader else None
        listings = Listings(time.monotonic)
        self._routing = routing = self._make_routing(listings)
        aftermath = Aftermath(store.runs, store.history, routing, services.shelf.all, store.clock, services.ring)
        self._ways = ways = Ways(
            rest,
            store,
            aftermath,
            configuration,
            services.neighbours.dicom_web_root,
            processing_folder(configuration, host.configuration_file(), owner),
            owner,
            self._job_ended,
            patient_data=settings.patient_data,
        )
        self._cleanup = self._make_cleanup(tenure)
        outside = Outside(
            ways.transport,
            rest,
            routing.effective,
            routing.opens,
            self._cleanup.ring,
            self._log,
            listings,
            store.clock,
            routing.visible,
        )
        self._dispatcher = Dispatcher(store, services.destinations, orthanc_settings.lanes(configuration), outside)
        self.engine = Engine(routing, self._dispatcher, ways.transport)
        self.backfill = Backfill(
            routing, store.clock, self._dispatcher.ring, self._log, orthanc_settings.most_found(configuration)
        )
        self._intake = self._make_intake(tenure)
        retention = Retention(store, rest, settings.history, store.clock)
        self._housekeeping = HousekeepingThread(retention, store, self._recycling, self._log)
        self._following = self._make_following(tenure) if tenure else None

    # From start to stop

    def start(self) -> None:
        """Begin."""
        self._plan_anew()
        self._dispatcher.start()
        self._intake.start()
        self._housekeeping.start()
        self._cleanup.start()
        if self._following is not None:
            self._following.start()
        self._log(f"routing runs with {len(self._services.shelf.all())} rules")

    def end(self) -> None:
        """Nothing new begins."""
        self._ways.end()
        self.backfill.stop()

    def stop(self) -> None:
        """End; joins the threads."""
        for thread in (self._following, self._intake, self._housekeeping, self._cleanup, self._dispatcher):
            if thread is not None:
                thread.stop()
        self._ways.join(OWN_JOBS_SECONDS)

    # What Orthanc tells

    def ring(self) -> None:
        """Something was received, or is stable."""
        self._intake.ring()

    def orthanc_job_ended(self, job_id: str, state: JobState) -> None:
        """One of Orthanc's jobs, ours or not."""
        self._ways.orthanc_job_ended(job_id, state)
        self._job_ended(job_id, state)

    def deleted(self, resource_id: str) -> None:
        """A study, or what is above or below one."""
        self._housekeeping.deleted(resource_id)

    # What is asked of it

    def breakers(self) -> Mapping[str, Breaker]:
        """How each destination answers."""
        return {name: self._dispatcher.breaker(name) for name in self._services.destinations}

    @property
    def recycling(self) -> tuple[bool, Problem | None]:
        """Whether it was looked at, and whether Orthanc may delete what is not sent yet."""
        return self._housekeeping.looked, self._housekeeping.warning

    # The rooms

    def _make_routing(self, listings: Listings) -> Routing:
        store = self._store
        return Routing(
            self._rest,
            store.journal,
            store.ledger,
            store.turns,
            store.queue,
            listings,
            self._services.destinations,
            self._services.shelf.all,
            store.clock,
            self._settings.time_zone,
            patient_data=self._settings.patient_data,
            results=store.runs,
        )

    def _make_cleanup(self, tenure: Tenure | None) -> CleanupThread:
        store, services = self._store, self._services
        ours = (lambda: tenure.ours) if tenure else (lambda: True)
        cleanup = Cleanup(
            store, self._rest, services.destinations, store.clock, self._log, ours, services.shelf.triggers
        )
        return CleanupThread(cleanup, store, self._log)

    def _make_intake(self, tenure: Tenure | None) -> IntakeThread:
        store = self._store
        intake = Intake(
            self._rest,
            store.journal,
            IndexMark(self._host, store.marks if store.shared else None),
            self._look_at,
            orthanc_settings.stable_age(self._configuration),
            self._log,
            self._services.shelf.triggers,
            tenure,
        )
        return IntakeThread(intake, time.monotonic, self._log, tenure)

    def _make_following(self, tenure: Tenure) -> FollowingThread:
        dispatcher = self._dispatcher
        return FollowingThread(
            self._store, self._services.load_rules, dispatcher.cancel_asked, dispatcher.ring, tenure.renew, self._log
        )

    # What they do together

    def _look_at(self, resource_id: str, trigger: str, position: Position) -> set[str]:
        routed = self._routing.look_at(resource_id, trigger, position)
        if routed.deliveries:
            self._dispatcher.ring()
        self._hear(routed)
        return routed.seen

    def _hear(self, routed: Routed) -> None:
        """Somebody of whom an alert would tell that he is silent has sent something."""
        awaited = self._settings.alerts.nothing_from
        if not awaited or routed.facts is None:
            return
        with suppress(OrthancError):  # what follows from the study is written already; it must not be looked at again
            times = {aet: at for aet, at in routed.facts.received().items() if aet in awaited}
            if times:
                self._store.heard.hear(times)

    def _plan_anew(self) -> None:
        """Schedules may have been changed before this start, and a window may open earlier than was planned."""
        store = self._store
        delayed = [rule.name for rule in self._services.shelf.all() if rule.delay]
        for name, destination in self._services.destinations.items():
            opens = self._routing.opens(destination, store.clock())
            if opens is not None:
                store.queue.plan_earlier(name, opens, delayed)

    def _job_ended(self, job_id: str, state: JobState) -> None:
        self._dispatcher.job_ended(job_id, state)

    def _recycling(self) -> Problem | None:
        return risk(self._rest, self._configuration, sum(self._store.history.count_open().values()))

    def _log(self, message: str) -> None:
        self._host.log_warning(f"dicom-router: {message}")
