# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alerts from start to stop: what is watched, who carries it, and the threads of both."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dicom_router import __version__
from dicom_router.alerting.telling import Alerting, AlertThread, Carrier, alert_threads
from dicom_router.alerting.watching import Watch
from dicom_router.alerts import wording
from dicom_router.alerts.alert import AlertState, News, Observation
from dicom_router.alerts.message import Message, Sender, compose
from dicom_router.config import Settings, alert_settings
from dicom_router.dispatch.breaker import Breaker
from dicom_router.host import orthanc_settings
from dicom_router.messengers.mail import MailMessenger
from dicom_router.messengers.messenger import Messenger
from dicom_router.messengers.webhook import WebhookMessenger
from dicom_router.problems import Problem
from dicom_router.store.alert_book import AlertBook
from dicom_router.store.store import Store, open_store

Clock = Callable[[], float]


class Alarms:
    """Tells people what they must know; also, where the database cannot be opened, that routing is suspended.

    `owner` names this Orthanc; `recycling` tells whether that was looked at, and what is near; `clock` counts seconds
    since the epoch, `steady` those of any steady clock.
    """

    def __init__(
        self,
        configuration: Mapping[str, Any],
        settings: Settings,
        problems: Sequence[Problem],
        owner: Callable[[], str],
        breakers: Callable[[], Mapping[str, Breaker]],
        recycling: Callable[[], tuple[bool, Problem | None]],
        clock: Clock,
        steady: Clock,
        log: Callable[[str], None],
    ) -> None:
        self._configuration = configuration
        self._settings = settings
        self._problems = problems
        self._owner = owner
        self._breakers = breakers
        self._recycling = recycling
        self._clock = clock
        self._steady = steady
        self._log = log
        self._threads: list[AlertThread] = []
        self._makeshift: TemporaryDirectory[str] | None = None  # kept from one try to open the database to the next
        self._interim: Store | None = None  # in it
        self._suspended: Observation | None = None  # told while there was no database
        self._untold: set[str] = set()  # the channels that have not carried it yet

    @property
    def running(self) -> bool:
        """It has begun, and was not stopped since."""
        return bool(self._threads)

    def start(self, opened: Store | None) -> None:
        """Begin to watch; with a configuration that is wrong elsewhere, its alerts still count."""
        settings = self._settings.alerts
        if self._problems:
            settings = alert_settings(self._configuration.get("Router"))
        if opened is None:
            self._suspended = wording.suspended(self._problems)
        store = opened or self._makeshift_store()
        watch = Watch(
            settings,
            store,
            lambda: self._problems,
            self._breakers,
            self._recycling,
            self._settings.time_zone,
            store.clock(),
        )
        messengers: list[Messenger] = [WebhookMessenger(settings.webhook)] if settings.webhook else []
        messengers += [MailMessenger(settings.mail)] if settings.mail else []
        sender = Sender(orthanc_settings.name(self._configuration), __version__, self._owner())
        allowed = settings.include_patient_data

        def compose_now(news: Sequence[News]) -> Message:
            return compose(news, sender, store.history.get, store.clock(), patient_data=allowed)

        names = [each.channel for each in messengers]
        alerting = Alerting(settings, watch, store.alert_book, names, store.clock, self._log)
        carriers = [Carrier(each, store, compose_now, store.clock, self._steady, self._log) for each in messengers]

        def look() -> None:
            if opened is not None:
                self._carry_over(opened)
            alerting.look()

        self._threads = alert_threads(look, carriers, store, self._log)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; joins the threads. Raises nothing."""
        for thread in self._threads:
            thread.stop()
        self._threads = []
        if self._interim is not None:
            with suppress(Exception):  # in doubt its end is told
                self._keep_told(self._interim.alert_book)
            self._interim.close()
            self._interim = None

    def close(self) -> None:
        """End for good: Orthanc stops."""
        self.stop()
        self._forget_makeshift()

    def _keep_told(self, book: AlertBook) -> None:
        if self._suspended is not None and self._suspended.key not in book.told():
            self._suspended = None
        _, unsent = book.counts()
        self._untold = set(unsent)

    def _carry_over(self, opened: Store) -> None:
        """A database that was opened later knows nothing of the alert that it was away; the end of it is told, too."""
        if self._suspended is not None:
            told = News(self._suspended.key, AlertState.BEGUN, opened.clock(), self._suspended.text)
            opened.alert_book.write([told], self._untold)
            self._suspended = None
        self._forget_makeshift()

    def _makeshift_store(self) -> Store:
        """Without the router's database, that routing is suspended is told at each start."""
        if self._makeshift is None:
            self._makeshift = TemporaryDirectory(prefix="dicom-router-")
        place = Path(self._makeshift.name) / "alerts.db"
        self._interim = open_store(place, self._owner(), self._clock)
        return self._interim

    def _forget_makeshift(self) -> None:
        if self._makeshift is not None:
            self._makeshift.cleanup()
            self._makeshift = None
