# SPDX-License-Identifier: AGPL-3.0-or-later
"""Durations as users write them: a number and a unit, `"500ms"`, `"30s"`, `"15m"`, `"2h"`, `"7d"`."""

import json
import re

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000}
_DURATION = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*(ms|s|m|h|d)\s*", re.ASCII)
_LONGEST = 36_525 * 86400.0


def parse_duration(text: object) -> float:
    """The seconds in a duration; ValueError with a sentence for anything else, and for more than 100 years."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        told = json.dumps(text, default=str)
        raise ValueError(f'{told} is not a duration: write a number and a unit, like "30s", "15m", "2h" or "7d".')
    number, unit = found.groups()
    # Milliseconds are divided: 0.001 has no exact float, and "300ms" shall be 0.3.
    seconds = float(number) / 1000 if unit == "ms" else float(number) * _SECONDS[unit]
    if seconds > _LONGEST:
        raise ValueError(f"{json.dumps(text)} is longer than 100 years.")
    return seconds


def format_duration(seconds: float) -> str:
    """The duration in the largest unit that holds it without a fraction (`5400` is `"90m"`), to the millisecond."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 0:
        raise ValueError("A duration is not negative.")
    if milliseconds == 0:
        return "0s"
    for unit, size in _MILLISECONDS.items():
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"
