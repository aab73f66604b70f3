# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Orthanc loads as `PythonScript` in a trial: the router, with faults that only the inside can make.

The file named by CHAOS_ORDERS holds JSON: `{"Kill": point}` ends the process at that point of the code, as a power cut
would; `{"Clock": seconds}` moves the wall clock; `{"SlowDatabase": seconds}` delays each statement.
"""

import json
import os
import signal
import sys
import time
from functools import wraps
from pathlib import Path
from typing import Any

sys.path.insert(0, os.environ["CHAOS_PLUGIN"])

import orthanc
import peewee

import dicom_router
from dicom_router.housekeeping.cleanup import Cleanup
from dicom_router.store.journal import Journal
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue
from dicom_router.transports.modality import ModalityTransport

ORDERS = Path(os.environ["CHAOS_ORDERS"])
LOOK_SECONDS = 0.05
real_time = time.time


class Orders:
    """What the trial wants now; the file is read again when it is a moment old."""

    def __init__(self) -> None:
        self._read_at = 0.0
        self._told: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        if time.monotonic() - self._read_at > LOOK_SECONDS:
            self._read_at = time.monotonic()
            try:
                self._told = json.loads(ORDERS.read_text())
            except (OSError, ValueError):
                return self._told.get(name)  # it is just being written
        return self._told.get(name)


orders = Orders()


def killed_after(owner: type, method: str, point: str) -> None:
    """The process ends when the method has done its work, before anybody hears of it."""
    original = getattr(owner, method)

    @wraps(original)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        answer = original(*arguments, **named)
        die_at(point)
        return answer

    setattr(owner, method, wrapper)


def killed_before(owner: type, method: str, point: str) -> None:
    """The process ends when the method is about to begin."""
    original = getattr(owner, method)

    @wraps(original)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        die_at(point)
        return original(*arguments, **named)

    setattr(owner, method, wrapper)


def die_at(point: str) -> None:
    if orders.get("Kill") == point:
        os.kill(os.getpid(), signal.SIGKILL)


def slow(execute: Any) -> Any:
    @wraps(execute)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        time.sleep(orders.get("SlowDatabase") or 0)
        return execute(*arguments, **named)

    return wrapper


killed_after(Journal, "record", "after enqueue")
killed_after(ModalityTransport, "submit", "after job submission")
killed_before(Ledger, "close_chunk", "after the last C-STORE, before the ledger")
killed_before(DeliveryQueue, "succeed", "after the last C-STORE, before the history")
killed_after(DeliveryQueue, "succeed", "after the history")
killed_before(ModalityTransport, "find", "before verification")
killed_after(ModalityTransport, "find", "during verification")
killed_before(Cleanup, "_delete", "before deletion")
killed_after(Cleanup, "_delete", "during deletion")
peewee.SqliteDatabase.execute_sql = slow(peewee.SqliteDatabase.execute_sql)
time.time = lambda: real_time() + (orders.get("Clock") or 0)

dicom_router.install(orthanc)
