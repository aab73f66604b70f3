# SPDX-License-Identifier: AGPL-3.0-or-later
"""Calls to Orthanc's REST API that leave the interpreter free while Orthanc works: its HTTP port, with the SDK's token.

Where Orthanc has no HTTP server, the SDK's internal calls take over; those hold the interpreter.
"""

import json
import ssl
from typing import Any, BinaryIO, Protocol

import urllib3

from dicom_router.host.sdk import OrthancHost
from dicom_router.slow_sending import limit, unhurried
from dicom_router.unexpected import PlainlyToldError

NOT_FOUND = 404


class AskAgain(urllib3.Retry):
    """But not what took too long: Orthanc would work at it as long again, and the caller waits all the while."""

    def increment(self, *given: Any, **told: Any) -> Any:
        if isinstance(told.get("error"), urllib3.exceptions.ReadTimeoutError):
            raise told["error"]
        return super().increment(*given, **told)


ASK_AGAIN = AskAgain(3, redirect=False, status=0, allowed_methods=None)
NO_RETRY = urllib3.Retry(0, redirect=False)
DOWNLOAD_SECONDS = 1800.0  # without a byte: Orthanc makes a whole archive before it sends the first one
DOWNLOAD_BYTES = 1 << 20  # at a time


class OrthancError(PlainlyToldError):
    """Orthanc refused a call. `code` is its ErrorCode, `details` its text, `payload` what 1.12.10 and later add."""

    def __init__(self, status: int, code: int, details: str, payload: dict[str, Any] | None = None) -> None:
        super().__init__(f"Orthanc answered {status}: {details}")
        self.status = status
        self.code = code
        self.details = details
        self.payload = payload or {}

    @property
    def not_found(self) -> bool:
        """True when there is no such thing."""
        return self.status == NOT_FOUND


class OrthancUnreachableError(OrthancError):
    """No answer: Orthanc stops, or the call took too long. Whether it was carried out is not known."""

    def __init__(self, details: str) -> None:
        super().__init__(0, 0, details)


class OrthancRest(Protocol):
    """Orthanc's REST API; paths as in Orthanc's documentation, bodies and answers decoded JSON."""

    holds_interpreter: bool
    finds_all: bool  # see `extended_find`

    def get(self, path: str, timeout: float = 60.0) -> Any:
        """GET; raises OrthancError."""

    def ask(self, path: str, body: object) -> Any:
        """POST that changes nothing, such as a search; raises OrthancError."""

    def post(self, path: str, body: object, timeout: float = 60.0) -> Any:
        """POST; raises OrthancError."""

    def post_bytes(self, path: str, body: bytes, timeout: float) -> Any:
        """POST of a DICOM file; raises OrthancError."""

    def get_bytes(self, path: str, timeout: float = 60.0) -> bytes:
        """GET of a file; raises OrthancError."""

    def ask_bytes(self, path: str, body: object, timeout: float = 60.0) -> bytes:
        """POST that changes nothing and answers a file; raises OrthancError."""

    def download(self, path: str, target: BinaryIO, body: object = None) -> None:
        """GET of what may be large, or POST of a question with `body`, into an open file; raises OrthancError."""

    def delete(self, path: str) -> None:
        """DELETE; raises OrthancError."""


class HttpRest:
    """Through the HTTP port. Thread-safe.

    Orthanc closes a kept connection when it likes, perhaps just as a request is sent. A question is then asked again;
    a change must not be made twice, so each has a connection of its own.
    """

    holds_interpreter = False

    def __init__(self, url: str, token: str, connections: int = 16, *, finds_all: bool = False) -> None:
        self.finds_all = finds_all
        context = ssl.create_default_context()
        context.check_hostname = False  # the port of our own process
        context.verify_mode = ssl.CERT_NONE
        self._url = url.rstrip("/")
        self._headers = {"Authorization": token}
        self._context = context
        self._pool = unhurried(urllib3.PoolManager(maxsize=connections, ssl_context=context))

    def get(self, path: str, timeout: float = 60.0) -> Any:
        return _decode(self._request(self._pool, "GET", path, timeout=timeout))

    def get_bytes(self, path: str, timeout: float = 60.0) -> bytes:
        return self._request(self._pool, "GET", path, timeout=timeout)

    def ask_bytes(self, path: str, body: object, timeout: float = 60.0) -> bytes:
        return self._request(self._pool, "POST", path, json.dumps(body).encode(), timeout)

    def ask(self, path: str, body: object) -> Any:
        return _decode(self._request(self._pool, "POST", path, json.dumps(body).encode()))

    def post(self, path: str, body: object, timeout: float = 60.0) -> Any:
        return _decode(self._change("POST", path, json.dumps(body).encode(), timeout))

    def post_bytes(self, path: str, body: bytes, timeout: float) -> Any:
        return _decode(self._change("POST", path, body, timeout))

    def download(self, path: str, target: BinaryIO, body: object = None) -> None:
        method, sent = ("GET", None) if body is None else ("POST", json.dumps(body).encode())
        try:
            response = self._pool.request(
                method,
                self._url + path,
                body=sent,
                headers=self._headers,
                retries=ASK_AGAIN,
                timeout=limit(DOWNLOAD_SECONDS),
                preload_content=False,
            )
            if response.status != 200:  # noqa: PLR2004 - see _request
                raise _error(response.status, response.data)
            for part in response.stream(DOWNLOAD_BYTES):
                target.write(part)
            response.release_conn()
        except urllib3.exceptions.HTTPError as problem:
            raise OrthancUnreachableError(f"{problem!r} in {method} {path}") from problem

    def delete(self, path: str) -> None:
        self._change("DELETE", path)

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.clear()

    def _change(self, method: str, path: str, body: bytes | None = None, timeout: float = 60.0) -> bytes:
        with unhurried(urllib3.PoolManager(ssl_context=self._context, headers={"Connection": "close"})) as once:
            return self._request(once, method, path, body, timeout, retries=NO_RETRY)

    def _request(
        self,
        pool: urllib3.PoolManager,
        method: str,
        path: str,
        body: bytes | None = None,
        timeout: float = 60.0,
        retries: urllib3.Retry = ASK_AGAIN,
    ) -> bytes:
        try:
            response = pool.request(
                method,
                self._url + path,
                body=body,
                headers={**pool.headers, **self._headers},
                retries=retries,
                timeout=limit(timeout),
            )
        except urllib3.exceptions.HTTPError as problem:
            raise OrthancUnreachableError(f"{problem!r} in {method} {path}") from problem
        if response.status != 200:  # noqa: PLR2004 - Orthanc has no other success on these routes
            raise _error(response.status, response.data)
        return response.data


