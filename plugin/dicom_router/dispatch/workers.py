# SPDX-License-Identifier: AGPL-3.0-or-later
"""What blocks runs on pools of threads; what follows from it runs on the dispatcher's own thread, through the inbox."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from dicom_router.deliveries.outcome import SendError
from dicom_router.store.database import LOST

POOL_THREADS = 16
VERIFIER_THREADS = 8  # apart from the others, since a destination may take a minute to commit

Message = Callable[[], None]


class Workers:
    """The inbox and the pools."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="router-pool")
        self._verifiers = ThreadPoolExecutor(VERIFIER_THREADS, thread_name_prefix="router-verify")

    def post(self, message: Message) -> None:
        """Have the dispatcher's thread run this."""
        self._inbox.put(message)

    def receive(self, timeout: float) -> None:
        """Run what has come in; wait up to `timeout` seconds for the first of it. Raises what a message raises.

        One that met a database that does not answer is run again: what it tells happens only once.
        """
        with suppress(queue.Empty):
            self._handle(self._inbox.get(timeout=max(timeout, 0.001)))
            while True:
                self._handle(self._inbox.get_nowait())

    def _handle(self, message: Message) -> None:
        try:
            message()
        except LOST:
            self.post(message)
            raise

    def start(self, work: Callable[[], object], then: Callable[..., None]) -> None:
        """Run `work` on the pool, then `then` with its result on the dispatcher's thread."""
        self._start(self._pool, work, then)

    def start_verifying(self, work: Callable[[], object], then: Callable[..., None]) -> None:
        """As `start`, for what may take a minute."""
        self._start(self._verifiers, work, then)

    def join(self) -> None:
        """Wait for the threads; what has not begun never will."""
        for pool in (self._pool, self._verifiers):
            pool.shutdown(wait=True, cancel_futures=True)

    def _start(self, pool: ThreadPoolExecutor, work: Callable[[], object], then: Callable[..., None]) -> None:
        def run() -> None:
            try:
                result = work()
            except Exception as problem:  # noqa: BLE001 - told as an unknown, passing error
                result = SendError.passing("InternalError", repr(problem))
            self.post(lambda: then(result))

        pool.submit(run)
