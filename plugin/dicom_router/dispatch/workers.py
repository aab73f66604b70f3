# SPDX-License-Identifier: AGPL-3.0-or-later
"""What blocks runs on pools of threads; what follows from it runs on the dispatcher's own thread, through the inbox."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from dicom_router.deliveries.outcome import SendError
from dicom_router.dispatch.pool import Pool
from dicom_router.dispatch.verifiers import Verifiers
from dicom_router.store.database import LOST
from dicom_router.unexpected import kind_and_place

# Apart from each other: destinations that hang keep nobody from being sent to.
ORTHANC_THREADS = 16  # wait for Orthanc, which answers at once
ASKING_THREADS = 32  # wait for a destination to answer or to accept one instance

LAST_SECONDS = 3.0  # at the stop, for what asks a destination: its connections are shut down, but a folder has none
LONGEST_ROUND = 2.0  # seconds of messages, before leases are renewed again

Message = Callable[[], None]


class Workers:
    """The inbox and the pools."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._orthanc = ThreadPoolExecutor(ORTHANC_THREADS, thread_name_prefix="router-pool")
        self._asking = Pool(ASKING_THREADS, "router-ask")
        self._verifiers = Verifiers()

    def post(self, message: Message) -> None:
        """Have the dispatcher's thread run this."""
        self._inbox.put(message)

    def receive(self, timeout: float) -> None:
        """Run what has come in; wait up to `timeout` seconds for the first of it. Raises what a message raises.

        One that met a database that does not answer is run again: what it tells happens only once. Where messages take
        long, as those that ask Orthanc may, the rest is left for the next time.
        """
        with suppress(queue.Empty):
            first = self._inbox.get(timeout=max(timeout, 0.001))
            deadline = time.monotonic() + LONGEST_ROUND
            self._handle(first)
            while time.monotonic() < deadline:
                self._handle(self._inbox.get_nowait())

    def _handle(self, message: Message) -> None:
        try:
            message()
        except LOST:
            self.post(message)
            raise

    def start(self, work: Callable[[], object], then: Callable[..., None]) -> None:
        """Run `work`, which asks Orthanc, then `then` with its result on the dispatcher's thread."""
        self._orthanc.submit(self._run_of(work, then))

    def start_asking(self, work: Callable[[], object], then: Callable[..., None]) -> None:
        """As `start`, for what asks a destination."""
        self._asking.start(self._run_of(work, then))

    def start_verifying(self, destination: str, work: Callable[[], object], then: Callable[..., None]) -> None:
        """As `start`, for what may take a minute of a destination's; it keeps no other destination waiting."""
        self._verifiers.start(destination, self._run_of(work, then))

    def join(self) -> None:
        """Wait for the threads, without those that a destination does not let go; what has not begun never will."""
        deadline = time.monotonic() + LAST_SECONDS
        self._orthanc.shutdown(wait=True, cancel_futures=True)
        for asking in (self._asking, self._verifiers):
            asking.join(max(0.0, deadline - time.monotonic()))

    def _run_of(self, work: Callable[[], object], then: Callable[..., None]) -> Callable[[], None]:
        def run() -> None:
            try:
                result = work()
            except Exception as problem:  # noqa: BLE001 - told as an unknown, passing error
                result = SendError.passing("InternalError", kind_and_place(problem))
            self.post(lambda: then(result))

        return run
