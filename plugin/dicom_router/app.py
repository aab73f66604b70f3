# SPDX-License-Identifier: AGPL-3.0-or-later
"""The composition root: builds the rooms, owns the threads, starts and stops with Orthanc."""

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from dicom_router.alerting.alarms import Alarms
from dicom_router.api.http import Api
from dicom_router.api.routes import build
from dicom_router.api.services import Engine, Services
from dicom_router.api.web_page import WebPage, web_folder
from dicom_router.config import neighbours, parse
from dicom_router.dispatch.breaker import Breaker
from dicom_router.dispatch.dispatcher import Dispatcher
from dicom_router.dispatch.outside import Outside
from dicom_router.following import FollowingThread
from dicom_router.host import explorer, orthanc_settings
from dicom_router.host.index_mark import IndexMark
from dicom_router.host.sdk import Change, OrthancHost, Request, Response
from dicom_router.housekeeping.cleanup import Cleanup, CleanupThread
from dicom_router.housekeeping.recycling import risk
from dicom_router.housekeeping.retention import HousekeepingThread, Retention
from dicom_router.housekeeping.safekeeping import SafekeepingThread
from dicom_router.intake.intake import Intake, IntakeThread, Tenure
from dicom_router.intake.starting_place import StartingPlace
from dicom_router.orthanc_rest import HttpRest, OrthancError, SdkRest, connect
from dicom_router.problems import Problem
from dicom_router.routing.aftermath import Aftermath
from dicom_router.routing.backfill import Backfill
from dicom_router.routing.routing import Routed, Routing
from dicom_router.rules.shelf import RuleShelf
from dicom_router.store.database import LOST, StoreError, UnreachableError
from dicom_router.store.journal import Position
from dicom_router.store.location import database_place, owner, processing_folder, told_place
from dicom_router.store.opening import OpeningThread
from dicom_router.store.store import Store, open_store
from dicom_router.studies.listings import Listings
from dicom_router.transports.transport import JobState
from dicom_router.ways import Ways

START_SECONDS = 20.0
RETIRE_SECONDS = 30.0  # for the requests that read a database which is to be replaced
OWN_JOBS_SECONDS = 1.0  # for the router's own jobs to end, once their connections are shut down


