# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a fault is, and the chance in it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from threading import Event
from typing import Any, Final

# Of the code; see sabotage.py.
POINTS: Final = (
    "after enqueue",
    "after job submission",
    "after the last C-STORE, before the ledger",
    "after the last C-STORE, before the history",
    "after the history",
    "before verification",
    "during verification",
    "before deletion",
    "during deletion",
)
KILL_SECONDS = 60.0
STOP_SECONDS = 120.0  # many trials go on at a time; test_stopping.py measures what a stop takes

Act = Callable[[Any, Random], None]
"""Sends studies into the router while something goes wrong, and leaves the healing to the trial."""


@dataclass(frozen=True)
class Fault:
    """One kind of trouble, for a `World` or, with `two`, for a `Pair`.

    `cuts`: an acknowledgement can be lost on its way, so that an instance may come twice.
    """

    name: str
    act: Act
    cuts: bool = False
    two: bool = False


def pause(chance: Random, most: float) -> None:
    """A random moment of the trial: what is tried is the moment itself."""
    Event().wait(chance.uniform(0, most))


def size(chance: Random) -> int:
    """Instances of a study: mostly few, at times more than a chunk."""
    return chance.choice((1, 2, 5, 12, 30, 120))
