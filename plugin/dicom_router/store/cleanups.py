# SPDX-License-Identifier: AGPL-3.0-or-later
"""The studies that a rule wants deleted from Orthanc once they have arrived everywhere."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from peewee import Database, fn

from dicom_router.deliveries.delivery import OPEN, Status
from dicom_router.store.database import replace, rows, session
from dicom_router.store.schema import Cleanup, Delivery


@dataclass(frozen=True)
class WantedCleanup:
    """A study, and the groups of destinations of each of which one must have all of it."""

    study_id: str
    groups: list[list[str]]


class Cleanups:
    """What is to be deleted, and whether its deliveries allow that."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def want(self, study_id: str, groups: Sequence[Sequence[str]], now: float) -> None:
        """Delete the study when it is safe. What an earlier look wanted still counts: it may have had other rules."""
        row = Cleanup.get_or_none(Cleanup.study_id == study_id)
        wanted = json.loads(row.groups) if row else []
        wanted += [list(group) for group in groups if list(group) not in wanted]
        replace(Cleanup, study_id=study_id, groups=json.dumps(wanted), asked_at=now)

    def wanted(self) -> list[WantedCleanup]:
        """All, oldest first."""
        with session(self._database):
            found = rows(Cleanup.select().order_by(Cleanup.asked_at))
            return [WantedCleanup(row.study_id, json.loads(row.groups)) for row in found]

    def done(self, study_id: str) -> None:
        """The study is gone."""
        with session(self._database):
            Cleanup.delete().where(Cleanup.study_id == study_id).execute()

    def nothing_open(self, study_id: str) -> bool:
        """No delivery of the study waits or is being sent."""
        with session(self._database):
            waiting = Delivery.select().where(Delivery.study_id == study_id, Delivery.status.in_(sorted(OPEN)))
            return not waiting.exists()

    def last_deliveries(self, study_id: str) -> dict[str, tuple[int, Status]]:
        """By destination, the ID of the last delivery of the study and how it ended."""
        with session(self._database):
            last = (
                Delivery.select(fn.MAX(Delivery.id)).where(Delivery.study_id == study_id).group_by(Delivery.destination)
            )
            ended = Delivery.select(Delivery.destination, Delivery.id, Delivery.status).where(Delivery.id.in_(last))
            return {name: (delivery_id, Status(status)) for name, delivery_id, status in rows(ended.tuples())}
