# SPDX-License-Identifier: AGPL-3.0-or-later
"""Addresses on this machine."""

import itertools
import secrets
import socket
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"

# Below the range from which Linux takes the ports of outgoing connections (32768 and up),
# so that a server that restarts finds its port still free.
_candidates = itertools.cycle(range(20000, 32000))
# Several runs share this machine, and a root of .ci/matrix numbers its processes anew: no place follows from the PID.
for _ in range(secrets.randbelow(12000)):
    next(_candidates)


@dataclass(frozen=True)
class DicomNode:
    """Where a DICOM application entity listens."""

    aet: str
    port: int
    host: str = LOOPBACK


def port_is_free(port: int) -> bool:
    """Whether a server could listen on `port` of every address of this machine, as Orthanc does."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody listens on; not given twice by one process until 12000 others were."""
    return next(port for port in _candidates if port_is_free(port))


def disable_nagle(connection: socket.socket) -> None:
    """Small answers leave at once, instead of waiting up to 40 ms for the peer's acknowledgement."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
