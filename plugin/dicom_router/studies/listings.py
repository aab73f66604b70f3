# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a look at a resource has just listed, so that its deliveries need not list it again a moment later."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from dicom_router.deliveries.instance import Instance

FRESH_SECONDS = 3.0  # instances that came since make the resource settle again, and are sent then
MOST = 64


class Listings:
    """The last few listings. Thread-safe; `clock` in seconds of any steady clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[float, Sequence[Instance]]] = OrderedDict()

    def keep(self, level: str, resource_id: str, instances: Sequence[Instance]) -> None:
        """These are the instances of the resource just now."""
        with self._lock:
            self._kept[level, resource_id] = (self._clock(), instances)
            self._kept.move_to_end((level, resource_id))
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)

    def forget(self, level: str, resource_id: str) -> None:
        """The resource has changed since it was listed."""
        with self._lock:
            self._kept.pop((level, resource_id), None)

    def find(self, level: str, resource_id: str) -> Sequence[Instance] | None:
        """The instances of the resource, when they were listed a moment ago."""
        with self._lock:
            at, instances = self._kept.get((level, resource_id), (0.0, None))
            return instances if self._clock() - at <= FRESH_SECONDS else None
