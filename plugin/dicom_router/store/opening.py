# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opening the side database again and again, until its server answers."""

from collections.abc import Callable

from dicom_router.bell import BellThread

TRY_AGAIN_SECONDS = 5.0


class OpeningThread(BellThread):
    """`opened` tries once, begins routing when that works, and answers whether it did. It raises nothing."""

    def __init__(self, opened: Callable[[], bool]) -> None:
        super().__init__("router-opening")
        self._opened = opened
        self._begun = False  # it has just failed

    def _round(self) -> float:
        if self._begun and self._opened():
            self._stopping = True  # its work is done; nobody need stop it
            return 0.0
        self._begun = True
        return TRY_AGAIN_SECONDS
