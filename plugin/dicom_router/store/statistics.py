# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the deliveries went, hour by hour."""

from dataclasses import dataclass

from peewee import Database, fn

from dicom_router.deliveries.delivery import OPEN, Status
from dicom_router.store import schema
from dicom_router.store.database import rows, scalar, session

ROW = schema.Delivery
HOUR = 3600


@dataclass(frozen=True)
class Hour:
    """From `at` on (epoch seconds): deliveries made and ended in it, and how many had not ended at its end."""

    at: float
    made: int
    ended: dict[str, int]
    open: int


class Statistics:
    """Counts over time, read from indexes only: they cost the same however long the history is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hours(self, count: int, now: float) -> list[Hour]:
        """The last `count` whole hours of the clock, the running one included, oldest first."""
        running = now // HOUR * HOUR
        starts = [running - HOUR * back for back in range(count)]
        with session(self._database):
            # From the state of now back: what was made in an hour was not there before it, what ended was.
            waiting = int(scalar(ROW.select(fn.COUNT(ROW.id)).where(ROW.status.in_(sorted(OPEN)))))
            found = []
            for start in starts:
                made, ended = self._made(start), self._ended(start)
                found.append(Hour(start, made, ended, waiting))
                waiting += sum(ended.values()) - made
        return found[::-1]

    @staticmethod
    def _made(start: float) -> int:
        inside = ROW.created_at >= start, ROW.created_at < start + HOUR
        return int(scalar(ROW.select(fn.COUNT(ROW.id)).where(*inside)))

    @staticmethod
    def _ended(start: float) -> dict[str, int]:
        inside = ROW.completed_at >= start, ROW.completed_at < start + HOUR
        query = ROW.select(ROW.status, fn.COUNT(ROW.id)).where(*inside).group_by(ROW.status)
        return {Status(status): count for status, count in rows(query.tuples())}
