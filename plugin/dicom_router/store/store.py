# SPDX-License-Identifier: AGPL-3.0-or-later
"""The side database and all that is kept in it."""

from collections.abc import Callable
from pathlib import Path

from peewee import Database
from playhouse.pool import PooledDatabase

from dicom_router.postgres_address import PostgresAddress
from dicom_router.store.alert_book import AlertBook
from dicom_router.store.cleanups import Cleanups
from dicom_router.store.damage_report import kept_report
from dicom_router.store.database import shared
from dicom_router.store.failover import Failover
from dicom_router.store.heard import HeardFrom
from dicom_router.store.history import History
from dicom_router.store.journal import Journal
from dicom_router.store.ledger import Ledger
from dicom_router.store.marks import Marks
from dicom_router.store.overdue import Overdue
from dicom_router.store.postgres import Presence, ServerClock, open_postgres
from dicom_router.store.queue import DeliveryQueue
from dicom_router.store.replacing import open_or_replace
from dicom_router.store.rescue_copy import RescueFile, rescue_place
from dicom_router.store.roles import READER, Role
from dicom_router.store.rule_book import RuleBook
from dicom_router.store.runs import Runs
from dicom_router.store.secret import Secret
from dicom_router.store.sqlite_file import SqliteFile
from dicom_router.store.switches import Switches
from dicom_router.store.turns import Turns

Clock = Callable[[], float]


class Store:
    """The rooms of the side database. `clock` is what all its times are told by, in epoch seconds."""

    def __init__(self, database: Database, owner: str, clock: Clock, presence: Presence | None = None) -> None:
        self.database = database
        self.clock = clock
        self._presence = presence
        self.shared = shared(database)
        self.reader = Role(database, READER, owner) if self.shared else None
        self.queue = DeliveryQueue(database, owner, self.only_bearer_of_its_name)
        self.tallies = self.queue.tallies
        self.cleanups = Cleanups(database)
        self.journal = Journal(database, self.queue, self.cleanups, self.reader)
        self.runs = Runs(database, self.queue)
        self.turns = Turns(database)
        self.ledger = Ledger(database)
        self.history = History(database, self.tallies)
        self.failover = Failover(database, self.queue)
        self.overdue = Overdue(database, self.queue)
        self.rule_book = RuleBook(database)
        self.switches = Switches(database)
        self.alert_book = AlertBook(database, owner)
        self.heard = HeardFrom(database)
        self.secret = Secret(database)
        self.marks = Marks(database, owner)
        self.damage_report = kept_report(database)
        self.file = database if isinstance(database, SqliteFile) else None
        self.rescue = RescueFile(database, rescue_place(Path(self.file.database))) if self.file else None

    def damage_told(self) -> str:
        """What came of a damaged file, as long as somebody has yet to read it; else empty."""
        if self.damage_report is None or self.file is None:
            return ""
        shown = self.damage_report.is_shown(Path(self.file.database).parent, self.clock())
        return self.damage_report.text() if shown else ""

    def trouble(self) -> str:
        """Why the database cannot be written just now; else empty."""
        return self.file.trouble if self.file else ""

    def only_bearer_of_its_name(self, *, patient: bool = False) -> bool:
        """No other living Orthanc has this one's name: what was done in that name, a former self of it did."""
        return self._presence is None or self._presence.take(patient=patient)

    def begin(self) -> None:
        """This process starts: what its former self held is free."""
        if self.reader is not None and self.only_bearer_of_its_name(patient=True):
            self.reader.end_former()

    def keep(self) -> None:
        """Now and then: look at the clock that all share, and be seen to be there. Raises the errors of LOST."""
        if isinstance(self.clock, ServerClock):
            self.clock.sync()
        self.only_bearer_of_its_name()

    def close(self) -> None:
        """This process ends."""
        if self._presence is not None:
            self._presence.leave()
        if isinstance(self.database, PooledDatabase):
            self.database.close_idle()


def open_store(
    place: Path | PostgresAddress, owner: str, clock: Clock, leave: Callable[[], None] = lambda: None
) -> Store:
    """The store in an SQLite file, made when missing, or in PostgreSQL, where the server's clock counts.

    `owner` names this Orthanc; `leave` ends what uses another store, once this one can be used: the tables are those of
    one database at a time. Raises StoreError.
    """
    if isinstance(place, Path):
        return Store(open_or_replace(place, clock, leave), owner, clock)
    database = open_postgres(place, leave)
    return Store(database, owner, ServerClock(database), Presence(database, owner))
