# SPDX-License-Identifier: AGPL-3.0-or-later
"""The destinations: which may be sent to now, and if not, why and until when."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from dicom_router.deliveries.delivery import Reason
from dicom_router.deliveries.outcome import Scope, SendError
from dicom_router.destination import Destination
from dicom_router.dispatch.breaker import Breaker
from dicom_router.dispatch.outside import Outside
from dicom_router.dispatch.workers import Workers
from dicom_router.store.queue import DeliveryQueue
from dicom_router.store.switches import Switches


@dataclass(frozen=True)
class Blocked:
    """Why nothing is sent to a destination now, and until when (epoch seconds) if that is known."""

    reason: Reason
    until: float | None = None


class Health:
    """All destinations and their breakers. Changed on the dispatcher's thread, read on any."""

    def __init__(
        self,
        destinations: Mapping[str, Destination],
        switches: Switches,
        queue: DeliveryQueue,
        workers: Workers,
        outside: Outside,
    ) -> None:
        self.destinations = dict(destinations)
        self._breakers = {name: Breaker() for name in destinations}
        self._switches = switches
        self._queue = queue
        self._workers = workers
        self._outside = outside
        self._returned: set[str] = set()  # what waits for these is to be woken

    def add(self, destination: Destination) -> None:
        """One more, that was not configured before."""
        self._breakers.setdefault(destination.name, Breaker())
        self.destinations = {**self.destinations, destination.name: destination}

    def breaker(self, name: str) -> Breaker:
        """Whether it can be trusted; that of an unknown destination knows nothing."""
        return self._breakers.get(name) or Breaker()

    def blocked(self, name: str) -> Blocked | None:
        """Why nothing is sent to it now; None when it may be sent to."""
        destination = self.destinations.get(name)
        if destination is None or destination.gone:
            return Blocked(Reason.UNKNOWN)
        if self._switches.router_paused():
            return Blocked(Reason.ROUTER_PAUSED)
        if not destination.enabled:
            return Blocked(Reason.DISABLED)
        if self._switches.destination_paused(name):
            return Blocked(Reason.PAUSED)
        breaker = self.breaker(name)
        if breaker.held:
            return Blocked(Reason.HELD, breaker.probe_at)
        now = self._outside.clock()
        opens = self._outside.window(destination, now)
        return None if opens == now else Blocked(Reason.WINDOW, opens)

    def only_urgent(self, name: str) -> bool | None:
        """None: nothing may be sent to it now. True: urgent deliveries only, its window is closed. False: all."""
        blocked = self.blocked(name)
        if blocked is None:
            return False
        return True if blocked.reason is Reason.WINDOW else None

    def reachable(self) -> list[str]:
        """Those that are there and not held."""
        return [name for name, each in self.destinations.items() if not (each.gone or self.breaker(name).held)]

    def next_change(self) -> float | None:
        """When a destination is next probed or opens its window; None when none will."""
        times = [breaker.probe_at for breaker in self._breakers.values() if breaker.held and not breaker.probing]
        times += [blocked.until for name in self.destinations if (blocked := self.blocked(name)) and blocked.until]
        return min(times, default=None)

    def wake(self, now: float) -> None:
        """What waits for those that are back is due. A database that does not answer is told later."""
        for name in list(self._returned):
            self._queue.wake_destination(name, now)
            self._returned.discard(name)

    def probe(self, now: float) -> None:
        """Start the probes that are due; they take no lane."""
        for name, breaker in self._breakers.items():
            if breaker.probe_due(now):
                breaker.probing = True
                destination = self.destinations[name]
                self._workers.start_asking(
                    partial(self._outside.transport.probe, destination), partial(self._probed, destination)
                )

    def probing(self) -> bool:
        """A probe is under way."""
        return any(breaker.probing for breaker in self._breakers.values())

    def _probed(self, destination: Destination, error: SendError | None) -> None:
        now = self._outside.clock()
        if self.breaker(destination.name).probed(now, error.message if error else None):
            self._outside.log(f"destination {destination.name} answers again")
            self._returned.add(destination.name)
            self.wake(now)

    def succeeded(self, destination: Destination) -> None:
        """It accepted an instance; what waited for it to come back is due."""
        now = self._outside.clock()
        if self.breaker(destination.name).succeeded(now):
            self._returned.add(destination.name)
            self.wake(now)

    def failed(self, destination: Destination, error: SendError) -> None:
        """Something went wrong; what blames an instance alone does not count."""
        if error.scope is Scope.INSTANCE:
            return
        if self.breaker(destination.name).failed(self._outside.clock(), error.message):
            self._outside.log(f"destination {destination.name} is held, it does not answer: {error.message}")
