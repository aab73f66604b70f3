# SPDX-License-Identifier: AGPL-3.0-or-later
"""Threads that wait for destinations to commit themselves, perhaps for a minute each, shared fairly among them."""

import threading
from collections import Counter, deque
from functools import partial

from dicom_router.dispatch.pool import Pool, Work

SHARED = 16  # under way at once
MOST_OF_ONE = 8  # of these for one destination
MOST_THREADS = 1000  # as many as there are destinations, and those that are shared; one is made when it is needed


class Verifiers:
    """Every destination has one thread whatever the others do; a free one goes to who has the fewest."""

    def __init__(self) -> None:
        self._pool = Pool(MOST_THREADS, "router-verify")
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Work]] = {}  # by destination, who has waited longest first
        self._running: Counter[str] = Counter()
        self._closed = False

    def start(self, destination: str, work: Work) -> None:
        """Run `work`, which does not raise, when it is this destination's turn; in order for one destination."""
        with self._lock:
            if self._closed:
                return
            self._waiting.setdefault(destination, deque()).append(work)
            found = self._next()
            if found is not None:
                self._pool.start(partial(self._run, *found))

    def join(self, seconds: float) -> None:
        """Wait so long for what runs, then leave it behind; what has not begun never will."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
        self._pool.join(seconds)

    def _run(self, destination: str, work: Work) -> None:
        found: tuple[str, Work] | None = (destination, work)
        while found is not None:
            name, work = found
            work()
            with self._lock:
                self._running[name] -= 1
                found = self._next()

    def _next(self) -> tuple[str, Work] | None:
        """Whose turn it is, if there is a thread for it; it counts as running."""
        allowed = [name for name in self._waiting if self._may_start(self._running[name])]
        if not allowed:
            return None
        name = min(allowed, key=self._running.__getitem__)
        work = self._waiting[name].popleft()
        if not self._waiting[name]:
            del self._waiting[name]
        self._running[name] += 1
        return name, work

    def _may_start(self, own: int) -> bool:
        return own == 0 or (own < MOST_OF_ONE and self._running.total() < SHARED)
