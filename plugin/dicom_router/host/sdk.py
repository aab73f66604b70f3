# SPDX-License-Identifier: AGPL-3.0-or-later
"""The typed face of Orthanc's Python plugin (module `orthanc`), and the only file that knows its versions.

Plugin 4.0 to 7.1. What a version lacks is found with `hasattr`; see OrthancPluginCPlugin.h and the plugin's
CodeAnalysis for the functions, PythonLock.cpp for what an exception in a callback costs.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType
from typing import Any
from urllib.parse import unquote_plus

from dicom_router.host.kept import keep
from dicom_router.host.request_threads import RequestThreads
from dicom_router.host.thread_state import keep_thread_state
from dicom_router.unexpected import kind_and_place
from dicom_router.users import checks_users, user_of

PLUGIN = "python"  # all Python scripts are this one plugin for Orthanc


class Change(Enum):
    """The changes that the router listens to."""

    STARTED = "OrthancStarted"
    STOPPED = "OrthancStopped"
    STABLE = "Stable"
    NEW_INSTANCE = "NewInstance"
    DELETED = "Deleted"
    JOB_SUCCESS = "JobSuccess"
    JOB_FAILURE = "JobFailure"


@dataclass(frozen=True)
class Request:
    """An HTTP request to one of the plugin's routes. Header names are in lower case; `path` has no trailing slash.

    `user` is who Orthanc has let in by name and password, empty where it asks nobody for them.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    user: str = ""


