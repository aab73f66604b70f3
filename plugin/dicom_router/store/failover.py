# SPDX-License-Identifier: AGPL-3.0-or-later
"""From one destination to another: failover of `FirstOf`, and moving a waiting delivery by hand."""

from collections.abc import Collection

from peewee import Database, fn

from dicom_router.deliveries.alternates import read_alternates
from dicom_router.deliveries.delivery import Delivery, Event, NewDelivery, Status, allowed
from dicom_router.deliveries.outcome import Scope
from dicom_router.store.database import rows, scalar, session, transaction
from dicom_router.store.queue import DeliveryQueue, next_of, to_delivery
from dicom_router.store.queue_statements import IS_WAITING
from dicom_router.store.schema import Delivery as Row
from dicom_router.users import by

WAITS = Row.completed_at.is_null() & (Row.status != Status.SENDING)  # in the words of its index
MOST_AT_ONCE = 50  # each is a transaction of its own


class Failover:
    """Each change is one transaction: never both destinations by accident, never none."""

    def __init__(self, database: Database, queue: DeliveryQueue) -> None:
        self._database = database
        self._queue = queue

    def due(self, now: float, reachable: Collection[str]) -> list[Delivery]:
        """The next of those that wait for longer than their `After`, as the way to their destination failed.

        So it did where the destination is not one of the `reachable`, or where their last attempt says so. The others
        wait for a window, a free lane or a hand, perhaps many of them for days, and are not even read.
        """
        failed = Row.error_scope.in_([Scope.DESTINATION, Scope.ASSOCIATION])
        unreachable = Row.destination.not_in(sorted(reachable)) | failed
        with session(self._database):
            late = Row.select().where(WAITS, Row.failover_at <= now, Row.alternates != "", unreachable)
            return [to_delivery(row) for row in rows(late.order_by(Row.failover_at).limit(MOST_AT_ONCE).dicts())]

    def next_due(self) -> float | None:
        """When the first of the waiting ones reaches its `After`, or None."""
        with session(self._database):
            waiting = Row.select(fn.MIN(Row.failover_at)).where(WAITS, Row.failover_at.is_null(False))
            found: float | None = scalar(waiting)
            return found

    def fail_over(self, delivery: Delivery, now: float) -> int | None:
        """Hand a waiting delivery to the next destination. Answers the new delivery, None when it no longer waits.

        With `AndWhenBack` the old one goes on waiting as well; otherwise it is canceled.
        """
        alternates = read_alternates(delivery.alternates)
        if alternates is None:
            return None
        new = next_of(delivery, now)
        text = f"{delivery.destination} is unreachable; {new.destination} takes over"
        with transaction(self._database):
            if alternates.and_when_back:
                if not self._keep_waiting(delivery):
                    return None
                self._queue.tell(delivery.id, now, delivery.status, f"{text}; it is sent here too, once it is back")
            elif not self._end(delivery, Event.FAIL_OVER, text, now):
                return None
            return self._queue.enqueue(new, now)

    def move(self, delivery: Delivery, new: NewDelivery, now: float, user: str = "") -> int | None:
        """End a waiting delivery and make `new` instead. None when it no longer waits, or `new` waits already."""
        with transaction(self._database):
            if not self._end(delivery, Event.MOVE, f"Moved to {new.destination} {by(user)}", now):
                return None
            return self._queue.enqueue(new, now)

    def _keep_waiting(self, delivery: Delivery) -> bool:
        kept = (
            Row.update(alternates="", failover_at=None)
            .where(Row.id == delivery.id, IS_WAITING, Row.failover_at.is_null(False))
            .execute()
        )
        return bool(kept)

    def _end(self, delivery: Delivery, event: Event, text: str, now: float) -> bool:
        if Status.CANCELED not in allowed(event, delivery.status):
            raise AssertionError(f"{event} may not cancel")
        ended = (
            Row.update(status=Status.CANCELED, reason=text, completed_at=now, failover_at=None)
            .where(Row.id == delivery.id, IS_WAITING)
            .execute()
        )
        if ended:
            self._queue.tell(delivery.id, now, Status.CANCELED, text)
            self._queue.tallies.entered(delivery.rule, delivery.destination, Status.CANCELED)
        return bool(ended)
