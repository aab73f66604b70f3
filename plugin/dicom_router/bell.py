# SPDX-License-Identifier: AGPL-3.0-or-later
"""A thread that does its round when its bell rings, and now and then without."""

import threading
from abc import ABC, abstractmethod

SHORTEST_PAUSE = 0.05  # seconds


class BellThread(ABC):
    """Rounds, one after the other, until it is stopped."""

    def __init__(self, name: str, patience: float | None = None) -> None:
        """`patience`: how many seconds a stop waits for the round under way, which is then left behind."""
        self._bell = threading.Event()
        self._stopping = False
        self._patience = patience
        self._thread = threading.Thread(target=self._run, name=name, daemon=patience is not None)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ring(self) -> None:
        """Something is new."""
        self._bell.set()

    def stop(self) -> None:
        """End after the round under way, and wait for that."""
        self._stopping = True
        self._bell.set()
        if self._thread.is_alive():
            self._thread.join(self._patience)

    @abstractmethod
    def _round(self) -> float:
        """Do what is to be done; answers the seconds until the next round at the latest. Raises nothing."""

    def _run(self) -> None:
        # Cleared before `_stopping` is looked at: a stop in between would else be slept over.
        while True:
            self._bell.clear()
            if self._stopping:
                return
            self._bell.wait(max(self._round(), SHORTEST_PAUSE))