@dataclass(frozen=True)
class Response:
    """The answer to a request."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


# The router asks itself how Orthanc hands on the arguments of a query: see OrthancHost.learn_queries.
QUERY_PROBE = "/router/-/query"

OnChange = Callable[[Change, str], None]
OnRequest = Callable[[Request], Response]


class OrthancHost:
    """What the router needs of its host."""

    def __init__(self, orthanc: ModuleType | Any) -> None:
        self._orthanc = orthanc
        self._queries_come_decoded = False
        self._checks_users: bool | None = None
        self._threads = RequestThreads()
        types = orthanc.ChangeType
        self._changes = {
            types.ORTHANC_STARTED: Change.STARTED,
            types.ORTHANC_STOPPED: Change.STOPPED,
            types.STABLE_STUDY: Change.STABLE,
            types.STABLE_SERIES: Change.STABLE,
            types.STABLE_PATIENT: Change.STABLE,
            types.NEW_INSTANCE: Change.NEW_INSTANCE,
            types.DELETED: Change.DELETED,
            types.JOB_SUCCESS: Change.JOB_SUCCESS,
            types.JOB_FAILURE: Change.JOB_FAILURE,
        }

    def configuration(self) -> dict[str, Any]:
        """Orthanc's whole configuration, all files merged. It holds secrets."""
        loaded: dict[str, Any] = json.loads(self._orthanc.GetConfiguration())
        return loaded

    def configuration_file(self) -> str:
        """The file or folder that Orthanc was started with; empty without one."""
        return str(self._orthanc.GetConfigurationPath() or "")

    def log_info(self, message: str) -> None:
        """Shown with `--verbose` only."""
        self._orthanc.LogInfo(_one_line(message))

    def log_warning(self, message: str) -> None:
        """Shown always: Orthanc's own level for what an administrator should see."""
        self._orthanc.LogWarning(_one_line(message))

    def log_error(self, message: str) -> None:
        """Shown always, as an error."""
        self._orthanc.LogError(_one_line(message))

    def authorization_token(self) -> str:
        """The value of an `Authorization` header that opens Orthanc's HTTP port to this plugin."""
        return str(self._orthanc.GenerateRestApiAuthorizationToken())

    def server_identifier(self) -> str | None:
        """Orthanc's own name for this server, the same over restarts; None before Orthanc 1.11.1."""
        if hasattr(self._orthanc, "GetDatabaseServerIdentifier"):
            return str(self._orthanc.GetDatabaseServerIdentifier())
        return None

    def global_property(self, number: int) -> str:
        """A text kept in Orthanc's index, empty when it was never set."""
        return str(self._orthanc.GetGlobalProperty(number, ""))

    def set_global_property(self, number: int, value: str) -> None:
        """Keep a text in Orthanc's index."""
        self._orthanc.SetGlobalProperty(number, value)

    def call(self, method: str, path: str, body: bytes = b"") -> bytes:
        """An internal REST call. It holds the interpreter until Orthanc has answered: for quick calls only.

        Raises whatever the SDK raises, `orthanc.OrthancException` for an error of Orthanc.
        """
        if method == "GET":
            return bytes(self._orthanc.RestApiGet(path))
        if method == "DELETE":
            self._orthanc.RestApiDelete(path)
            return b""
        send = self._orthanc.RestApiPost if method == "POST" else self._orthanc.RestApiPut
        return bytes(send(path, body))

    def listen(self, pattern: str, on_request: OnRequest) -> None:
        """Answer requests whose path matches the regular expression. At import only: later it can deadlock."""

        def respond(uri: str, request: Mapping[str, Any]) -> Response:
            return self._probed(request) if uri == QUERY_PROBE else on_request(self._request(uri, request))

        def answer(output: Any, uri: str, **request: Any) -> None:
            try:
                response = self._threads.run(lambda: respond(uri, request))
            except Exception as problem:  # noqa: BLE001 - nothing may be raised into Orthanc
                self.log_error(
                    f"dicom-router: the request {request.get('method')} {uri} failed: {kind_and_place(problem)}"
                )
                response = Response(b'{"Error": "Internal error; see the log of Orthanc.", "Problems": []}', status=500)
            try:
                self._answer(output, response)
            except Exception as problem:  # noqa: BLE001 - the client is gone
                self.log_error(
                    f"dicom-router: {request.get('method')} {uri} could not be answered: {kind_and_place(problem)}"
                )

        self._orthanc.RegisterRestCallback(pattern, keep(answer))

    def stop_listening(self) -> None:
        """Orthanc stops: end the threads that work on requests. What still comes is answered all the same."""
        self._threads.stop()

    def set_home(self, uri: str) -> None:
        """Where the plugin's own page is; Orthanc Explorer and Orthanc Explorer 2 link to it."""
        if hasattr(self._orthanc, "SetRootUri"):
            self._orthanc.SetRootUri(uri)
        elif hasattr(self._orthanc, "SetRootUri2"):
            self._orthanc.SetRootUri2(PLUGIN, uri)

    def extend_explorer(self, script: str) -> None:
        """Add JavaScript to Orthanc Explorer, the classic one. A plugin has one text: a second one replaces it."""
        if hasattr(self._orthanc, "ExtendOrthancExplorer"):
            self._orthanc.ExtendOrthancExplorer(script)
        elif hasattr(self._orthanc, "ExtendOrthancExplorer2"):
            self._orthanc.ExtendOrthancExplorer2(PLUGIN, script)

    def on_change(self, callback: OnChange) -> None:
        """Hear of changes. At import only, and once in a process."""
        self._orthanc.RegisterOnChangeCallback(self.change_listener(callback))

    def change_listener(self, callback: OnChange) -> Callable[[int, int, str], None]:
        """What Orthanc calls: it translates the change and raises nothing."""

        def listen(change_type: int, _level: int, resource_id: str) -> None:
            keep_thread_state()
            change = self._changes.get(change_type)
            if change is None:
                return
            try:
                callback(change, resource_id)
            except Exception as problem:  # noqa: BLE001 - nothing may be raised into Orthanc
                self.log_error(f"dicom-router: {change.value} was not handled: {kind_and_place(problem)}")

        return keep(listen)

    def learn_queries(self, get: Callable[[str], Any]) -> None:
        """Find out whether the arguments of a query come decoded; `get` asks Orthanc's HTTP port. Raises what it does.

        They did not with Orthanc 1.10.1 and 1.12.7, and did with 1.13.0; a value says nothing of it by itself.
        """
        self._queries_come_decoded = get(f"{QUERY_PROBE}?text=%2B")["Text"] == "+"

    def _probed(self, request: Mapping[str, Any]) -> Response:
        return Response(json.dumps({"Text": request.get("get", {}).get("text", "")}).encode())

    def _request(self, uri: str, request: Mapping[str, Any]) -> Request:
        query = request.get("get", {})
        if not self._queries_come_decoded:
            query = {unquote_plus(name): unquote_plus(value) for name, value in query.items()}
        if self._checks_users is None:
            self._checks_users = checks_users(self.configuration())
        headers = request.get("headers", {})
        return Request(
            method=request["method"],
            path=uri.rstrip("/") or "/",
            query=query,
            headers=headers,
            body=request.get("body", b"") or b"",
            user=user_of(headers) if self._checks_users else "",
        )

    def _answer(self, output: Any, response: Response) -> None:
        for name, value in response.headers.items():
            output.SetHttpHeader(name, value)
        if response.status == 200:  # noqa: PLR2004 - the only status of AnswerBuffer
            output.AnswerBuffer(response.body, response.content_type)
            return
        # HttpOutput.cpp takes no 301, 401 and 405 here: those have methods of their own, without a body.
        try:
            output.SendHttpStatus(response.status, response.body)
        except TypeError:  # plugin 4.0 and 4.1 take a string and its size
            output.SendHttpStatus(response.status, response.body.decode(), len(response.body))


def _one_line(message: str) -> str:
    """A value from outside must not forge a second log line."""
    return "".join(character if character.isprintable() else " " for character in message)
