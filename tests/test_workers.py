# SPDX-License-Identifier: AGPL-3.0-or-later
"""The threads that wait for destinations: as many as are needed, and none of them keeps Orthanc from its end."""

import threading
import time
from collections.abc import Callable

import pytest

from dicom_router.dispatch import workers as workers_module
from dicom_router.dispatch.pool import Pool
from dicom_router.dispatch.workers import Workers

LIMIT = 10.0  # seconds
NEVER = 3600.0


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_threads_are_made_as_needed_up_to_the_most_and_used_again() -> None:
    pool, gate, ran = Pool(2, "test"), threading.Semaphore(0), list[int]()

    def work() -> None:
        ran.append(threading.get_ident())
        gate.acquire()

    for _ in range(5):
        pool.start(work)
    wait_for(lambda: len(ran) == 2)
    gate.release(5)
    wait_for(lambda: len(ran) == 5)
    assert len(set(ran)) == 2
    pool.join(LIMIT)


def test_at_the_end_what_runs_is_waited_for_and_nothing_else_begins() -> None:
    pool, begun, gate, ended = Pool(1, "test"), threading.Event(), threading.Event(), list[str]()

    def work() -> None:
        begun.set()
        gate.wait(LIMIT)
        ended.append("first")

    pool.start(work)
    pool.start(lambda: ended.append("second"))
    assert begun.wait(LIMIT)
    threading.Timer(0.05, gate.set).start()
    pool.join(LIMIT)
    pool.start(lambda: ended.append("third"))
    assert ended == ["first"]


def test_an_idle_pool_ends_at_once() -> None:
    pool, done = Pool(3, "test"), threading.Event()
    pool.start(done.set)
    assert done.wait(LIMIT)
    pool.join(NEVER)


@pytest.mark.parametrize("asks", ["trying", "verifying"])
def test_a_destination_that_never_answers_does_not_hold_up_the_stop(asks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared folder that hangs has neither a time limit nor a connection that could be shut down."""
    monkeypatch.setattr(workers_module, "LAST_SECONDS", 0.1)
    workers, begun, gate = Workers(), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        gate.wait()

    if asks == "trying":
        workers.start_asking(hang, lambda _: None)
    else:
        workers.start_verifying("NAS", hang, lambda _: None)
    assert begun.wait(LIMIT)
    stopping = threading.Thread(target=workers.join, daemon=True)
    stopping.start()
    stopping.join(LIMIT)
    stopped = not stopping.is_alive()
    gate.set()
    assert stopped
