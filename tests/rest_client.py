# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router's REST API without Orthanc: a real store and real rules; each answer is held against openapi.json."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote

from jsonschema import Draft202012Validator

from builders import MODALITIES, NOW
from dicom_router.api.http import ROOT, Api, Endpoint
from dicom_router.api.routes import build
from dicom_router.api.services import Engine, Services
from dicom_router.config import Neighbours, Settings
from dicom_router.deliveries.delivery import Reason
from dicom_router.deliveries.outcome import SendError
from dicom_router.destination import Destination
from dicom_router.dispatch.breaker import Breaker
from dicom_router.dispatch.dispatcher import Blocked, Dispatcher
from dicom_router.host.sdk import Request
from dicom_router.orthanc_rest import OrthancRest
from dicom_router.routing.routing import Routing
from dicom_router.rules.shelf import RuleShelf
from dicom_router.store.store import Store
from dicom_router.studies.listings import Listings
from dicom_router.transports.transport import Transport
from fakes.orthanc import FakeOrthanc

JSON = {"content-type": "application/json"}


class FakeDispatcher:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.rung = 0
        self.canceled: list[int] = []
        self.added: list[str] = []
        self.blocks: dict[str, Blocked] = {}

    def ring(self) -> None:
        self.rung += 1

    def cancel_asked(self, delivery_id: int) -> None:
        self.canceled.append(delivery_id)

    def add_destination(self, destination: Destination) -> None:
        self.added.append(destination.name)

    def blocked(self, name: str) -> Blocked | None:
        return self.blocks.get(name)

    def breaker(self, _name: str) -> Breaker:
        return Breaker(last_success=NOW)


class FakeTransport:
    """Gives a sign of life, or does not."""

    error: SendError | None = None

    def probe(self, _destination: Destination) -> SendError | None:
        return self.error


class Orthanc(FakeOrthanc):
    """Knows its modalities too."""

    def get(self, path: str, timeout: float = 60.0) -> Any:
        known = {"/modalities": list(MODALITIES), "/plugins": ["python"]}
        return known[path] if path in known else super().get(path, timeout)


def make_routing(
    store: Store,
    orthanc: FakeOrthanc,
    settings: Settings,
    clock: Callable[[], float],
    destinations: Mapping[str, Destination] | None = None,
    shelf: RuleShelf | None = None,
    listings: Listings | None = None,
) -> Routing:
    """As running.py composes it."""
    return Routing(
        rest=cast(OrthancRest, orthanc),
        journal=store.journal,
        ledger=store.ledger,
        turns=store.turns,
        queue=store.queue,
        listings=listings or Listings(time.monotonic),
        destinations=settings.destinations if destinations is None else destinations,
        rules=(shelf or RuleShelf(settings.rules)).all,
        clock=clock,
        zone=settings.time_zone,
        patient_data=settings.patient_data,
        results=store.runs,
    )


@dataclass
class Client:
    """Calls the API as Orthanc would, and checks every answer against the document."""

    store: Store | None
    settings: Settings
    now: float = NOW
    orthanc: Orthanc = field(default_factory=Orthanc)
    dispatcher: FakeDispatcher = field(default_factory=FakeDispatcher)
    transport: FakeTransport = field(default_factory=FakeTransport)
    running: bool = True
    user: str = ""

    def __post_init__(self) -> None:
        self.services = Services(clock=lambda: self.now, neighbours=Neighbours(MODALITIES))
        self.services.destinations = dict(self.settings.destinations)
        self.services.shelf = RuleShelf(self.settings.rules)
        self.services.store = self.store
        self.services.rest = cast(OrthancRest, self.orthanc)
        if self.store is not None and self.running:
            routing = make_routing(
                self.store,
                self.orthanc,
                self.settings,
                lambda: self.now,
                self.services.destinations,
                self.services.shelf,
            )
            self.services.engine = Engine(routing, cast(Dispatcher, self.dispatcher), cast(Transport, self.transport))
        self.api: Api = build(self.services)
        self.document: dict[str, Any] = self.send("GET", "/openapi.json")[1]

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status and answer, without the check. The path is decoded, as Orthanc does."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        response = self.api.handle(
            Request(method, ROOT + unquote(path), query or {}, JSON if headers is None else headers, raw, self.user)
        )
        assert response.content_type == "application/json"
        return response.status, json.loads(response.body)

    def call(self, method: str, path: str, body: object = None, **more: Any) -> tuple[int, Any]:
        """Status and answer, which keep to the document."""
        status, answer = self.send(method, path, body, **more)
        endpoint = self.endpoint(method, path)
        if endpoint is None:
            assert status in {400, 404}
            self.validate({"$ref": "#/components/schemas/ErrorAnswer"}, answer)
            return status, answer
        responses = self.document["paths"][ROOT + endpoint.path][method.lower()]["responses"]
        assert str(status) in responses, f"{method} {path} answers {status}, which the document does not say"
        told = responses[str(status)].get("content")
        if status != 200:
            self.validate({"$ref": "#/components/schemas/ErrorAnswer"}, answer)
            assert answer["Error"]
        elif told is not None:
            self.validate(told["application/json"]["schema"], answer)
        return status, answer

    def get(self, path: str, **query: str) -> Any:
        """A good answer."""
        status, answer = self.call("GET", path, query=query)
        assert status == 200, answer
        return answer

    def post(self, path: str, body: object = None) -> Any:
        """A good answer to a change."""
        status, answer = self.call("POST", path, {} if body is None else body)
        assert status == 200, answer
        return answer

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        matching = [
            each for each in self.api.endpoints if each.method == method and each.pattern.fullmatch(ROOT + path)
        ]
        return matching[0] if matching and ROOT + matching[0].path in self.document["paths"] else None

    def validate(self, schema: Mapping[str, Any], value: object) -> None:
        Draft202012Validator({**schema, "components": self.document["components"]}).validate(value)


HELD = Blocked(Reason.HELD, NOW + 30)
