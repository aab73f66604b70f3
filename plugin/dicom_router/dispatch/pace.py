# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long the jobs of each destination take, so that the next one is looked at when it may have ended. Pure."""

WEIGHT = 0.3  # of the last job


class Pace:
    """The time that jobs took lately, by destination and order of magnitude of their instances."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, int], float] = {}

    def ended(self, destination: str, count: int, seconds: float) -> None:
        """A job of `count` instances took so long."""
        key = destination, count.bit_length()
        before = self._seconds.get(key, seconds)
        self._seconds[key] = before + WEIGHT * (seconds - before)

    def expected(self, destination: str, count: int) -> float | None:
        """The seconds that a job of `count` instances will take; None when there was none like it."""
        return self._seconds.get((destination, count.bit_length()))
