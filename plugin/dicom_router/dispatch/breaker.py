# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a destination can be trusted with a lane. Pure: every method takes `now` (epoch seconds).

A destination that has just accepted an instance is proven and gets lanes. One that has not, or that broke off, must
first accept one instance on a way that takes no lane (`may_try`). Three failures in a row at connection level hold
it: nothing is sent, and it is probed after 15 s, then 30, then every 50; a probe that succeeds allows a try.
"""

from dataclasses import dataclass

from dicom_router.dispatch.timer import is_due

FAILURES_TO_HOLD = 3
FIRST_PROBE = 15.0
LAST_PROBE = 50.0  # with the time that a probe takes, a destination that is back is found within a minute
PROVEN_FOR = 300.0  # seconds that an accepted instance vouches for the destination


@dataclass
class Breaker:
    """The health of one destination."""

    failures: int = 0
    proven_until: float = 0.0
    held: bool = False
    probe_at: float = 0.0
    probe_pause: float = FIRST_PROBE
    probing: bool = False  # a probe is under way
    trying: bool = False  # the one instance is under way
    away_since: float | None = None  # when it was held first, while it has accepted nothing since
    last_error: str = ""
    last_success: float | None = None

    def proven(self, now: float) -> bool:
        """It may have lanes."""
        return not self.held and now < self.proven_until

    def may_try(self, now: float) -> bool:
        """It must first accept one instance that takes no lane."""
        return not self.held and not self.trying and now >= self.proven_until

    def probe_due(self, now: float) -> bool:
        """It is held and the next probe's time has come."""
        return self.held and not self.probing and is_due(now, self.probe_at, LAST_PROBE)

    def away_for(self, now: float) -> float:
        """Seconds for which nothing could be sent to it, held or answering to probes only."""
        return 0.0 if self.away_since is None else now - self.away_since

    def succeeded(self, now: float) -> bool:
        """It accepted an instance. True when it was failing before: what waits for it should be woken."""
        was_failing = self.failures > 0
        self.failures = 0
        self.held = False
        self.away_since = None
        self.probe_pause = FIRST_PROBE
        self.proven_until = now + PROVEN_FOR
        self.last_success = now
        return was_failing

    def failed(self, now: float, message: str) -> bool:
        """It failed at connection level. True when this made it held."""
        self.failures += 1
        self.proven_until = 0.0
        self.last_error = message
        if self.held or self.failures < FAILURES_TO_HOLD:
            return False
        self.held = True
        self.away_since = now if self.away_since is None else min(now, self.away_since)
        self.probe_at = now + self.probe_pause
        self.probe_pause = min(2 * self.probe_pause, LAST_PROBE)
        return True

    def probed(self, now: float, error: str | None) -> bool:
        """A probe ended. True when the destination answered: it may be tried."""
        self.probing = False
        if error is None:
            self.held = False
            return True
        self.last_error = error
        if self.away_since is not None:  # counted anew when the clock was set back
            self.away_since = min(now, self.away_since)
        self.probe_at = now + self.probe_pause
        self.probe_pause = min(2 * self.probe_pause, LAST_PROBE)
        return False
