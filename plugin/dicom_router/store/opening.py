# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the side database again and again, until its server answers."""

from collections.abc import Callable

from dicom_router.bell import BellThread

TRY_AGAIN_SECONDS = 5.0
DONE_SECONDS = 3600.0


class OpeningThread(BellThread):
    """`opened` tries once, begins routing when that works, and answers whether it did. It raises nothing."""

    def __init__(self, opened: Callable[[], bool]) -> None:
        super().__init__("router-opening")
        self._opened = opened
        self._begun = False  # it has just failed
        self._done = False

    def _round(self) -> float:
        self._done = self._done or (self._begun and self._opened())
        self._begun = True
        return DONE_SECONDS if self._done else TRY_AGAIN_SECONDS
