# SPDX-License-Identifier: AGPL-3.0-or-later
"""Numbers of the change log that were passed over, and whose rows may still appear. Pure.

With several Orthancs over one PostgreSQL index, a row gets its number when it is made and appears when its transaction
ends: a later number can be seen earlier. Most numbers that are missing never appear (their resource was deleted, or the
transaction was given up), so each is waited for only a while.
"""

from dataclasses import dataclass

from dicom_router.intake.settling import Place

PATIENCE_SECONDS = 30.0
FARTHEST = 20_000  # numbers behind the last one read; what was passed over before has had its time


@dataclass
class Gap:
    """The numbers `first` to `last`, behind the row at `before`."""

    before: Place
    first: int
    last: int
    until: float


class Gaps:
    """What was passed over lately, in order."""

    def __init__(self) -> None:
        self._gaps: list[Gap] = []

    def passed_over(self, before: Place, seq: int, now: float) -> None:
        """After the row at `before` came the row `seq`."""
        if seq > before[0] + 1:
            self._gaps.append(Gap(before, before[0] + 1, seq - 1, now + PATIENCE_SECONDS))

    def holds(self, seq: int) -> Gap | None:
        """The gap that this number lies in."""
        return next((gap for gap in self._gaps if gap.first <= seq <= gap.last), None)

    def appeared(self, gap: Gap, seq: int) -> None:
        """The row `seq` in it has been acted upon."""
        at = self._gaps.index(gap)
        parts = [Gap(gap.before, gap.first, seq - 1, gap.until), Gap(gap.before, seq + 1, gap.last, gap.until)]
        self._gaps[at : at + 1] = [part for part in parts if part.first <= part.last]

    def give_up(self, last_seq: int, now: float) -> None:
        """Wait no longer for what will not appear any more."""
        self._gaps = [gap for gap in self._gaps if gap.until > now and gap.last > last_seq - FARTHEST]

    def span(self) -> tuple[int, int] | None:
        """The first and the last number that are waited for."""
        return (self._gaps[0].first, max(gap.last for gap in self._gaps)) if self._gaps else None

    def places(self) -> list[Place]:
        """Where to read again after a restart: before the first gap."""
        return [(self._gaps[0].first - 1, self._gaps[0].before[1])] if self._gaps else []
