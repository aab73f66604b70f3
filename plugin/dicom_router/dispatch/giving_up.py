# SPDX-License-Identifier: AGPL-3.0-or-later
"""`GiveUpAfter` of what waits for a destination that is held: no attempt is made there that could end it.

What is old may have waited for something else until now: a pause, a window, or many others before it. So the
destination itself must have been away for a while, too.
"""

from dicom_router.deliveries.delivery import Delivery, Reason
from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError
from dicom_router.dispatch.health import Health
from dicom_router.dispatch.outside import Outside
from dicom_router.dispatch.timer import Timer
from dicom_router.store.overdue import Overdue

LOOK_SECONDS = 5.0
LONGEST_AWAY = 3600.0  # seconds for which a destination must have been away; less where `GiveUpAfter` is less


class GivingUp:
    """All of it runs on the dispatcher's thread."""

    def __init__(self, overdue: Overdue, health: Health, outside: Outside) -> None:
        self._overdue = overdue
        self._health = health
        self._outside = outside
        self._next_look = Timer()

    def look(self, now: float) -> bool:
        """Give up whose time is over. True when there may be more."""
        if not self._next_look.due(now):
            return False
        held = [name for name in self._health.destinations if self._is_held(name)]
        ended = sum(self._give_up(name, now) for name in held)
        self._next_look.wait(now, 0.0 if ended else LOOK_SECONDS)
        return ended > 0

    def _is_held(self, name: str) -> bool:
        blocked = self._health.blocked(name)
        return blocked is not None and blocked.reason is Reason.HELD

    def _give_up(self, name: str, now: float) -> int:
        destination, away_for = self._health.destinations[name], self._health.breaker(name).away_for(now)
        ended = 0
        for delivery in self._overdue.oldest(name):
            patience = self._outside.effective(destination, delivery).retry.give_up_after
            if now >= delivery.created_at + patience and away_for >= min(patience, LONGEST_AWAY):
                ended += self._overdue.give_up(delivery, self._why(delivery), now)
        if ended:
            self._outside.log(f"{ended} deliveries to {name} are given up, it has not answered for too long")
        return ended

    def _why(self, delivery: Delivery) -> SendError:
        """How it failed last; where that says nothing of the destination, how others did."""
        if delivery.error_scope in {Scope.DESTINATION, Scope.ASSOCIATION}:
            scope, error_class = Scope(delivery.error_scope), ErrorClass(delivery.error_class)
            return SendError(error_class, scope, delivery.error_code, delivery.error_message)
        text = f"The destination did not answer: {self._health.breaker(delivery.destination).last_error}"
        return SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, "DestinationHeld", text)
