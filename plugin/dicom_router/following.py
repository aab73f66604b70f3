# SPDX-License-Identifier: AGPL-3.0-or-later
"""Following what other Orthancs over the same side database have changed: pauses, rules, cancellations.

The same thread keeps for this Orthanc what the others may not take meanwhile.
"""

from collections.abc import Callable
from contextlib import suppress

from dicom_router.bell import BellThread
from dicom_router.store.database import LOST, session
from dicom_router.store.store import Store
from dicom_router.unexpected import kind_and_place

FOLLOW_SECONDS = 2.0


class FollowingThread(BellThread):
    """Looks every two seconds. `load_rules` makes the rules of the database the active ones, `ring` has them sent.

    `renew` keeps the task of reading the change log.
    """

    def __init__(
        self,
        store: Store,
        load_rules: Callable[[], None],
        cancel: Callable[[int], None],
        ring: Callable[[], None],
        renew: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        super().__init__("router-following")
        self._store = store
        self._load_rules = load_rules
        self._cancel = cancel
        self._ring = ring
        self._renew = renew
        self._log = log
        self._rules: object = None  # a rule may have been saved since the rules were loaded: they are once more

    def _round(self) -> float:
        try:
            with suppress(*LOST), session(self._store.database):  # the dispatcher tells of a lost database
                self._follow()
        except Exception as problem:  # noqa: BLE001 - the next round looks again
            self._log(f"what other Orthancs changed could not be followed and will be again: {kind_and_place(problem)}")
        return FOLLOW_SECONDS

    def _follow(self) -> None:
        self._store.keep()
        self._renew()
        if self._store.switches.read():
            self._ring()
        rules = self._store.rule_book.state()
        if rules != self._rules:
            self._load_rules()
            self._rules = rules
        for delivery_id in self._store.queue.asked_to_end():
            self._cancel(delivery_id)
