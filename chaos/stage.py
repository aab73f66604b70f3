# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where trials take place: a world and a pair, each made when the first fault needs it."""

import os
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from chaos.fault import Fault
from chaos.faults import FAULTS, disk_full
from chaos.ground import Ground
from chaos.pair import pair
from chaos.pair_faults import PAIR_FAULTS
from chaos.world import world

ALL = (*FAULTS, *PAIR_FAULTS)


def possible(only: str = "") -> list[Fault]:
    """The faults that can be made here and whose name contains `only`. Filling a disk takes root."""
    return [each for each in ALL if only in each.name and (each.act is not disk_full or os.geteuid() == 0)]


class Stage:
    """Holds them until the end."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._grounds: dict[bool, Ground] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def ground(self, fault: Fault) -> Ground:
        """The one that this fault is for."""
        if fault.two not in self._grounds:
            self._grounds[fault.two] = self._open.enter_context(pair() if fault.two else world())
        return self._grounds[fault.two]
