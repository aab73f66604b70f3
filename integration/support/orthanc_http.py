# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small JSON client of one Orthanc's REST API."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from .network import LOOPBACK

# Orthanc closes a kept connection when it likes, perhaps just as a request is sent: a question is asked again, and a
# change has a connection of its own.
ASK_AGAIN = urllib3.Retry(total=1, connect=0, redirect=0, status=0, allowed_methods=["GET"])


@dataclass(frozen=True)
class Answer:
    """What the server answered, whatever the status."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class HttpError(Exception):
    """The server answered a status of 400 or more; `answer` has all of it."""

    def __init__(self, request: str, answer: Answer) -> None:
        super().__init__(f"{request}: {answer.status} {answer.body[:500].decode(errors='replace')}")
        self.answer = answer


class OrthancHttp:
    """REST calls to an Orthanc on this machine. Objects and lists travel as JSON; text and bytes travel as they are."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{LOOPBACK}:{port}"
        self._pool = urllib3.PoolManager(maxsize=16, retries=ASK_AGAIN)
        self.authorization: dict[str, str] = {}

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, timeout: float = 30
    ) -> Answer:
        """One call; never raises for a status. Without `headers`, a body that is sent as JSON says so."""
        is_raw = body is None or isinstance(body, (str, bytes))
        data = body if is_raw else json.dumps(body)
        if headers is None:
            headers = {} if is_raw else {"Content-Type": "application/json"}
        pool = self._pool
        if method != "GET":
            pool = urllib3.PoolManager(retries=False)
            headers = {**headers, "Connection": "close"}
        started = time.monotonic()
        reply = pool.request(
            method, self.url + path, body=data, headers={**self.authorization, **headers}, timeout=timeout
        )
        return Answer(reply.status, reply.data, dict(reply.headers), time.monotonic() - started)

    def get(self, path: str, timeout: float = 30) -> Any:
        return self._json("GET", path, None, timeout)

    def get_bytes(self, path: str, timeout: float = 30) -> bytes:
        """For what is not JSON: `/instances/{id}/file`."""
        return self._checked("GET", path, None, timeout).body

    def post(self, path: str, body: Any = b"", timeout: float = 30) -> Any:
        return self._json("POST", path, body, timeout)

    def put(self, path: str, body: Any = b"", timeout: float = 30) -> Any:
        return self._json("PUT", path, body, timeout)

    def delete(self, path: str, timeout: float = 30) -> Any:
        return self._json("DELETE", path, None, timeout)

    def forget_connections(self) -> None:
        """After the server was stopped."""
        self._pool.clear()

    def _json(self, method: str, path: str, body: Any, timeout: float) -> Any:
        answer = self._checked(method, path, body, timeout)
        return answer.json if answer.body else None

    def _checked(self, method: str, path: str, body: Any, timeout: float) -> Answer:
        answer = self.request(method, path, body, timeout=timeout)
        if answer.status >= 400:
            raise HttpError(f"{method} {path}", answer)
        return answer
