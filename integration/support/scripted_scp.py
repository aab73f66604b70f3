# SPDX-License-Identifier: AGPL-3.0-or-later
"""A C-STORE and C-ECHO provider that does what a test tells it, and remembers all it was asked."""

import hashlib
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import _STORAGE_CLASSES
from pynetdicom.transport import ThreadedAssociationServer

from .network import DicomNode, disable_nagle, free_port
from .waiting import wait_until

_config.LOG_HANDLER_LEVEL = "none"

SUCCESS = 0x0000
VERIFICATION = "1.2.840.10008.1.1"
WARNINGS = (0xB000, 0xB006, 0xB007)
STOP_SECONDS = 10
MAX_ASSOCIATIONS = 1000


class Misbehaviour(Enum):
    """What the SCP does instead of answering a C-STORE."""

    ABORT = "A-ABORT"
    DROP = "close the connection without a word"
    HANG = "never answer"


class Rejection(Enum):
    """Why an association is rejected."""

    CALLING_AET = "calling AE title not recognised (permanent)"
    CALLED_AET = "called AE title not recognised (permanent)"
    BUSY = "local limit exceeded (transient)"


@dataclass(frozen=True)
class StoreRequest:
    """One C-STORE as it was asked. `status` is None when it was not answered."""

    uid: str
    calling_aet: str
    called_aet: str
    association: int
    transfer_syntax: str
    data: bytes
    received_at: float
    status: int | None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def accepted(self) -> bool:
        return self.status == SUCCESS or self.status in WARNINGS


@dataclass
class _Line:
    """One line of the script: do `act` at the `at`-th request (of `uid`, if given), at most `times` times."""

    act: int | Misbehaviour
    at: int | None
    uid: str | None
    times: int | None

    def applies(self, uid: str, nth: int, nth_of_uid: int) -> bool:
        if self.times == 0 or (self.uid is not None and self.uid != uid):
            return False
        return self.at is None or self.at == (nth if self.uid is None else nth_of_uid)


class _Server(ThreadedAssociationServer):
    request_queue_size = 128
    daemon_threads = True


