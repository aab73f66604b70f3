# SPDX-License-Identifier: AGPL-3.0-or-later
"""A task that one of several Orthancs has at a time, with a lease: when it dies, another one gets the task."""

import uuid

from peewee import Database

from dicom_router.store.database import for_update, replace, rows, scalar, session
from dicom_router.store.schema import Role as Row

READER = "reader"  # who reads the change log, and deletes what has been sent


class NotOursError(Exception):
    """Another Orthanc has the task now; what was to be written of it must not be."""


class Role:
    """One task, as one start of one Orthanc sees it. All times are the database's."""

    def __init__(self, database: Database, name: str, owner: str, lease_seconds: float = 20.0) -> None:
        self._database = database
        self._name = name
        self._owner = owner
        self._mark = uuid.uuid4().hex
        self._lease_seconds = lease_seconds

    def hold(self, now: float) -> int | None:
        """Take the task or keep it; None when another Orthanc has it.

        The number is the same for as long as nobody else had it in between.
        """
        until = now + self._lease_seconds
        ours, free = Row.holder == self._mark, Row.held_until < now
        with session(self._database):
            for whose, changes in ((ours, {}), (free, {"term": Row.term + 1})):
                held = Row.update(owner=self._owner, holder=self._mark, held_until=until, **changes)
                found = rows(held.where(Row.name == self._name, whose).returning(Row.term).tuples().execute())
                if found:
                    return int(found[0][0])
            first = Row.insert(name=self._name, owner=self._owner, holder=self._mark, held_until=until)
            first.on_conflict_ignore().execute()
            term: int | None = scalar(Row.select(Row.term).where(Row.name == self._name, ours))
            return term

    def renew(self, now: float) -> None:
        """Keep the task, if it is ours and was not left; it is not taken."""
        with session(self._database):
            kept = Row.update(held_until=now + self._lease_seconds)
            kept.where(Row.name == self._name, Row.holder == self._mark, Row.held_until > 0).execute()

    def confirm(self) -> None:
        """Within a transaction: it is ours, and stays so until the end of it. Raises NotOursError."""
        held = Row.select(Row.holder).where(Row.name == self._name)
        if scalar(for_update(held, self._database)) != self._mark:
            raise NotOursError(f"Another Orthanc is the {self._name} now.")

    def end_term(self) -> None:
        """Within a transaction: whoever has it can write nothing more in this term, and begins a new one."""
        replace(Row, name=self._name, owner="", holder="", held_until=0.0)

    def leave(self) -> None:
        """Somebody else may have it at once."""
        self._free(Row.holder == self._mark)

    def end_former(self) -> None:
        """This Orthanc was restarted, and its former self is known to be dead."""
        self._free((Row.owner == self._owner) & (Row.holder != self._mark))

    def _free(self, whose: object) -> None:
        with session(self._database):
            Row.update(held_until=0.0).where(Row.name == self._name, whose).execute()
