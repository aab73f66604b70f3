# SPDX-License-Identifier: AGPL-3.0-or-later
"""What has waited too long for a destination that does not answer."""

from typing import Any

from peewee import Database

from dicom_router.deliveries.delivery import Delivery, Event, Status, allowed
from dicom_router.deliveries.outcome import SendError
from dicom_router.store.database import rows, session, transaction
from dicom_router.store.failover import WAITS
from dicom_router.store.queue import DeliveryQueue, error_columns, to_delivery
from dicom_router.store.queue_statements import IS_WAITING
from dicom_router.store.schema import Delivery as Row

OLDEST = 20  # deliveries of each rule and state, at once


class Overdue:
    """Found and given up without an attempt: each would only cost a timeout."""

    def __init__(self, database: Database, queue: DeliveryQueue) -> None:
        self._database = database
        self._queue = queue

    def oldest(self, destination: str) -> list[Delivery]:
        """Of each rule the oldest that wait for nothing but the destination; `GiveUpAfter` may differ by rule."""
        mine = Row.select(Row.rule, Row.status).where(Row.destination == destination, WAITS)
        with session(self._database):
            return [
                to_delivery(row)
                for rule, status in rows(mine.distinct().tuples())
                for row in rows(_oldest(destination, rule, status).dicts())
            ]

    def give_up(self, delivery: Delivery, error: SendError, now: float) -> bool:
        """Failed, because of `error`. False: it does not wait any more."""
        if Status.FAILED not in allowed(Event.GIVE_UP, delivery.status):
            raise AssertionError(f"{Event.GIVE_UP} may not fail")
        with transaction(self._database):
            ended = Row.update(
                status=Status.FAILED,
                reason="",
                completed_at=now,
                failover_at=None,
                untold=True,
                **error_columns(error),
            )
            if not ended.where(Row.id == delivery.id, IS_WAITING).execute():
                return False
            self._queue.tell(delivery.id, now, Status.FAILED, f"Given up: {error.message}")
            self._queue.tallies.entered(delivery.rule, delivery.destination, Status.FAILED)
            self._queue.hand_on(delivery, Status.FAILED, now)
            return True


def _oldest(destination: str, rule: str, status: str) -> Any:
    """In the order of the index on open deliveries, so that of many waiting ones only these are read."""
    same = (Row.destination == destination, Row.rule == rule, Row.status == status, Row.completed_at.is_null())
    return Row.select().where(*same, Row.ready).order_by(Row.created_at).limit(OLDEST)
