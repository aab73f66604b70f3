# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sending again what was sent, or was not."""

from collections.abc import Callable

from dicom_router.deliveries.delivery import Delivery, NewDelivery, Reason, Status, Subject
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue


class Resend:
    """Makes a new delivery from one that has ended."""

    def __init__(self, queue: DeliveryQueue, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._ledger = ledger
        self._clock = clock

    def resend(self, old: Delivery, destination: str | None, instances: str | None) -> int | None:
        """The ID of the new delivery; None when the same waits already.

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
            options=old.options if target == old.destination else "{}",
            renew=everything,
            resend_of=old.id,
        )
        return self._queue.enqueue(new, now)


def subject(delivery: Delivery) -> Subject:
    """What a delivery delivers."""
    return Subject(
        level=delivery.level,
        resource_id=delivery.resource_id,
        study_id=delivery.study_id,
        study_instance_uid=delivery.study_instance_uid,
        patient_id=delivery.patient_id,
        patient_name=delivery.patient_name,
        accession_number=delivery.accession_number,
        study_date=delivery.study_date,
        study_description=delivery.study_description,
        modalities=delivery.modalities,
        remote_aet=delivery.remote_aet,
        called_aet=delivery.called_aet,
    )
