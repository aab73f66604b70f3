# SPDX-License-Identifier: AGPL-3.0-or-later
"""The side database and all that is kept in it."""

from pathlib import Path

from peewee import Database

from dicom_router.store.alert_book import AlertBook
from dicom_router.store.cleanups import Cleanups
from dicom_router.store.database import open_sqlite
from dicom_router.store.failover import Failover
from dicom_router.store.heard import HeardFrom
from dicom_router.store.history import History
from dicom_router.store.journal import Journal
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue
from dicom_router.store.rule_book import RuleBook
from dicom_router.store.secret import Secret
from dicom_router.store.switches import Switches
from dicom_router.store.turns import Turns


class Store:
    """The rooms of the side database."""

    def __init__(self, database: Database, owner: str) -> None:
        self.database = database
        self.queue = DeliveryQueue(database, owner)
        self.tallies = self.queue.tallies
        self.cleanups = Cleanups(database)
        self.journal = Journal(database, self.queue, self.cleanups)
        self.turns = Turns(database)
        self.ledger = Ledger(database)
        self.history = History(database)
        self.failover = Failover(database, self.queue)
        self.rule_book = RuleBook(database)
        self.switches = Switches(database)
        self.alert_book = AlertBook(database, owner)
        self.heard = HeardFrom(database)
        self.secret = Secret(database)


def open_store(path: Path, owner: str) -> Store:
    """The store in an SQLite file, made when missing. `owner` names this Orthanc. Raises StoreError."""
    return Store(open_sqlite(path), owner)
