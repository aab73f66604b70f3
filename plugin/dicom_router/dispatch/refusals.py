# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writing down which instances a destination refuses for good."""

from dicom_router.dispatch.sending import Sending
from dicom_router.store.queue import DeliveryQueue


def name_refused(queue: DeliveryQueue, sending: Sending, now: float) -> None:
    """Those that are not named yet. One stays in memory until it is: a database that goes away just then loses none."""
    while sending.unnamed:
        instance, error = sending.unnamed[0]
        queue.refused(sending.delivery, instance, error, now)
        del sending.unnamed[0]