class SdkRest:
    """Through the SDK: for an Orthanc without HTTP server."""

    holds_interpreter = True
    finds_all = False

    def __init__(self, host: OrthancHost) -> None:
        self._host = host

    def get(self, path: str, timeout: float = 60.0) -> Any:  # noqa: ARG002 - the SDK has no time limit
        return _decode(self._call("GET", path))

    def get_bytes(self, path: str, timeout: float = 60.0) -> bytes:  # noqa: ARG002 - the SDK has no time limit
        return self._call("GET", path)

    def ask_bytes(self, path: str, body: object, timeout: float = 60.0) -> bytes:  # noqa: ARG002
        return self._call("POST", path, json.dumps(body).encode())

    def ask(self, path: str, body: object) -> Any:
        return self.post(path, body)

    def post(self, path: str, body: object, timeout: float = 60.0) -> Any:  # noqa: ARG002 - the SDK has no time limit
        return _decode(self._call("POST", path, json.dumps(body).encode()))

    def post_bytes(self, path: str, body: bytes, timeout: float) -> Any:  # noqa: ARG002
        return _decode(self._call("POST", path, body))

    def download(self, path: str, target: BinaryIO, body: object = None) -> None:
        target.write(self._call("GET", path) if body is None else self._call("POST", path, json.dumps(body).encode()))

    def delete(self, path: str) -> None:
        self._call("DELETE", path)

    def close(self) -> None:
        """Nothing is kept."""

    def _call(self, method: str, path: str, body: bytes = b"") -> bytes:
        try:
            return self._host.call(method, path, body)
        except Exception as problem:
            # orthanc.OrthancException(code, description); before 1.12.8 every error is UNKNOWN_RESOURCE (17).
            code = problem.args[0] if problem.args and isinstance(problem.args[0], int) else 0
            status = NOT_FOUND if code == UNKNOWN_RESOURCE else 500
            raise OrthancError(status, code, str(problem.args[-1] if problem.args else problem)) from problem


UNKNOWN_RESOURCE = 17  # Orthanc, Enumerations.h


def connect(host: OrthancHost, configuration: dict[str, Any]) -> HttpRest | SdkRest:
    """The way to Orthanc's REST API: its HTTP port when that answers, else the SDK."""
    if not configuration.get("HttpServerEnabled", True):
        return SdkRest(host)
    scheme = "https" if configuration.get("SslEnabled") else "http"
    addresses = configuration.get("HttpBindAddresses") or ["127.0.0.1"]
    address = "127.0.0.1" if "127.0.0.1" in addresses or "0.0.0.0" in addresses else addresses[0]  # noqa: S104
    rest = HttpRest(f"{scheme}://{address}:{configuration.get('HttpPort', 8042)}", host.authorization_token())
    try:
        rest.finds_all = extended_find(rest.get("/system"), configuration)
    except OrthancError as problem:
        host.log_warning(
            f"dicom-router: the HTTP port of Orthanc cannot be used ({problem}); "
            "calls go through the plugin SDK and can hold the interpreter."
        )
        return SdkRest(host)
    return rest


def extended_find(system: dict[str, Any], configuration: dict[str, Any]) -> bool:
    """Whether `/tools/find` tells all about the instances of a resource by one question to the index.

    So it is since Orthanc 1.12.5, with an index that can; a limit for answers would cut them short without a word.
    """
    limited = configuration.get("LimitFindInstances") or configuration.get("LimitFindResults")
    return bool((system.get("Capabilities") or {}).get("HasExtendedFind")) and not limited


def _decode(body: bytes) -> Any:
    return json.loads(body) if body else None


def _error(status: int, body: bytes) -> OrthancError:
    try:
        told = json.loads(body)
    except ValueError:
        return OrthancError(status, 0, body[:200].decode("utf-8", "replace"))
    if not isinstance(told, dict):
        return OrthancError(status, 0, "no reason given")
    details = told.get("Details") or told.get("Message") or "no reason given"
    return OrthancError(status, int(told.get("OrthancStatus") or 0), str(details), told.get("ErrorPayload"))
