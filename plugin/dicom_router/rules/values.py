# SPDX-License-Identifier: AGPL-3.0-or-later
"""The meaning of values: padding, numbers, dates, times, ages (DICOM PS3.5 6.2).

Each `read_*` gives a number to compare with, or None when the text is no such value; none of them ever raises.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

NUMERIC = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
# A sequence or a bulk of bytes has no value to compare; it only exists or not.
OPAQUE = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ"})
# In these a backslash is text (PS3.5 6.2: "shall not be multi-valued").
_WHOLE = frozenset({"LT", "ST", "UR", "UT"}) | OPAQUE
_PADDING = " \0\t\r\n"

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,64}(?:\.[0-9]{0,64})?|\.[0-9]{1,64})(?:[eE][+-]?[0-9]{1,4})?")
_DATE = re.compile(r"([0-9]{4})([.-]?)([0-9]{2})\2([0-9]{2})")
_TIME = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(\.[0-9]{1,6})?)?)?")
_OFFSET = r"(Z|[+-][0-9]{2}:?[0-9]{2})?"
_CLOCK = r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(\.[0-9]{1,6})?)?)?"
_MOMENT = re.compile(rf"([0-9]{{4}})(?:([0-9]{{2}})(?:([0-9]{{2}})(?:T?{_CLOCK})?)?)?{_OFFSET}")
_ISO_MOMENT = re.compile(rf"([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}})(?:[T ]{_CLOCK})?{_OFFSET}")
# Hours, minutes, seconds; 60 is a leap second (PS3.5 6.2).
_MOST = (23, 59, 60)
_AGE = re.compile(r"([0-9]{1,3})([DWMYdwmy])")
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}

Reader = Callable[[str, tzinfo], float | None]


def parts(vr: str, raw: str) -> list[str]:
    r"""The values of an element, without padding and without empty ones; a backslash separates them (PS3.5 6.4)."""
    if "\\" not in raw or vr in _WHOLE:
        text = raw.strip(_PADDING)
        return [text] if text else []
    return [text for part in raw.split("\\") if (text := part.strip(_PADDING))]


def person_name(text: str) -> str:
    """A name without its empty trailing components and component groups (PS3.5 6.2.1): `DOE^JOHN^^` is `DOE^JOHN`."""
    return "=".join(group.rstrip("^ ") for group in text.split("=")).rstrip("=")


def read_number(text: str, _zone: tzinfo = UTC) -> float | None:
    """A decimal or whole number; whole ones stay exact."""
    if _NUMBER.fullmatch(text) is None:
        return None
    try:
        return int(text)
    except ValueError:
        number = float(text)
        return number if math.isfinite(number) else None


@lru_cache(maxsize=4096)
def parse_date(text: str) -> date | None:
    """A day: `20261122`, as ISO writes it `2026-11-22`, or as ACR-NEMA did `2026.11.22`."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    try:
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None


def read_date(text: str, _zone: tzinfo = UTC) -> float | None:
    """DA as a day number."""
    day = parse_date(text)
    return None if day is None else day.toordinal()


@lru_cache(maxsize=4096)
def read_midnight(text: str, zone: tzinfo) -> float | None:
    """DA as the moment that the day begins in the zone, in seconds since 1970."""
    day = parse_date(text)
    return None if day is None else _timestamp(datetime(day.year, day.month, day.day), zone)  # noqa: DTZ001 (zone joins in)


@lru_cache(maxsize=4096)
def read_time(text: str, _zone: tzinfo = UTC) -> float | None:
    """TM as seconds after midnight; a part left out is zero; `19:00:00` is read too (ACR-NEMA, and people)."""
    found = _TIME.fullmatch(text)
    return None if found is None else _seconds(*found.groups())


@lru_cache(maxsize=4096)
def read_moment(text: str, zone: tzinfo) -> float | None:
    """DT, or ISO 8601, as seconds since 1970; in the zone when it has no offset; a part left out is its first."""
    found = _MOMENT.fullmatch(text) or _ISO_MOMENT.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    after_midnight = _seconds(hour or "00", minute, second, fraction)
    if after_midnight is None:
        return None
    try:
        start = datetime(int(year), int(month or 1), int(day or 1))  # noqa: DTZ001 (zone joins in)
        return _timestamp(start + timedelta(seconds=after_midnight), _zone(offset) if offset else zone)
    except (ValueError, OverflowError):
        return None


def read_age(text: str, _zone: tzinfo = UTC) -> float | None:
    """AS in days, a month as the twelfth and a year as 365.25 days: `012M` is `001Y`."""
    found = _AGE.fullmatch(text)
    return None if found is None else int(found[1]) * _DAYS[found[2].upper()]


def _seconds(hour: str, minute: str | None, second: str | None, fraction: str | None) -> float | None:
    hours, minutes, seconds = int(hour), int(minute or 0), int(second or 0)
    if any(number > most for number, most in zip((hours, minutes, seconds), _MOST, strict=True)):
        return None
    return hours * 3600 + minutes * 60 + seconds + float(fraction or 0)


def _zone(offset: str) -> tzinfo:
    if offset == "Z":
        return UTC
    minutes = int(offset[1:3]) * 60 + int(offset[-2:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _timestamp(wall: datetime, zone: tzinfo) -> float | None:
    try:
        return wall.replace(tzinfo=zone).timestamp()
    except (ValueError, OverflowError):
        return None
