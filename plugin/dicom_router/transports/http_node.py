# SPDX-License-Identifier: AGPL-3.0-or-later
"""A server as Orthanc's configuration describes it in OrthancPeers or DicomWeb.Servers, asked without Orthanc.

Orthanc's jobs and routes say that a server did not take something, hardly ever why: HttpClient.cpp keeps of the HTTP
status whether it is a success. Asked directly, with what the configuration says of it, the server tells.
"""

import base64
import json
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import urllib3

from dicom_router.deliveries.outcome import HTTP_SUCCESS, ErrorClass, Scope, SendError
from dicom_router.slow_sending import limit, unhurried

DEFAULT_TIMEOUT = 60.0  # seconds; of Orthanc's HttpTimeout
NEVER_AGAIN = urllib3.Retry(0, redirect=False)
LONGEST_TOLD = 200  # characters
PAGE_TYPES, PAGES = ("text/html", "application/xhtml"), (b"<!doctype html", b"<html")


class NotReachedError(Exception):
    """There was no answer. `refused`: at once, so perhaps Orthanc has a way there that we have not."""

    def __init__(self, error: SendError, *, refused: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.refused = refused


@dataclass(frozen=True)
class HttpAnswer:
    """What the server answered, whatever the status."""

    status: int
    body: bytes
    content_type: str = ""

    @property
    def ok(self) -> bool:
        """It did what was asked."""
        return self.status in HTTP_SUCCESS

    @property
    def page(self) -> bool:
        """It is written for people: a proxy or a login answers in the server's place, often with status 200.

        Frameworks call an answer HTML when nobody has told them what it is, also an empty one or JSON.
        """
        if self.body[:1000].lstrip().lower().startswith(PAGES):
            return True
        return self.content_type.lower().startswith(PAGE_TYPES) and bool(self.body.strip()) and self.json() is None

    def json(self) -> Any:
        """The body decoded; None when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Tls:
    """How a server is recognised over HTTPS, and how it recognises us. Paths of files."""

    verify: bool = True
    authorities: str = ""
    certificate: str = ""
    key: str = ""
    key_password: str = field(default="", repr=False)

    def context(self) -> ssl.SSLContext:
        """Raises OSError for a file that cannot be read."""
        context = ssl.create_default_context(cafile=self.authorities or None)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key or None, self.key_password or None)
        return context


@dataclass(frozen=True)
class HttpNode:
    """Where it is, and what it wants to see. What is secret is not shown. `timeout` in seconds."""

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: Tls = field(default_factory=Tls)
    proxy: str = field(default="", repr=False)
    timeout: float = DEFAULT_TIMEOUT

    @property
    def address(self) -> tuple[str, int]:
        """Whom a connection goes to: the proxy, where there is one."""
        return host_and_port(_proxy_url(self.proxy) if self.proxy else self.url)

    def is_that_of(self, entry: Mapping[str, Any]) -> bool:
        """Whether Orthanc, which shows this entry without its secrets, still means the same server and user."""
        url, username, _ = _without_user(str(entry.get("Url", "")))
        return (url, entry.get("Username") or username) == (self.url, self.username)

    def get(self, path: str, accept: str = "application/json", timeout: float | None = None) -> HttpAnswer:
        """GET below the server's URL; raises NotReachedError."""
        return self._request("GET", path, None, {"Accept": accept}, timeout)

    def post(self, path: str, body: bytes, headers: Mapping[str, str], timeout: float | None = None) -> HttpAnswer:
        """POST below the server's URL; raises NotReachedError."""
        return self._request("POST", path, body, headers, timeout)

    def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout: float | None
    ) -> HttpAnswer:
        seconds = timeout or self.timeout
        sent = {**self._authorization(), **self.headers, **headers, "Connection": "close"}
        pieces = None
        if body is not None:  # each piece has its own time limit, however slow the line is for all of them
            sent["Content-Length"], pieces = str(len(body)), BytesIO(body)
        try:
            with unhurried(self._pool()) as pool:
                answer = pool.request(
                    method, self.url + path, body=pieces, headers=sent, retries=NEVER_AGAIN, timeout=limit(seconds)
                )
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise self._not_reached(problem) from problem
        return HttpAnswer(answer.status, answer.data, answer.headers.get("Content-Type") or "")

    def _pool(self) -> urllib3.PoolManager:
        context = self.tls.context() if self.url.startswith("https:") else None
        if not self.proxy:
            return urllib3.PoolManager(ssl_context=context)
        place = urlsplit(_proxy_url(self.proxy))
        headers = _basic(unquote(place.username), unquote(place.password or "")) if place.username else {}
        address = f"{place.scheme}://{place.netloc.rpartition('@')[2]}"
        proxy_headers = {f"Proxy-{name}": value for name, value in headers.items()}
        return urllib3.ProxyManager(address, proxy_headers=proxy_headers, ssl_context=context)

    def _authorization(self) -> dict[str, str]:
        return _basic(self.username, self.password) if self.username else {}

    def _not_reached(self, problem: Exception) -> NotReachedError:
        reason = getattr(problem, "reason", None) or problem
        if isinstance(reason, urllib3.exceptions.ProtocolError):  # so urllib3 wraps what happens while it sends
            reason = reason.args[-1]
        place = "{}:{}".format(*host_and_port(self.url))
        for kind, scope, code, text in _PROBLEMS:
            if isinstance(reason, kind):
                error = SendError(ErrorClass.TRANSIENT, scope, code, text.format(place))
                return NotReachedError(error, refused=code not in {"Timeout", "ConnectionTimeout"})
        error = SendError(
            ErrorClass.TRANSIENT, Scope.ASSOCIATION, "ConnectionLost", f"The connection to {place} broke."
        )
        return NotReachedError(error, refused=True)


