# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sending by C-STORE as a modality does, byte for byte what is in the files."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import split_dataset

from .network import DicomNode, disable_nagle
from .waiting import wait_until

_config.LOG_HANDLER_LEVEL = "none"
_config.STORE_SEND_CHUNKED_DATASET = True  # sends a file's bytes without decoding them

MAX_CONTEXTS = 128
TIMEOUT = 60

Context = tuple[str, str]
"""SOP class and transfer syntax."""


@dataclass
class Sent:
    """What became of each file, by SOPInstanceUID; what is in neither was not answered."""

    acknowledged: list[str] = field(default_factory=list)
    refused: dict[str, int | None] = field(default_factory=dict)
    """The status, or None where no presentation context was accepted."""
    error: str = ""
    """Why it ended early, when the peer was gone."""


def send(files: Iterable[Path], to: DicomNode, calling: str = "MODALITY") -> Sent:
    """C-STORE the files in order. Never raises for what the peer does: the answer says how far it came."""
    sent = Sent()
    _send(list(files), to, calling, sent)
    return sent


class BackgroundSend:
    """The same, while the test goes on."""

    def __init__(self, files: Iterable[Path], to: DicomNode, calling: str = "MODALITY") -> None:
        self._sent = Sent()
        self._thread = threading.Thread(target=_send, args=(list(files), to, calling, self._sent), daemon=True)
        self._thread.start()

    @property
    def acknowledged(self) -> int:
        """How many so far."""
        return len(self._sent.acknowledged)

    def wait(self, timeout: float = 120) -> Sent:
        """What became of each file, once it has ended."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"still sending after {timeout} s"
        return self._sent


@dataclass(frozen=True)
class _File:
    path: Path
    uid: str
    context: Context


def _send(files: Sequence[Path], to: DicomNode, calling: str, sent: Sent) -> None:
    for batch in _batches(files):
        _send_batch(batch, to, calling, sent)
        if sent.error:
            return


def _batches(files: Sequence[Path]) -> Iterable[list[_File]]:
    """Cut so that each batch fits into one association."""
    batch: list[_File] = []
    contexts: set[Context] = set()
    for path in files:
        meta = split_dataset(path)[0]
        file = _File(
            path, str(meta.MediaStorageSOPInstanceUID), (str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
        )
        if len(contexts | {file.context}) > MAX_CONTEXTS:
            yield batch
            batch, contexts = [], set()
        batch.append(file)
        contexts.add(file.context)
    if batch:
        yield batch


def _send_batch(batch: list[_File], to: DicomNode, calling: str, sent: Sent) -> None:
    scu = AE(ae_title=calling)
    scu.connection_timeout = scu.acse_timeout = scu.dimse_timeout = scu.network_timeout = TIMEOUT
    for sop_class, transfer_syntax in dict.fromkeys(file.context for file in batch):
        scu.add_requested_context(sop_class, transfer_syntax)
    association = scu.associate(
        to.host,
        to.port,
        ae_title=to.aet,
        evt_handlers=[(evt.EVT_CONN_OPEN, lambda event: disable_nagle(event.assoc.dul.socket.socket))],
    )
    if not association.is_established:
        sent.error = "no association"
        return
    accepted = {(str(each.abstract_syntax), str(each.transfer_syntax[0])) for each in association.accepted_contexts}
    with _no_other_reader(association):
        for file in batch:
            if file.context not in accepted:
                sent.refused[file.uid] = None
                continue
            try:
                answer = association.send_c_store(file.path)
            except RuntimeError as error:
                sent.error = str(error)
                return
            if not _note(file.uid, answer, sent):
                association.abort()
                return
    association.release()


@contextmanager
def _no_other_reader(association: Association) -> Iterator[None]:
    """Keep the association's own thread from taking an answer that `send_c_store` waits for.

    pynetdicom 3.0.4 pauses that thread for each C-STORE, but believes it paused when it is about to go on.
    """
    gate: Any = association._reactor_checkpoint
    gate.set = lambda: None
    gate.clear()
    try:
        wait_until(lambda: gate._cond._waiters, 10, "pynetdicom's thread has paused")
        yield
    finally:
        del gate.set
        gate.set()


def _note(uid: str, answer: Dataset, sent: Sent) -> bool:
    """Keep the answer; false when there was none."""
    if "Status" not in answer:
        sent.error = f"no answer to {uid}"
        return False
    if answer.Status == 0:
        sent.acknowledged.append(uid)
    else:
        sent.refused[uid] = int(answer.Status)
    return True
