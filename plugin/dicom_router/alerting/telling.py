# SPDX-License-Identifier: AGPL-3.0-or-later
"""Telling: what is new is written down, then carried on each channel until it has arrived. On threads of its own."""

from collections.abc import Callable, Sequence

from dicom_router.alerting.watching import Watch
from dicom_router.alerts.alert import News, due_failures, find_news, is_gathered, obsolete
from dicom_router.alerts.message import Message
from dicom_router.alerts.settings import AlertSettings
from dicom_router.alerts.wording import failed
from dicom_router.bell import BellThread
from dicom_router.messengers.messenger import Messenger, MessengerError, PartlyRefusedError
from dicom_router.store.alert_book import AlertBook
from dicom_router.store.database import session
from dicom_router.store.store import Store

ROUND_SECONDS = 2.0
GATHER_SECONDS = 5.0  # news waits for others that come with it
MOST_AT_ONCE = 100  # alerts in one message
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 900.0  # seconds until a message that did not arrive is tried again
GIVE_UP_AFTER = 86400.0  # seconds
STOP_SECONDS = 0.5  # for the message under way; Orthanc must not wait for a mail server at its stop

Compose = Callable[[Sequence[News]], Message]


class Alerting:
    """Finds what is new."""

    def __init__(
        self,
        settings: AlertSettings,
        watch: Watch,
        book: AlertBook,
        channels: Sequence[str],
        clock: Callable[[], float],
        log: Callable[[str], None],
    ) -> None:
        """`clock` in seconds since the epoch."""
        self._quiet_for = settings.quiet_for
        self._watch = watch
        self._book = book
        self._channels = channels
        self._clock = clock
        self._log = log

    def look(self) -> None:
        """Write down what is new."""
        now = self._clock()
        told = self._book.told()
        news = find_news(self._watch.look(now), told, self._quiet_for, now)
        if news:
            self._book.write(news, self._channels)
        for name in due_failures(self._book.failed_destinations(), told, self._quiet_for, now):
            self._book.write_failures(name, failed, self._channels, now)
        gone = obsolete(told, self._watch.subjects())
        if gone:
            self._book.forget(gone)
        dropped = self._book.drop(now - GIVE_UP_AFTER, self._channels)
        if dropped:
            self._log(f"{dropped} alerts could not be told for a day and are given up")


class Carrier:
    """Has what was written down carried on one channel, until it has arrived."""

    def __init__(
        self,
        messenger: Messenger,
        store: Store,
        compose: Compose,
        clock: Callable[[], float],
        steady: Callable[[], float],
        log: Callable[[str], None],
    ) -> None:
        """`compose` makes a message of news; `steady` is a clock that nobody sets."""
        self._messenger = messenger
        self._book = store.alert_book
        self._compose = compose
        self._clock = clock
        self._steady = steady
        self._log = log
        self._failures = 0
        self._again_at = 0.0
        self._carried: Sequence[News] = ()  # and not written down yet

    def carry(self) -> None:
        """Carry what waits, if it is due. Blocks for as long as the messenger does."""
        if self._steady() < self._again_at:
            return
        self._write_down()
        pending = self._book.pending(self._messenger.channel)
        if is_gathered(pending, GATHER_SECONDS, self._clock()):
            self._carry(pending[:MOST_AT_ONCE])

    def _carry(self, news: Sequence[News]) -> None:
        try:
            self._messenger.send(self._compose(news))
        except PartlyRefusedError as problem:
            self._log(f"an alert did not reach everybody: {problem}")
        except MessengerError as problem:
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 10))
            self._again_at = self._steady() + pause
            self._failures += 1
            self._log(f"an alert could not be told and will be again: {problem}")
            return
        self._failures, self._again_at = 0, 0.0
        self._carried = news
        self._write_down()

    def _write_down(self) -> None:
        """While the database cannot be written, nothing is told a second time for that."""
        if self._carried:
            self._book.carried(self._messenger.channel, self._carried)
            self._carried = ()


class AlertThread(BellThread):
    """Does one of these works every few seconds. With `patience`, a stop leaves it behind: it may be blocked."""

    def __init__(
        self,
        name: str,
        work: Callable[[], None],
        store: Store,
        log: Callable[[str], None],
        patience: float | None = None,
    ) -> None:
        super().__init__(name, patience)
        self._work = work
        self._store = store
        self._log = log
        self._met = ""  # what went wrong in the last round: a database may be away for hours

    def _round(self) -> float:
        met = ""
        try:
            with session(self._store.database):
                self._work()
        except Exception as problem:  # noqa: BLE001 - alerts must not end with one mistake
            met = type(problem).__name__
            if met != self._met:
                self._log(f"alerts met an unexpected error and go on: {met}")
        self._met = met
        return ROUND_SECONDS


def alert_threads(
    look: Callable[[], None], carriers: Sequence[Carrier], store: Store, log: Callable[[str], None]
) -> list[AlertThread]:
    """One that looks, and one for each channel: none waits for another."""
    looking = AlertThread("router-alerts", look, store, log)
    carrying = [AlertThread("router-messages", each.carry, store, log, STOP_SECONDS) for each in carriers]
    return [looking, *carrying]
