# SPDX-License-Identifier: AGPL-3.0-or-later
"""A thread that keeps the rescue copy of an SQLite database up to date, and sees when it can be written again."""

from collections.abc import Callable
from contextlib import suppress

from dicom_router.bell import BellThread
from dicom_router.store.database import LOST
from dicom_router.store.rescue_copy import RescueFile
from dicom_router.store.store import Store
from dicom_router.unexpected import kind_and_place

ROUND_SECONDS = 10.0
TROUBLED_SECONDS = 2.0


class SafekeepingThread(BellThread):
    """Looks every ten seconds, and once more at the end."""

    def __init__(self, store: Store, rescue: RescueFile, log: Callable[[str], None]) -> None:
        super().__init__("router-safekeeping")
        self._store = store
        self._rescue = rescue
        self._log = log
        self._told = ""
        self._trouble_told = ""

    def stop(self) -> None:
        """End; the copy is that of the end."""
        super().stop()
        self._write()

    def _round(self) -> float:
        try:
            self._look_after_trouble()
            self._write()
        except Exception as problem:  # noqa: BLE001 - the next round tries again
            self._log(f"the copy of what a damaged database would lose could not be made: {kind_and_place(problem)}")
        return TROUBLED_SECONDS if self._store.trouble() else ROUND_SECONDS

    def _look_after_trouble(self) -> None:
        trouble = self._store.trouble()
        if trouble != self._trouble_told:
            self._trouble_told = trouble
            self._log(f"the router's database: {trouble}" if trouble else "the router's database can be written again")
        if trouble and self._store.file is not None:
            with suppress(*LOST):
                self._store.file.try_to_write()

    def _write(self) -> None:
        told = ""
        try:
            self._rescue.write()
        except (OSError, ValueError, *LOST) as problem:
            told = f"the copy of what a damaged database would lose is not up to date: {problem}"
        if told and told != self._told:
            self._log(told)
        self._told = told
