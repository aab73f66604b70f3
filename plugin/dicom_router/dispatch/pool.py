# SPDX-License-Identifier: AGPL-3.0-or-later
"""Threads for what may never return. Those of `concurrent.futures` keep the process alive until it does."""

import threading
import time
from collections import deque
from collections.abc import Callable

Work = Callable[[], None]


class Pool:
    """Up to `most` threads, each made when it is needed. Thread-safe."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._changed = threading.Condition()
        self._waiting: deque[Work] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False

    def start(self, work: Work) -> None:
        """Run `work`, which does not raise, as soon as there is a thread for it."""
        with self._changed:
            if self._closed:
                return
            self._waiting.append(work)
            if len(self._waiting) > self._idle and len(self._threads) < self._most:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._threads.append(thread)
            else:
                self._changed.notify()

    def join(self, seconds: float) -> None:
        """Wait so long for what runs, then leave it behind; what has not begun never will."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()

    def _next(self) -> Work | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._idle -= 1
            return self._waiting.popleft() if self._waiting else None
