# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deliveries each by itself: one that cannot be worked on, as for a damaged row, keeps no other waiting."""

from collections.abc import Callable

from dicom_router.store.database import LOST
from dicom_router.unexpected import kind_and_place


class OneByOne:
    """Does one kind of work on deliveries. That it cannot be done is told once of each: it is tried again."""

    def __init__(self, failure: str, log: Callable[[str], None]) -> None:
        """`failure` says in the log what could not be done, as in "could not be closed"."""
        self._failure = failure
        self._log = log
        self._told: set[int] = set()  # IDs of deliveries

    def done(self, delivery_id: int, work: Callable[[], object]) -> bool:
        """Whether it could be done. Raises what says that the database does not answer: that is about all of them."""
        try:
            work()
        except LOST:
            raise
        except Exception as problem:  # noqa: BLE001 - met again each time, and told by its kind
            if delivery_id not in self._told:
                self._told.add(delivery_id)
                self._log(f"delivery {delivery_id} {self._failure}: {kind_and_place(problem)}")
            return False
        return True
