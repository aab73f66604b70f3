# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests are worked on by threads of ours; Orthanc's own wait for them.

The threads of Orthanc's HTTP server have a stack of 100 KB (civetweb.c, USE_STACK_SIZE). Python 3.14 puts objects that
die when the stack is nearly used up aside for later (object.c, _Py_Dealloc), and forgets them with the thread's state:
Orthanc then ends with SIGSEGV when it stops. Threads of Python's own have a stack of megabytes.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MOST_THREADS = 50  # as many as Orthanc's HTTP server has (HttpThreadsCount)

Answer = TypeVar("Answer")


class RequestThreads:
    """The threads. They are started when they are needed."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, work: Callable[[], Answer]) -> Answer:
        """What `work` answers; raises what it raises. Once stopped, it runs on the caller's thread."""
        with self._lock:
            future = None if self._stopped else self._started().submit(work)
        return work() if future is None else future.result()

    def stop(self) -> None:
        """End; joins the threads."""
        with self._lock:
            self._stopped = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _started(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="router-request")
        return self._pool
