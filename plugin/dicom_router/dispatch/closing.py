# SPDX-License-Identifier: AGPL-3.0-or-later
"""The end of an attempt: verification where the destination asks for it, then one guarded write."""

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from dicom_router.deliveries.delivery import Reason
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import ErrorClass, SendError
from dicom_router.deliveries.retry import next_attempt
from dicom_router.destination import Verify
from dicom_router.dispatch.one_by_one import OneByOne
from dicom_router.dispatch.outside import Outside
from dicom_router.dispatch.preparation import accepted_instances
from dicom_router.dispatch.refusals import name_refused
from dicom_router.dispatch.sending import Sending
from dicom_router.dispatch.verification import Verification, not_kept, verify
from dicom_router.dispatch.workers import Workers
from dicom_router.orthanc_rest import OrthancError
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue
from dicom_router.studies.study import exists

UNASKED = "Orthanc no longer had them when the destination was to be asked for them"


class Closing:
    """Ends attempts. All of it runs on the dispatcher's thread."""

    def __init__(self, queue: DeliveryQueue, ledger: Ledger, workers: Workers, outside: Outside) -> None:
        self._queue = queue
        self._ledger = ledger
        self._workers = workers
        self._outside = outside
        self._random = random.Random()  # noqa: S311 - spreads retries
        self._one_by_one = OneByOne("could not be closed", outside.log)

    def close_over(self, active: list[Sending], now: float) -> bool:
        """Close, or verify first, what has nothing left to send. What was closed leaves `active`.

        True when there was any, which makes room for the next.
        """
        done = False
        for sending in [sending for sending in active if sending.over]:
            if self._must_verify(sending):
                sending.verifying = True
                ask, told = partial(self._verify, sending), partial(self._verified, sending)
                self._workers.start_verifying(sending.destination.name, ask, told)
                done = True
            elif self._closed(sending, now):
                active.remove(sending)
                done = True
        return done

    def give_back(self, active: list[Sending], now: float) -> None:
        """The router stops: write what is known to have arrived, and leave the rest for the next start."""
        for sending in active:
            for chunk in sending.chunks:
                self._ledger.close_chunk(chunk.ledger_id, chunk.accepted)
            sending.leave_under_way()
            self._closed(sending, now)

    # Verification

    def _must_verify(self, sending: Sending) -> bool:
        wanted = sending.destination.verify is not Verify.ACCEPTED
        return wanted and not sending.verified and sending.result() is None

    def _verify(self, sending: Sending) -> Verification:
        outside = self._outside
        try:
            expected = accepted_instances(outside.rest, self._ledger, sending.delivery)
            if expected or not sending.sent:
                told = verify(outside.transport, sending.destination, expected, self._workers.stopping.wait)
                if told.error is None or not self._gone(sending):
                    return told
        except OrthancError:
            if not self._gone(sending):
                raise
        return Verification(unasked=True)

    def _gone(self, sending: Sending) -> bool:
        """What arrived is no longer in Orthanc, and cannot be asked for: Orthanc would have to name it."""
        delivery = sending.delivery
        return bool(sending.sent) and not exists(self._outside.rest, delivery.level, delivery.resource_id)

    def _verified(self, sending: Sending, result: Verification | SendError) -> None:
        if not sending.verifying:  # told already, when the database did not answer
            return
        if isinstance(result, Verification) and result.missing:
            self._remove(sending, result.missing)
        sending.verifying = False  # not before the ledger knows, or the next look would not miss them
        error = result if isinstance(result, SendError) else result.error
        if error is not None:
            sending.ending = sending.ending or error
        elif isinstance(result, Verification) and result.missing:
            self._not_kept(sending, result.missing)
        else:
            sending.verified = True
            sending.unasked = isinstance(result, Verification) and result.unasked

    def _remove(self, sending: Sending, missing: Sequence[Instance]) -> None:
        name = sending.destination.name
        for study_id in {instance.study_id for instance in missing}:
            self._ledger.remove(study_id, name, [instance.digest for instance in missing])
        self._outside.log(f"destination {name} accepted {len(missing)} instances that it does not have")

    def _not_kept(self, sending: Sending, missing: Sequence[Instance]) -> None:
        if not sending.missing(missing, not_kept()):
            sending.error = not_kept()

    # The write

    def _closed(self, sending: Sending, now: float) -> bool:
        return self._one_by_one.done(sending.delivery.id, partial(self._close, sending, now))

    def _close(self, sending: Sending, now: float) -> None:
        name_refused(self._queue, sending, now)
        delivery, result = sending.delivery, sending.result()
        if result is None and sending.error and sending.refused and not sending.sent:
            result = replace(sending.error, error_class=ErrorClass.PERMANENT)  # nothing arrived, and nothing will
        if not isinstance(result, Reason) and (sending.in_trouble or delivery.attempts > 1):
            self._name_troubled(sending, now)
        if result is None:
            verified, note = (Verify.ACCEPTED, UNASKED) if sending.unasked else (sending.destination.verify, "")
            kept = self._queue.succeed(delivery, sending.sent, sending.refused, verified, now, note)
        elif isinstance(result, Reason):
            kept = self._queue.defer(delivery, result, sending.planned or now, sending.sent, sending.refused, now)
        else:
            retry_at = self._retry_at(sending, result, now)
            left = sending.left
            kept = self._queue.fail(delivery, result, sending.sent, sending.refused, retry_at, now, left)
        if not kept:
            self._outside.log(f"delivery {delivery.id} belongs to another router now; its result is dropped")
        ending = "Success" if result is None else "GivenBack" if isinstance(result, Reason) else "Failure"
        self._queue.tallies.attempted(
            sending.destination.name, ending, max(0.0, now - sending.began), sending.arrived, sending.arrived_bytes
        )
        self._outside.closed()

    def _name_troubled(self, sending: Sending, now: float) -> None:
        """History tells of what fails each time how it failed last; when it will be given up, nobody knows yet."""
        left = {instance.id for instance in sending.left}
        if left or sending.result() is None:
            self._queue.in_trouble(sending.delivery, list(sending.in_trouble.values()), left, now)

    def _retry_at(self, sending: Sending, error: SendError, now: float) -> float | None:
        if error.permanent:
            return None
        delivery, luck = sending.delivery, self._random.random()
        return next_attempt(sending.destination.retry, delivery.attempts, delivery.created_at, now, luck)
