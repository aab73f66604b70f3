# SPDX-License-Identifier: AGPL-3.0-or-later
"""The module `orthanc` of Orthanc's Python plugin, as version 4.0 (Debian 12) and as 5.0 and later offer it."""

import json
from collections.abc import Callable
from typing import Any


class ChangeType:
    """Numbers as in OrthancCPlugin.h."""

    COMPLETED_SERIES = 0
    DELETED = 1
    NEW_CHILD_INSTANCE = 2
    NEW_INSTANCE = 3
    NEW_PATIENT = 4
    NEW_SERIES = 5
    NEW_STUDY = 6
    STABLE_PATIENT = 7
    STABLE_SERIES = 8
    STABLE_STUDY = 9
    ORTHANC_STARTED = 10
    ORTHANC_STOPPED = 11
    UPDATED_ATTACHMENT = 12
    UPDATED_METADATA = 13
    UPDATED_PEERS = 14
    UPDATED_MODALITIES = 15
    JOB_SUBMITTED = 16
    JOB_SUCCESS = 17
    JOB_FAILURE = 18


class OrthancException(Exception):  # noqa: N818 - the SDK's name
    """(code, description)."""


class Output:
    """The answer to one request, plugin 5.0 and later."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.status: int | None = None
        self.body: bytes = b""
        self.content_type = ""

    def SetHttpHeader(self, name: str, value: str) -> None:  # noqa: N802 - the SDK's names
        assert self.status is None, "headers come before the body"
        self.headers[name] = value

    def AnswerBuffer(self, body: bytes | str, content_type: str) -> None:  # noqa: N802
        self._answer(200, body)
        self.content_type = content_type

    def SendHttpStatus(self, status: int, body: bytes) -> None:  # noqa: N802
        assert status not in {200, 301, 401, 405}, "these have methods of their own"
        self._answer(status, body)

    def _answer(self, status: int, body: bytes | str) -> None:
        assert self.status is None, "one answer for a request"
        self.status = status
        self.body = body.encode() if isinstance(body, str) else bytes(body)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Output40(Output):
    """Plugin 4.0 and 4.1: a text and its size."""

    def SendHttpStatus(self, status: int, body: str, size: int) -> None:  # type: ignore[override]  # noqa: N802
        if not isinstance(body, str):
            raise TypeError("argument 2 must be str")
        self._answer(status, body.encode()[:size])
        assert len(self.body) == size


class Sdk:
    """What the router uses of the module. `output` makes the answers of this version."""

    ChangeType = ChangeType
    OrthancException = OrthancException

    def __init__(self, configuration: dict[str, Any] | None = None, output: type[Output] = Output) -> None:
        self._configuration = configuration or {}
        self._output = output
        self.log: list[tuple[str, str]] = []
        self.routes: dict[str, Callable[..., None]] = {}
        self.on_change: list[Callable[[int, int, str], None]] = []
        self.properties: dict[int, str] = {}
        self.rest: dict[str, Any] = {}
        self.rest_calls: list[tuple[str, str, bytes]] = []
        self.plugin: dict[str, str] = {}

    def SetRootUri(self, uri: str) -> None:  # noqa: N802
        self.plugin["RootUri"] = uri

    def ExtendOrthancExplorer(self, script: str) -> None:  # noqa: N802
        self.plugin["OrthancExplorer"] = script

    def GetConfiguration(self) -> str:  # noqa: N802
        return json.dumps(self._configuration)

    def GetConfigurationPath(self) -> str | None:  # noqa: N802
        return None

    def GenerateRestApiAuthorizationToken(self) -> str:  # noqa: N802
        return "Bearer token"

    def GetGlobalProperty(self, number: int, default: str) -> str:  # noqa: N802
        return self.properties.get(number, default)

    def SetGlobalProperty(self, number: int, value: str) -> None:  # noqa: N802
        self.properties[number] = value

    def LogInfo(self, message: str) -> None:  # noqa: N802
        self.log.append(("I", message))

    def LogWarning(self, message: str) -> None:  # noqa: N802
        self.log.append(("W", message))

    def LogError(self, message: str) -> None:  # noqa: N802
        self.log.append(("E", message))

    def RegisterRestCallback(self, pattern: str, callback: Callable[..., None]) -> None:  # noqa: N802
        assert pattern not in self.routes
        self.routes[pattern] = callback

    def RegisterOnChangeCallback(self, callback: Callable[[int, int, str], None]) -> None:  # noqa: N802
        if self.on_change:
            raise OrthancException(-1, "Can only register one Python callback")
        self.on_change.append(callback)

    def RestApiGet(self, path: str) -> bytes:  # noqa: N802
        return self._rest("GET", path, b"")

    def RestApiPost(self, path: str, body: bytes) -> bytes:  # noqa: N802
        return self._rest("POST", path, body)

    def RestApiPut(self, path: str, body: bytes) -> bytes:  # noqa: N802
        return self._rest("PUT", path, body)

    def RestApiDelete(self, path: str) -> None:  # noqa: N802
        self._rest("DELETE", path, b"")

    def _rest(self, method: str, path: str, body: bytes) -> bytes:
        self.rest_calls.append((method, path, body))
        if path not in self.rest:
            raise OrthancException(17, "Unknown resource")
        return json.dumps(self.rest[path]).encode()

    # What Orthanc does

    def request(
        self,
        pattern: str,
        path: str,
        method: str = "GET",
        body: bytes = b"",
        get: dict[str, str] | None = None,
        **headers: str,
    ) -> Output:
        """A request to the route that was registered for this pattern."""
        output = self._output()
        request: dict[str, Any] = {"method": method, "groups": (), "headers": headers, "get": get or {}}
        if method in {"POST", "PUT"}:
            request["body"] = body
        self.routes[pattern](output, path, **request)
        return output

    def changed(self, change: int, resource: str = "") -> None:
        for callback in self.on_change:
            callback(change, 1, resource)


class Sdk50(Sdk):
    """With what came after 4.0."""

    def GetDatabaseServerIdentifier(self) -> str:  # noqa: N802
        return "this-very-orthanc"


VERSIONS: dict[str, tuple[type[Sdk], type[Output]]] = {"4.0": (Sdk, Output40), "5.0": (Sdk50, Output)}
