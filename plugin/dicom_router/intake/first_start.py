# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the very first start begins to read the change log. Only the standard library: see installation.py."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

PAGE = 1000


def first_place(get: Callable[[str], Any], loaded: float, now: float) -> int:
    """The last row that is older than this process: `loaded` and `now` in epoch seconds.

    Orthanc's DICOM server runs a moment before the plugins are told so; what came in that moment is new. A row from
    the future tells of a clock that was wrong, not of something new.
    """
    end = get("/changes?last")
    place, rows = int(end["Last"]), end["Changes"]
    first, last = _date(loaded), _date(now)
    while rows:
        for row in reversed(rows):
            if not first <= row["Date"] <= last:
                return place
            place = int(row["Seq"]) - 1
        since = max(0, place - PAGE)
        rows = [row for row in get(f"/changes?since={since}&limit={PAGE}")["Changes"] if row["Seq"] <= place]
    return place


def _date(seconds: float) -> str:
    """As Orthanc writes it: UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%S")
