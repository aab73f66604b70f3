# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a delivery is tried again."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RetryPolicy:
    """Growing back-off: `first` seconds, times `factor` each time, at most `max`, spread by `jitter` (a fraction)."""

    first: float = 30.0
    factor: float = 2.0
    max: float = 3600.0
    jitter: float = 0.2
    give_up_after: float = 7 * 86400.0


def next_attempt(policy: RetryPolicy, attempts: int, created_at: float, now: float, luck: float) -> float | None:
    """The time (epoch seconds) of the next attempt after `attempts` failed ones, or None to give up.

    `luck` in 0..1 spreads the deliveries that failed together; it shortens or lengthens the pause by `jitter`.
    """
    deadline = created_at + policy.give_up_after
    if now >= deadline:
        return None
    exponent = min(max(attempts, 1) - 1, 64)  # beyond, a float would overflow and `max` has long been reached
    pause = min(policy.max, policy.first * policy.factor**exponent)
    pause *= 1 + policy.jitter * (2 * luck - 1)
    return min(now + pause, deadline)
