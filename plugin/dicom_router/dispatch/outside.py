# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the dispatcher needs of the world around it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_router.deliveries.delivery import Delivery
from dicom_router.deliveries.instance import Instance
from dicom_router.destination import Destination
from dicom_router.orthanc_rest import OrthancRest
from dicom_router.studies.listings import Listings
from dicom_router.transports.transport import Transport

Visible = Callable[[Delivery, Sequence[Instance]], list[Instance]]


def all_of(_delivery: Delivery, instances: Sequence[Instance]) -> list[Instance]:
    """All of them."""
    return list(instances)


@dataclass(frozen=True)
class Outside:
    """Given by the composition root, and by tests."""

    transport: Transport
    rest: OrthancRest
    effective: Callable[[Destination, Delivery], Destination]  # the destination with the delivery's own options
    window: Callable[[Destination, float], float | None]  # when its window opens next: now, later, or never (None)
    closed: Callable[[], None]  # a delivery has ended
    log: Callable[[str], None]
    listings: Listings
    clock: Callable[[], float] = time.time
    visible: Visible = all_of  # those of the instances that a delivery may bring