# urllib3's reasons; the first that fits: NewConnectionError is a ConnectTimeoutError too.
_PROBLEMS: tuple[tuple[type[Exception], Scope, str, str], ...] = (
    (urllib3.exceptions.NameResolutionError, Scope.DESTINATION, "UnknownHost", "Nobody knows the address of {}."),
    (urllib3.exceptions.SSLError, Scope.DESTINATION, "TlsFailed", "{} and Orthanc do not agree on TLS."),
    (urllib3.exceptions.NewConnectionError, Scope.DESTINATION, "ConnectionRefused", "{} refuses the connection."),
    (urllib3.exceptions.ConnectTimeoutError, Scope.DESTINATION, "ConnectionTimeout", "{} does not answer."),
    (TimeoutError, Scope.ASSOCIATION, "Timeout", "{} has stopped taking what is sent."),
    (urllib3.exceptions.ReadTimeoutError, Scope.ASSOCIATION, "Timeout", "{} has not answered in time."),
)


def http_nodes(entries: object, orthanc: Mapping[str, Any]) -> dict[str, HttpNode]:
    """The servers of OrthancPeers or of DicomWeb.Servers, by name; without those that need a hardware token."""
    found: dict[str, HttpNode] = {}
    for name, entry in entries.items() if isinstance(entries, dict) else ():
        with suppress(ValueError, TypeError):  # an entry that Orthanc will not like either
            node = _node(entry, orthanc)
            if node is not None:
                found[name] = node
    return found


def _node(entry: object, orthanc: Mapping[str, Any]) -> HttpNode | None:
    told = dict(zip(("Url", "Username", "Password"), entry, strict=False)) if isinstance(entry, list) else entry
    if not isinstance(told, dict) or not isinstance(told.get("Url"), str) or told.get("Pkcs11"):
        return None
    url, username, password = _without_user(told["Url"])
    headers = told.get("HttpHeaders")
    return HttpNode(
        url,
        str(told.get("Username") or username),
        str(told.get("Password") or password),
        {str(name): str(value) for name, value in headers.items()} if isinstance(headers, dict) else {},
        Tls(
            bool(orthanc.get("HttpsVerifyPeers", True)),
            str(orthanc.get("HttpsCACertificates") or ""),
            str(told.get("CertificateFile") or ""),
            str(told.get("CertificateKeyFile") or ""),
            str(told.get("CertificateKeyPassword") or ""),
        ),
        str(orthanc.get("HttpProxy") or ""),
        float(told.get("Timeout") or orthanc.get("HttpTimeout") or DEFAULT_TIMEOUT),
    )


def _without_user(url: str) -> tuple[str, str, str]:
    """The URL without the user name and the password that may stand in it; these; no slash at its end."""
    parts = urlsplit(url)
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    return bare, unquote(parts.username or ""), unquote(parts.password or "")


def host_and_port(url: str) -> tuple[str, int]:
    """Whom a connection for this URL goes to."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _proxy_url(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}
