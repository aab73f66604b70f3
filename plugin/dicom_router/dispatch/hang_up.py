# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ending this process's own connections to destinations that do not answer, so that Orthanc can stop.

Orthanc waits at its stop for the C-STORE under way, twice the timeout where the destination hangs (a minute and more).
Shutting the socket down makes DCMTK see the end of the association at once. Linux only: elsewhere the timeouts decide.
"""

import os
import socket
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

OPEN_FILES = Path("/proc/self/fd")


def resolve(host: str, port: int) -> set[tuple[str, int]]:
    """The IP addresses and port of a destination; empty when its name is not known. Can block on the name server."""
    with suppress(OSError):
        return {(str(found[4][0]), port) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    return set()


def hang_up(peers: Collection[tuple[str, int]]) -> int:
    """Shut down this process's TCP connections to these IP addresses and ports. Answers how many there were."""
    if not OPEN_FILES.is_dir():
        return 0
    return sum(_shut_down(int(entry.name), peers) for entry in OPEN_FILES.iterdir())


def _shut_down(descriptor: int, peers: Collection[tuple[str, int]]) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        connection = socket.socket(fileno=os.dup(descriptor))
    except OSError:  # closed meanwhile
        return False
    with connection, suppress(OSError, TypeError):
        if connection.type == socket.SOCK_STREAM and connection.getpeername()[:2] in peers:
            connection.shutdown(socket.SHUT_RDWR)
            return True
    return False