class Router:
    """The router in one Orthanc."""

    def __init__(self, host: OrthancHost) -> None:
        self._host = host
        self._starting_place = StartingPlace(host, time.time())
        self._configuration: dict[str, Any] = host.configuration()
        known = neighbours(self._configuration)
        self._settings, problems = parse(self._configuration.get("Router", {}), known)
        self._services = Services(clock=time.time, neighbours=known, problems=list(problems))
        self._services.zone = self._settings.time_zone
        self._services.destinations = dict(self._settings.destinations)
        self._services.shelf = RuleShelf(self._settings.rules)
        if not self._settings.enable:
            self._services.problems.append(Problem("Router.Enable", "The router is switched off; nothing is lost."))
        self._services.configured_warnings = self._services.warnings = orthanc_settings.warnings(self._configuration)
        self._api: Api = build(self._services)
        self._web_page = WebPage(web_folder())
        explorer.extend(host, web_folder())
        self._started = threading.Event()
        self._rest: HttpRest | SdkRest | None = None
        self._intake: IntakeThread | None = None
        self._dispatcher: Dispatcher | None = None
        self._housekeeping: HousekeepingThread | None = None
        self._cleanup: CleanupThread | None = None
        self._alarms = Alarms(
            self._configuration,
            self._settings,
            self._services.problems,
            self._owner,
            self._breakers,
            self._recycling_now,
            time.time,
            time.monotonic,
            self._log,
        )
        self._following: FollowingThread | None = None
        self._opening: OpeningThread | None = None
        self._safekeeping: SafekeepingThread | None = None
        self._damaged: Store | None = None
        self._stopping = False
        self._ways: Ways | None = None

    # Called by Orthanc

    def handle(self, request: Request) -> Response:
        """Answer a request below /router; one that comes while Orthanc still starts waits for that."""
        if self._web_page.owns(request.path):
            return self._web_page.answer(request)
        self._started.wait(START_SECONDS)
        return self._api.handle(request)

    def on_change(self, change: Change, resource_id: str) -> None:
        """Ring the right bell; nothing here takes long. Most changes are instances that Orthanc is receiving."""
        if change is Change.NEW_INSTANCE:
            if Change.NEW_INSTANCE.value in self._services.shelf.triggers():
                self._ring_intake()
        elif change is Change.STABLE:
            self._ring_intake()
        elif change is Change.JOB_SUCCESS:
            self._orthanc_job_ended(resource_id, JobState.SUCCESS)
        elif change is Change.JOB_FAILURE:
            self._orthanc_job_ended(resource_id, JobState.FAILURE)
        elif change is Change.DELETED:
            if self._housekeeping is not None:
                self._housekeeping.deleted(resource_id)
        elif change is Change.STARTED:
            try:
                self._start()
                self._alarms.start(self._services.store)
            finally:
                self._started.set()
        elif change is Change.STOPPED:
            self._stop()

    def _ring_intake(self) -> None:
        if self._intake is not None:
            self._intake.ring()

    def _orthanc_job_ended(self, job_id: str, state: JobState) -> None:
        if self._ways is not None:
            self._ways.orthanc_job_ended(job_id, state)
        self._job_ended(job_id, state)

    def _job_ended(self, job_id: str, state: JobState) -> None:
        if self._dispatcher is not None:
            self._dispatcher.job_ended(job_id, state)

    # Starting and stopping

    def _start(self) -> None:
        self._rest = connect(self._host, self._configuration)
        self._services.rest = self._rest
        self._services.orthanc_version = str(self._rest.get("/system")["Version"])
        self._learn_queries(self._rest)
        try:
            self._begin(self._open_store())
        except StoreError as problem:
            self._starting_place.remember(self._rest, time.time())
            if self._damaged is not None:  # that is told, and being mended
                return
            self._suspend(Problem("Router.Database", str(problem)))
            if isinstance(problem, UnreachableError):
                self._opening = OpeningThread(partial(self._open_again, self._services.problems[-1]))
                self._opening.start()

    def _begin(self, store: Store) -> None:
        """With an open database: route, unless something is wrong with the configuration."""
        self._services.store = store
        self._services.clock = store.clock
        if store.file is not None:
            store.file.on_damage = partial(self._met_damage, store)
        if told := store.damage_told():
            self._host.log_error(f"dicom-router: {told}")
        try:
            self._services.load_rules()  # also while routing is suspended, to be seen and mended
            if self._services.problems:
                self._tell_suspended()
            elif self._rest is not None:
                self._run(store, self._rest)
        except LOST as problem:
            self._services.store = None
            raise UnreachableError(f"The router's database does not answer any more: {problem}") from problem
        if store.rescue is not None:
            self._safekeeping = SafekeepingThread(store, store.rescue, self._log)
            self._safekeeping.start()

    def _open_again(self, told: Problem) -> bool:
        """The server of the database did not answer at the start, as `told`. True once it does."""
        try:
            store = self._open_store()
            self._services.problems.remove(told)
            self._alarms.stop()  # theirs is a makeshift database
            self._begin(store)
            self._alarms.start(self._services.store)
        except UnreachableError:
            if told not in self._services.problems:
                self._services.problems.append(told)
            return False
        except Exception as problem:  # noqa: BLE001 - nobody else would tell
            self._suspend(Problem("Router.Database", f"The router could not begin: {problem}"))
        return True

    def _met_damage(self, store: Store, reason: str) -> None:
        """SQLite says that its file is damaged. It is replaced while Orthanc runs, but once only: disks fail too."""
        if self._damaged is store:
            return
        again, self._damaged = self._damaged is not None, store
        remedy = "Look after its disk, then restart Orthanc." if again else "It is put aside, and a fresh one made."
        problem = Problem(
            "Router.Database", f"The database is damaged ({reason}). Orthanc receives, and nothing is lost. {remedy}"
        )
        if store.rescue is not None:
            with suppress(OSError):
                store.rescue.damaged(reason)
        self._suspend(problem)
        if not again and not self._stopping:
            self._opening = OpeningThread(partial(self._begin_anew, problem))
            self._opening.start()

    def _begin_anew(self, told: Problem) -> bool:
        """With another database, after this one was damaged, as `told`. True once that works."""
        self._stop_routing()
        store, self._services.store = self._services.store, None
        if store is not None and store.file is not None:
            store.file.retire(RETIRE_SECONDS)  # else SQLite would remove the log of the fresh one at their end
        return self._open_again(told)

    def _learn_queries(self, rest: HttpRest | SdkRest) -> None:
        try:
            if isinstance(rest, HttpRest):  # without Orthanc's HTTP port nobody asks anything
                self._host.learn_queries(rest.get)
        except OrthancError as problem:
            self._log(
                f"queries are decoded as Orthanc 1.10 needs it; how this one does could not be learned: {problem}"
            )

    def _open_store(self) -> Store:
        wanted = told_place(self._configuration)
        try:
            place = database_place(wanted or "", self._configuration, self._host.configuration_file())
        except ValueError as problem:
            raise StoreError(f"The address of the database {problem}") from None
        self._services.database_name = f"SQLite {place.name}" if isinstance(place, Path) else str(place)
        store = open_store(place, self._owner(), time.time)
        try:
            store.begin()
            if self._rest is not None:
                self._starting_place.keep(store, self._rest, time.time(), stopgap=wanted is None)
        except LOST as problem:
            raise UnreachableError(f"The router's database does not answer any more: {problem}") from problem
        return store

    def _owner(self) -> str:
        return owner(self._configuration, self._host.server_identifier())

    def _run(self, store: Store, rest: HttpRest | SdkRest) -> None:
        listings = Listings(time.monotonic)
        routing = Routing(
            rest,
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
        aftermath = Aftermath(
            store.runs, store.history, routing, self._services.shelf.all, store.clock, self._services.ring
        )
        self._ways = ways = Ways(
            rest,
            store,
            aftermath,
            self._configuration,
            self._services.neighbours.dicom_web_root,
            processing_folder(self._configuration, self._host.configuration_file(), self._owner()),
            self._owner(),
            self._job_ended,
            patient_data=self._settings.patient_data,
        )
        tenure = Tenure(store.reader, store.clock) if store.reader else None
        ours = (lambda: tenure.ours) if tenure else (lambda: True)
        cleanup = Cleanup(
            store, rest, self._services.destinations, store.clock, self._log, ours, self._services.shelf.triggers
        )
        self._cleanup = CleanupThread(cleanup, store, self._log)
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
        dispatcher = Dispatcher(
            store, self._services.destinations, orthanc_settings.lanes(self._configuration), outside
        )
        self._services.engine = Engine(routing, dispatcher, ways.transport)
        self._services.backfill = Backfill(routing, store.clock, dispatcher.ring, self._log)
        intake = Intake(
            rest,
            store.journal,
            IndexMark(self._host, store.marks if store.shared else None),
            self._look_at,
            orthanc_settings.stable_age(self._configuration),
            self._log,
            self._services.shelf.triggers,
            tenure,
        )
        self._dispatcher = dispatcher
        self._intake = IntakeThread(intake, time.monotonic, self._log, tenure)
        retention = Retention(store, rest, self._settings.history, store.clock)
        self._housekeeping = HousekeepingThread(retention, store, partial(self._recycling, store, rest), self._log)
        self._services.live_warning = self._recycling_warning
        self._plan_anew(store, routing)
        dispatcher.start()
        self._intake.start()
        self._housekeeping.start()
        self._cleanup.start()
        if store.shared:
            self._following = FollowingThread(
                store, self._services.load_rules, dispatcher.cancel_asked, dispatcher.ring, self._log
            )
            self._following.start()
        self._log(f"routing runs with {len(self._services.shelf.all())} rules")

    def _plan_anew(self, store: Store, routing: Routing) -> None:
        """Schedules may have been changed before this start, and a window may open earlier than was planned."""
        delayed = [rule.name for rule in self._services.shelf.all() if rule.delay]
        for name, destination in self._services.destinations.items():
            opens = routing.opens(destination, store.clock())
            if opens is not None:
                store.queue.plan_earlier(name, opens, delayed)

    def _stop(self) -> None:
        self._stopping = True
        if self._opening is not None:
            self._opening.stop()
        self._stop_routing()
        self._host.stop_listening()
        if self._rest is not None:
            self._rest.close()

    def _stop_routing(self) -> None:
        if self._ways is not None:
            self._ways.end()
        if self._services.backfill is not None:
            self._services.backfill.stop()
        self._alarms.stop()
        threads = (self._following, self._intake, self._housekeeping, self._cleanup, self._dispatcher)
        for thread in (*threads, self._safekeeping):
            if thread is not None:
                thread.stop()
        self._services.engine = None
        if self._ways is not None:
            self._ways.join(OWN_JOBS_SECONDS)
        if self._services.store is not None:
            self._services.store.close()

    def _look_at(self, study_id: str, trigger: str, position: Position) -> set[str]:
        engine = self._services.engine
        if engine is None:
            raise StoreError("The router is stopping.")
        routed = engine.routing.look_at(study_id, trigger, position)
        if routed.deliveries:
            engine.dispatcher.ring()
        self._hear(routed)
        return routed.seen

    def _hear(self, routed: Routed) -> None:
        """Somebody of whom an alert would tell that he is silent has sent something."""
        awaited = self._settings.alerts.nothing_from
        store = self._services.store
        if not awaited or store is None or routed.facts is None:
            return
        with suppress(OrthancError):  # what follows from the study is written already; it must not be looked at again
            times = {aet: at for aet, at in routed.facts.received().items() if aet in awaited}
            if times:
                store.heard.hear(times)

    # What is told

    def _suspend(self, problem: Problem) -> None:
        self._services.problems.append(problem)
        self._tell_suspended()

    def _tell_suspended(self) -> None:
        self._host.log_error("dicom-router: routing is suspended; Orthanc receives, and nothing is lost.")
        for problem in self._services.problems:
            self._host.log_error(f"dicom-router: {problem.path}: {problem.message}")

    def _recycling(self, store: Store, rest: HttpRest | SdkRest) -> Problem | None:
        return risk(rest, self._configuration, sum(store.history.count_open().values()))

    def _recycling_warning(self) -> Problem | None:
        return self._housekeeping.warning if self._housekeeping else None

    def _breakers(self) -> Mapping[str, Breaker]:
        engine = self._services.engine
        return {name: engine.dispatcher.breaker(name) for name in self._services.destinations} if engine else {}

    def _recycling_now(self) -> tuple[bool, Problem | None]:
        return bool(self._housekeeping and self._housekeeping.looked), self._recycling_warning()

    def _log(self, message: str) -> None:
        self._host.log_warning(f"dicom-router: {message}")