class ScriptedScp:
    """Listens on loopback from the start; accepts and keeps everything until told otherwise.

    `on_store(...)`, `reject`, `no_contexts`, `slow` script it; `stop_listening`, `start_listening` and `black_hole`
    work on the TCP port; `behave()` makes it good again. Counts are 1-based over the server's life.
    """

    def __init__(self, aet: str = "SCP", port: int | None = None, keep_data: bool = True) -> None:
        self.node = DicomNode(aet, port or free_port())
        self.slow = 0.0
        """Seconds before each answer to a C-STORE."""
        self.no_contexts = False
        self.echoes = 0
        self.associations = 0
        self.open_associations = 0
        self.peak_associations = 0
        self._keep_data = keep_data
        self._script: list[_Line] = []
        self._requests: list[StoreRequest] = []
        self._count = 0
        self._count_of_uid: Counter[str] = Counter()
        self._numbers: dict[Association, int] = {}
        self._lock = threading.Lock()
        self._release = threading.Event()
        self._server: _Server | None = None
        self._hole: socket.socket | None = None
        self._swallowed: list[socket.socket] = []
        self._contexts = [*_storage_contexts(), build_context(VERIFICATION)]
        self._ae = AE(ae_title=aet)
        self._ae.maximum_associations = MAX_ASSOCIATIONS
        self._ae.network_timeout = None
        self._ae.dimse_timeout = None
        self.start_listening()

    # What it is told

    def on_store(
        self, act: int | Misbehaviour, *, at: int | None = None, uid: str | None = None, times: int | None = None
    ) -> None:
        """Answer the status `act`, or misbehave: at the `at`-th request, for `uid`, at most `times` times.

        With neither `at` nor `uid` it is for every request. The first line that applies is taken.
        """
        with self._lock:
            self._script.append(_Line(act, at, uid, times))

    def reject(self, why: Rejection | None) -> None:
        """Reject the associations that come from now on; None accepts again."""
        self._ae.require_calling_aet = ["NOBODY ELSE"] if why is Rejection.CALLING_AET else []
        self._ae.require_called_aet = why is Rejection.CALLED_AET
        self._ae._maximum_associations = 0 if why is Rejection.BUSY else MAX_ASSOCIATIONS  # its setter refuses 0
        if self._server is not None:
            self._server.ae_title = "NOT ME" if why is Rejection.CALLED_AET else self.node.aet

    def behave(self) -> None:
        """Forget the script, release what hangs (with an A-ABORT), and listen."""
        with self._lock:
            self._script.clear()
        self._release.set()
        self._release = threading.Event()
        self.slow = 0.0
        self.no_contexts = False
        self.reject(None)
        self.start_listening()

    # Its TCP port

    def start_listening(self) -> None:
        self._close_hole()
        if self._server is not None:
            return
        self._server = _Server(
            self._ae,
            (self.node.host, self.node.port),
            self.node.aet,
            self._contexts,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, self._on_connection),
                (evt.EVT_ACCEPTED, self._on_accepted),
                (evt.EVT_CONN_CLOSE, self._on_closed),
                (evt.EVT_C_ECHO, self._on_echo),
                (evt.EVT_C_STORE, self._on_store),
            ],
        )
        self._ae._servers.append(self._server)  # its shutdown() takes it off again
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop_listening(self) -> None:
        """Refuse connections from now on, and abort the associations that are open."""
        self._close_hole()
        if self._server is None:
            return
        server, self._server = self._server, None
        server.shutdown()
        self._release.set()
        self._release = threading.Event()
        wait_until(lambda: _abort_all(server), STOP_SECONDS, f"{self.node.aet} has closed its associations")

    def black_hole(self) -> None:
        """Accept TCP connections from now on and never answer anything."""
        self.stop_listening()
        self._hole = socket.create_server((self.node.host, self.node.port), backlog=128)
        threading.Thread(target=self._swallow, args=(self._hole,), daemon=True).start()

    def close(self) -> None:
        self.stop_listening()

    # What it has seen

    @property
    def requests(self) -> list[StoreRequest]:
        """Every C-STORE, in the order of their ends."""
        with self._lock:
            return list(self._requests)

    @property
    def received(self) -> Counter[str]:
        """How often each SOPInstanceUID was accepted."""
        return Counter(request.uid for request in self.requests if request.accepted)

    @property
    def waiting(self) -> int:
        """How many C-STOREs have begun and are not answered: they hang, or are slow."""
        with self._lock:
            return self._count - len(self._requests)

    @property
    def is_idle(self) -> bool:
        """No association is left, so nothing more comes of what was begun."""
        return self.waiting == 0 and not (self._server and self._server.active_associations)

    @property
    def swallowed_connections(self) -> int:
        """How many connections the black hole has taken."""
        return len(self._swallowed)

    def wait_for(self, count: int, timeout: float = 60) -> None:
        """Wait until `count` different instances were accepted."""
        wait_until(
            lambda: len(self.received) >= count, timeout, f"{self.node.aet} has {count} instances (see .received)"
        )

    # Handlers; each runs in its association's thread

    def _on_connection(self, event: Any) -> None:
        disable_nagle(event.assoc.dul.socket.socket)
        if self.no_contexts:
            event.assoc.acceptor.supported_contexts = []

    def _on_accepted(self, event: evt.Event) -> None:
        with self._lock:
            self.associations += 1
            self._numbers[event.assoc] = self.associations
            self.open_associations += 1
            self.peak_associations = max(self.peak_associations, self.open_associations)

    def _on_closed(self, event: evt.Event) -> None:
        with self._lock:
            if self._numbers.pop(event.assoc, None):
                self.open_associations -= 1

    def _on_echo(self, event: evt.Event) -> int:
        self.echoes += 1
        return SUCCESS

    def _on_store(self, event: Any) -> int:
        received_at = time.time()
        association = event.assoc
        uid = str(event.request.AffectedSOPInstanceUID)
        with self._lock:
            number = self._numbers.get(association, 0)
            act = self._next_act(uid)
        if act is not Misbehaviour.HANG and self.slow:
            self._release.wait(self.slow)
        if act is Misbehaviour.HANG:
            self._release.wait()
        request = StoreRequest(
            uid=uid,
            calling_aet=association.requestor.ae_title,
            called_aet=association.requestor.primitive.called_ae_title,
            association=number,
            transfer_syntax=str(event.context.transfer_syntax),
            data=event.request.DataSet.getvalue() if self._keep_data else b"",
            received_at=received_at,
            status=act if isinstance(act, int) else None,
        )
        with self._lock:
            self._requests.append(request)
        if isinstance(act, int):
            return act
        if act is Misbehaviour.DROP:
            association.dul.socket.close()
        else:
            association.abort()
        return SUCCESS  # nobody hears it: the association is gone

    def _next_act(self, uid: str) -> int | Misbehaviour:
        self._count += 1
        self._count_of_uid[uid] += 1
        for line in self._script:
            if line.applies(uid, self._count, self._count_of_uid[uid]):
                if line.times is not None:
                    line.times -= 1
                return line.act
        return SUCCESS

    def _swallow(self, hole: socket.socket) -> None:
        while True:
            try:
                self._swallowed.append(hole.accept()[0])
            except OSError:
                return  # closed

    def _close_hole(self) -> None:
        if self._hole is None:
            return
        self._hole.shutdown(socket.SHUT_RDWR)
        self._hole.close()
        self._hole = None
        for connection in self._swallowed:
            connection.close()


def _storage_contexts() -> list[PresentationContext]:
    return [build_context(uid, list(AllTransferSyntaxes)) for uid in _STORAGE_CLASSES.values()]


def _abort_all(server: ThreadedAssociationServer) -> bool:
    """True when none is open. A connection that has not asked for an association yet is closed without a word:
    an A-ABORT is illegal then (PS3.8, 9.2.3, Sta2), and pynetdicom's thread would end with the connection open."""
    asked = [each for each in server.active_associations if each.requestor.primitive is not None]
    silent = [each for each in server.active_associations if each.requestor.primitive is None]
    for association in silent:
        association.dul.socket.close()
    for association in asked:
        if association.is_established:
            association.abort()
    return not asked and all(each.dul.socket.socket is None for each in silent)
