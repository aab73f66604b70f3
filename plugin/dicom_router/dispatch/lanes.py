# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which destination gets the next lane. Pure.

A lane is one Orthanc job. Orthanc runs `ConcurrentJobs` of them, for all destinations together.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A destination that has something to send."""

    name: str
    in_flight: int
    associations: int  # the most lanes it may have
    urgent: bool
    served_at: float  # when it last got a lane


def next_destination(candidates: Iterable[Candidate], free: int) -> str | None:
    """The destination for the next of `free` lanes: urgent first, then who has the fewest, then who waited longest."""
    if free <= 0:
        return None
    able = [candidate for candidate in candidates if candidate.in_flight < candidate.associations]
    if not able:
        return None
    return min(able, key=lambda each: (not each.urgent, each.in_flight, each.served_at)).name
