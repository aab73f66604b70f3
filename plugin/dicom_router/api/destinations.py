# SPDX-License-Identifier: AGPL-3.0-or-later
"""/router/destinations."""

import time

from dicom_router.api.history import last_error
from dicom_router.api.http import Call, Endpoint, not_found
from dicom_router.api.schemas import (
    DestinationAnswer,
    DestinationsAnswer,
    EmptyBody,
    LastErrorAnswer,
    StateAnswer,
    TestAnswer,
)
from dicom_router.api.services import Services
from dicom_router.deliveries.delivery import Reason
from dicom_router.destination import Destination
from dicom_router.dispatch.health import Blocked

RATE_SECONDS = 900.0  # the rate is that of the last quarter of an hour

STATES = {
    Reason.HELD: "Held",
    Reason.PAUSED: "Paused",
    Reason.ROUTER_PAUSED: "Paused",
    Reason.DISABLED: "Disabled",
    Reason.WINDOW: "Waiting",
}


def state_of(blocked: Blocked | None) -> str:
    """The state of a destination as it is shown."""
    return STATES.get(blocked.reason, "Held") if blocked else "Up"


class DestinationRoutes:
    """Destinations: look, pause, resume, test."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def endpoints(self) -> list[Endpoint]:
        """The routes."""
        one = "/destinations/{name}"
        return [
            Endpoint("GET", "/destinations", "All destinations", self.all, DestinationsAnswer, errors=(503,)),
            Endpoint("GET", one, "One destination", self.one, DestinationAnswer, errors=(404, 503)),
            Endpoint(
                "POST", f"{one}/pause", "Send nothing there", self.pause, StateAnswer, EmptyBody, errors=(404, 503)
            ),
            Endpoint(
                "POST", f"{one}/resume", "Send there again", self.resume, StateAnswer, EmptyBody, errors=(404, 503)
            ),
            Endpoint(
                "POST", f"{one}/test", "Ask it for a sign of life", self.test, TestAnswer, EmptyBody, errors=(404, 503)
            ),
        ]

    def all(self, _call: Call) -> DestinationsAnswer:
        """In the order of the configuration."""
        return DestinationsAnswer([self._answer(each) for each in self._services.nameable().values()])

    def one(self, call: Call) -> DestinationAnswer:
        """By name."""
        return self._answer(self._find(call))

    def pause(self, call: Call) -> StateAnswer:
        """What is on its way arrives; nothing new starts."""
        return self._switch(call, paused=True)

    def resume(self, call: Call) -> StateAnswer:
        """Go on."""
        return self._switch(call, paused=False)

    def test(self, call: Call) -> TestAnswer:
        """A C-ECHO or its like, over HTTP ports: it does not hold the interpreter."""
        destination = self._find(call)
        began = time.monotonic()
        error = self._services.need_engine().transport.probe(destination)
        told = LastErrorAnswer(class_=error.error_class, code=error.code, message=error.message) if error else None
        return TestAnswer(ok=error is None, seconds=round(time.monotonic() - began, 3), error=told)

    def _switch(self, call: Call, *, paused: bool) -> StateAnswer:
        destination = self._find(call)
        self._services.need_store().switches.pause_destination(destination.name, paused=paused, user=call.user)
        self._services.ring()
        return StateAnswer(state=self._answer(destination).state)

    def _find(self, call: Call) -> Destination:
        found = self._services.destinations.get(call.path["name"])
        if found is None:
            raise not_found(f'destination "{call.path["name"][:64]}"')
        return found

    def _answer(self, destination: Destination) -> DestinationAnswer:
        history = self._services.need_store().history
        blocked = self._blocked(destination)
        instances, size = history.sent_since(destination.name, self._services.clock() - RATE_SECONDS)
        return DestinationAnswer(
            name=destination.name,
            kind=destination.kind,
            target=destination.target,
            state=state_of(blocked),
            reason=blocked.reason if blocked else "",
            paused_by=self._services.need_store().switches.paused_by(destination.name),
            until=blocked.until if blocked else None,
            counts=dict(history.counts(destination.name)),
            oldest_waiting=history.oldest_waiting(destination.name),
            instances_per_minute=round(instances * 60 / RATE_SECONDS, 2),
            bytes_per_minute=round(size * 60 / RATE_SECONDS, 2),
            last_error=self._last_error(destination),
            last_success=self._last_success(destination),
        )

    def _blocked(self, destination: Destination) -> Blocked | None:
        engine = self._services.engine
        return engine.dispatcher.blocked(destination.name) if engine else None

    def _last_success(self, destination: Destination) -> float | None:
        engine = self._services.engine
        return engine.dispatcher.breaker(destination.name).last_success if engine else None

    def _last_error(self, destination: Destination) -> LastErrorAnswer | None:
        found = self._services.need_store().history.last_error(destination.name)
        return last_error(found[1], found[2], found[3]) if found else None
