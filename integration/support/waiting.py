# SPDX-License-Identifier: AGPL-3.0-or-later
"""Waiting for a condition instead of for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.03


class NotReachedError(AssertionError):
    """The condition did not become true in time; the message names it and the last value seen."""


def wait_until(
    condition: Callable[[], T],
    timeout: float,
    what: str,
    reached: Callable[[], int] | None = None,
    every: float = POLL_SECONDS,
) -> T:
    """Call `condition` until it answers something true, and answer that. After `timeout` seconds: `NotReachedError`.

    With `reached` the seconds count anew whenever it exceeds what it was: slow is not stuck.
    """
    deadline = time.monotonic() + timeout
    most = reached() if reached else 0
    while True:
        last = condition()
        if last:
            return last
        if reached and reached() > most:
            most = reached()
            deadline = time.monotonic() + timeout
        if time.monotonic() >= deadline:
            raise NotReachedError(f"Not within {timeout:g} s: {what}. Last value: {last!r}")
        time.sleep(every)
