# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sending again what was sent, or was not."""

import json
from collections.abc import Callable

from dicom_router.alteration import kept_of
from dicom_router.deliveries.alternates import CHOICES
from dicom_router.deliveries.delivery import WAITING, Delivery, NewDelivery, Reason, Status, subject
from dicom_router.store.failover import Failover
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue
from dicom_router.users import by


def resend_options(old: Delivery, target: str) -> str:
    """Options of a Send are those of its destination; but a copy that was to be anonymous is so everywhere.

    Late instances follow what was moved.
    """
    if target == old.destination:
        return old.options
    options = json.loads(old.options)
    moved = {key: options[key] for key in (CHOICES,) if old.status in WAITING and key in options}
    return json.dumps(kept_of(options) | moved)


class Resend:
    """Makes a new delivery from one that has ended, or moves one that waits."""

    def __init__(self, queue: DeliveryQueue, ledger: Ledger, failover: Failover, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._failover = failover
        self._ledger = ledger
        self._clock = clock

    def resend(self, old: Delivery, destination: str | None, instances: str | None, user: str = "") -> int | None:
        """The ID of the new delivery; None when the same waits already. A waiting one is moved to `destination`.

        `instances`: "All", or "Missing" for what the destination does not have. When not said: All of what was
        Completed, else Missing.
        """
        everything = (instances or ("All" if old.status is Status.COMPLETED else "Missing")) == "All"
        target = destination or old.destination
        if not everything:  # what was refused gets another chance
            self._ledger.forget_refusals(old.study_id, target)
        now = self._clock()
        new = NewDelivery(
            subject=subject(old),
            destination=target,
            rule=old.rule,
            rule_version=old.rule_version,
            priority=old.priority,
            due_at=now,
            reason=Reason.QUEUED,
            instances_count=old.instances_count,
            bytes=old.bytes,
            options=resend_options(old, target),
            renew=everything,
            resend_of=old.id,
            results_of=old.results_of,
        )
        if old.status in WAITING:
            return self._failover.move(old, new, now, user)
        made = self._queue.enqueue(new, now)
        if made is not None:
            self._queue.remark(made, now, f"Sent again {by(user)}")
        return made
