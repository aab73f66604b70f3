# SPDX-License-Identifier: AGPL-3.0-or-later
"""When something is to be done again, by a clock that may be set back. Pure."""

from dataclasses import dataclass


def is_due(now: float, at: float, longest: float) -> bool:
    """Its time has come; or it is further ahead than was ever planned, since the clock was set back meanwhile."""
    return not now < at <= now + longest


@dataclass
class Timer:
    """Something that is due at once, and then each time after a pause."""

    at: float = 0.0
    pause: float = 0.0

    def due(self, now: float) -> bool:
        """It is to be done now."""
        return is_due(now, self.at, self.pause)

    def wait(self, now: float, pause: float) -> None:
        """It is due again after so many seconds."""
        self.at = now + pause
        self.pause = pause
