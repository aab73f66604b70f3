# SPDX-License-Identifier: AGPL-3.0-or-later
"""Connections over HTTP that give what is sent as long as the answer.

urllib3 sends a body within the time that it has to connect: 5 seconds, with the 64 MB of a cine still on their way.
"""

from collections.abc import Callable

import urllib3

CONNECT_TIMEOUT = 5.0  # seconds; to connect, and to agree on TLS


class _Plain(urllib3.connection.HTTPConnection):
    def connect(self) -> None:
        _connect(self, super().connect)


class _Encrypted(urllib3.connection.HTTPSConnection):
    def connect(self) -> None:
        _connect(self, super().connect)


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Encrypted


def unhurried(pool: urllib3.PoolManager) -> urllib3.PoolManager:
    """The same pool, for requests with `limit`."""
    pool.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}
    return pool


def limit(seconds: float) -> urllib3.Timeout:
    """So long each step of a request may take; to connect, CONNECT_TIMEOUT at most."""
    return urllib3.Timeout(connect=seconds, read=seconds)


def _connect(connection: urllib3.connection.HTTPConnection, connect: Callable[[], None]) -> None:
    seconds = connection.timeout
    connection.timeout = CONNECT_TIMEOUT if seconds is None else min(CONNECT_TIMEOUT, seconds)
    try:
        connect()
    finally:
        connection.timeout = seconds
    connection.sock.settimeout(seconds)
