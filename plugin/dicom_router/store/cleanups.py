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


@dataclass(frozen=True)
class Ended:
    """How a delivery stands."""

    id: int
    destination: str
    status: Status


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

    def nothing_open(self, *owners: str) -> bool:
        """No delivery of these waits or is being sent; `owners`: a study and its patient."""
        with session(self._database):
            waiting = Delivery.select().where(Delivery.study_id.in_(owners), Delivery.status.in_(sorted(OPEN)))
            return not waiting.exists()

    def last_deliveries(self, *owners: str) -> list[Ended]:
        """How each that was to be sent somewhere ended the last time, oldest first: the study, its series, its patient.

        What one rule sends of a resource does not speak for what another one does.
        """
        same = (Delivery.destination, Delivery.resource_id, Delivery.results_of, Delivery.options)
        with session(self._database):
            last = Delivery.select(fn.MAX(Delivery.id)).where(Delivery.study_id.in_(owners)).group_by(*same)
            ended = Delivery.select(Delivery.id, Delivery.destination, Delivery.status).where(Delivery.id.in_(last))
            found = rows(ended.order_by(Delivery.id).tuples())
            return [Ended(delivery_id, name, Status(status)) for delivery_id, name, status in found]
