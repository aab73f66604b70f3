# SPDX-License-Identifier: AGPL-3.0-or-later
"""Why a delivery waits, and when it can go: worked out when it is shown, since much may have changed since it began to.

Of all that must be over before it goes, what is over last is the reason: its delay or the pause after a failure, a
destination that does not answer, the windows of destination and rule.
"""

import json
from functools import lru_cache

from dicom_router.api.services import Services
from dicom_router.config import effective
from dicom_router.deliveries.delivery import WAITING, Delivery, Priority, Reason
from dicom_router.deliveries.outcome import Scope
from dicom_router.destination import Destination

WOKEN = frozenset({Scope.DESTINATION, Scope.ASSOCIATION})  # due at once when the destination is back


def waits(delivery: Delivery, services: Services) -> tuple[str, float | None]:
    """The reason, and the earliest time (epoch seconds); None where that is up to somebody, or never comes."""
    if delivery.status not in WAITING:
        return delivery.reason, None
    now = services.clock()
    due = not delivery.ready and delivery.due_at > now
    reason, at = (delivery.reason, delivery.due_at) if due else (Reason.QUEUED, now)
    engine = services.engine
    if engine is None:
        return reason, at
    blocked = engine.dispatcher.blocked(delivery.destination)
    if blocked is not None and blocked.reason is Reason.HELD:
        probe = max(now, blocked.until or now)
        if probe >= at or delivery.error_scope in WOKEN:
            reason, at = Reason.HELD, probe
    opens = _opens(delivery, services, at)
    if opens != at:
        reason = Reason.WINDOW
    if blocked is not None and blocked.reason not in {Reason.HELD, Reason.WINDOW}:
        return blocked.reason, opens if opens is not None and opens > now else None
    return reason, opens


def _opens(delivery: Delivery, services: Services, at: float) -> float | None:
    """When the windows are open, from `at` on; None for never."""
    plain = services.destinations.get(delivery.destination)
    if plain is None or services.engine is None or delivery.priority is Priority.URGENT:
        return at
    opens: float | None = at
    for destination in _with_windows(plain, delivery.options):
        opens = None if opens is None else services.engine.routing.opens(destination, opens)
    return opens


@lru_cache(maxsize=256)  # a page has many deliveries of few rules
def _with_windows(plain: Destination, kept: str) -> list[Destination]:
    """The destination, whose own windows always count, and those that the rule says; then both once more.

    `kept`: the options of a delivery.
    """
    options = json.loads(kept)
    send = options.get("Send") or {}
    said = effective(plain, send, options.get("Schedule"))
    # Without windows of its own, an entry of Send has those of the destination.
    return [plain, said] * 2 if send.get("Schedule") else [said]
