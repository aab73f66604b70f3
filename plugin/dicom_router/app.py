# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router in one Orthanc: opens its database, routes unless something is wrong, starts and stops with Orthanc."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from dicom_router.alerting.alarms import Alarms
from dicom_router.api.http import Api
from dicom_router.api.routes import build
from dicom_router.api.services import Services
from dicom_router.api.web_page import WebPage, web_folder
from dicom_router.config import neighbours, parse
from dicom_router.dispatch.breaker import Breaker
from dicom_router.host import explorer, orthanc_settings
from dicom_router.host.sdk import Change, OrthancHost, Request, Response
from dicom_router.housekeeping.safekeeping import SafekeepingThread
from dicom_router.intake.starting_place import StartingPlace
from dicom_router.orthanc_rest import HttpRest, OrthancError, SdkRest, connect
from dicom_router.problems import Problem
from dicom_router.rules.shelf import RuleShelf
from dicom_router.running import Running
from dicom_router.store.database import LOST, StoreError, UnreachableError
from dicom_router.store.location import database_place, owner, told_place
from dicom_router.store.opening import OpeningThread
from dicom_router.store.store import Store, open_store
from dicom_router.transports.transport import JobState
from dicom_router.unexpected import kind_and_place

START_SECONDS = 20.0
RETIRE_SECONDS = 30.0  # for the requests that read a database which is to be replaced


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
        self._running: Running | None = None
        self._alarms = Alarms(
            self._configuration,
            self._settings,
            self._services.problems,
            self._owner,
            self._breakers,
            self._recycling,
            time.time,
            time.monotonic,
            self._log,
        )
        self._opening: list[OpeningThread] = []
        self._safekeeping: SafekeepingThread | None = None
        self._damaged: Store | None = None
        self._stopping = False

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
            if self._running is not None:
                self._running.deleted(resource_id)
        elif change is Change.STARTED:
            try:
                self._start()
                self._start_alarms()
            finally:
                self._started.set()
        elif change is Change.STOPPED:
            self._stop()

    def _ring_intake(self) -> None:
        if self._running is not None:
            self._running.ring()

    def _orthanc_job_ended(self, job_id: str, state: JobState) -> None:
        if self._running is not None:
            self._running.orthanc_job_ended(job_id, state)

    # Starting and stopping

    def _start(self) -> None:
        try:
            self._connect()
            self._begin(self._open_store())
        except StoreError as problem:
            self._remember_place()
            if self._damaged is not None:  # that is told, and being mended
                return
            told = Problem("Router.Database", str(problem))
            self._suspend(told)
            if isinstance(problem, UnreachableError):
                self._open_later(told)
        except Exception as problem:  # noqa: BLE001 - Orthanc could not be asked just now, perhaps; nobody else would tell
            self._remember_place()
            met = kind_and_place(problem)
            told = Problem("Router", f"The router could not begin, and tries again by itself: {met}.")
            self._suspend(told)
            self._open_later(told)

    def _connect(self) -> None:
        self._rest = connect(self._host, self._configuration)
        self._services.rest = self._rest
        self._services.orthanc_version = str(self._rest.get("/system")["Version"])
        self._learn_queries(self._rest)

    def _remember_place(self) -> None:
        """What arrives from now on is to be routed once the database can be opened."""
        try:
            if self._rest is not None:
                self._starting_place.remember(self._rest, time.time())
        except Exception as problem:  # noqa: BLE001 - the next try remembers it
            self._log(f"where the first start was could not be written down: {kind_and_place(problem)}")

    def _open_later(self, told: Problem) -> None:
        self._start_opening(partial(self._open_again, told))

    def _start_opening(self, opened: Callable[[], bool]) -> None:
        thread = OpeningThread(opened)
        self._opening.append(thread)
        thread.start()

    def _start_alarms(self) -> None:
        try:
            self._alarms.start(self._services.store)
        except Exception as problem:  # noqa: BLE001 - routing goes on without them
            self._log(f"alerts could not begin: {kind_and_place(problem)}")

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
        except Exception as problem:
            self._services.store = None
            store.close()  # another try opens it again
            if isinstance(problem, LOST):
                raise _lost(problem) from problem
            raise
        if store.rescue is not None:
            self._safekeeping = SafekeepingThread(store, store.rescue, self._log)
            self._safekeeping.start()

    def _open_again(self, told: Problem) -> bool:
        """What kept routing from beginning, as `told`, may be over. True: no more tries are needed."""
        try:
            return self._try_again(told)
        finally:
            if not self._alarms.running:
                self._start_alarms()

    def _try_again(self, told: Problem) -> bool:
        try:
            if self._rest is None or not self._services.orthanc_version:
                self._connect()
            store = self._open_store()
        except StoreError as problem:
            if isinstance(problem, UnreachableError):
                return False
            self._suspend(Problem("Router.Database", f"The router could not begin: {problem}"))
            return True
        except Exception:  # noqa: BLE001 - as at the start, which was told; the next try may do better
            self._remember_place()
            return False
        damaged = self._damaged
        try:
            self._services.store = store  # first: without a problem and without a database nobody could tell why
            self._services.problems.remove(told)
            self._begin(store)
        except Exception:  # noqa: BLE001 - the next try may do better
            if self._damaged is not damaged:  # that is told, and a thread of its own mends it
                return True
            self._services.problems.append(told)
            return False
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
            self._start_opening(partial(self._begin_anew, problem))

    def _begin_anew(self, told: Problem) -> bool:
        """With another database, after this one was damaged, as `told`. True once that works."""
        store = self._services.store
        if store is not None:  # the first try; meanwhile alerts tell of it
            self._stop_routing()
            self._services.store = None
            if store.file is not None:
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
        store = open_store(place, self._owner(), time.time, self._alarms.stop)  # theirs is a makeshift database
        try:
            store.begin()
            if self._rest is not None:
                self._starting_place.keep(store, self._rest, time.time(), stopgap=wanted is None)
        except Exception as problem:
            store.close()  # else its place among several Orthancs stays taken
            if isinstance(problem, LOST):
                raise _lost(problem) from problem
            raise
        return store

    def _owner(self) -> str:
        return owner(self._configuration, self._host.server_identifier())

    def _run(self, store: Store, rest: HttpRest | SdkRest) -> None:
        self._running = running = Running(
            self._host, rest, store, self._services, self._settings, self._configuration, self._owner()
        )
        self._services.engine = running.engine
        self._services.backfill = running.backfill
        self._services.live_warning = lambda: running.recycling[1]
        running.start()

    def _stop(self) -> None:
        self._stopping = True
        for thread in self._opening:
            thread.stop()
        self._stop_routing()
        self._alarms.close()
        self._host.stop_listening()
        if self._rest is not None:
            self._rest.close()

    def _stop_routing(self) -> None:
        if self._running is not None:
            self._running.end()
        self._alarms.stop()
        if self._running is not None:
            self._running.stop()
        if self._safekeeping is not None:
            self._safekeeping.stop()
        self._services.engine = None
        if self._services.store is not None:
            self._services.store.close()

    # What is told

    def _suspend(self, problem: Problem) -> None:
        self._services.problems.append(problem)
        self._tell_suspended()

    def _tell_suspended(self) -> None:
        self._host.log_error("dicom-router: routing is suspended; Orthanc receives, and nothing is lost.")
        for problem in self._services.problems:
            self._host.log_error(f"dicom-router: {problem.path}: {problem.message}")

    def _breakers(self) -> Mapping[str, Breaker]:
        return self._running.breakers() if self._running is not None and self._services.engine is not None else {}

    def _recycling(self) -> tuple[bool, Problem | None]:
        return self._running.recycling if self._running is not None else (False, None)

    def _log(self, message: str) -> None:
        self._host.log_warning(f"dicom-router: {message}")


def _lost(problem: Exception) -> UnreachableError:
    return UnreachableError(f"The router's database does not answer any more: {problem}")
