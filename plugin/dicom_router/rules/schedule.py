# SPDX-License-Identifier: AGPL-3.0-or-later
"""When sending is allowed: windows on the wall clock, or windows that open at the ticks of a cron expression.

    schedule = [ entry { "," entry } ]              "" is always open; commas may be left out
    entry    = [ days ] window                      days hold for the windows after them, until others are named
    days     = day [ "-" day ] { "," days }         Mon or Monday; a range may pass Sunday: Fri-Mon
    window   = HH:MM "-" HH:MM                      without its end; past midnight it belongs to the day it starts on
             | "m" N "<" K                          the first K minutes of every N, counted from midnight

A window is wall-clock time: one in the hour that summer time skips does not open that day, one in the hour that comes
twice opens twice. A cron window lasts its `For` of elapsed time.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Protocol

from croniter import CroniterBadDateError, CroniterError, croniter

from dicom_router.durations import parse_duration
from dicom_router.problems import Problem, nearest
from dicom_router.rules.attributes import weekday

_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)
# A window that the change to summer time skips is there again a week later.
_WEEKLY_HORIZON: Final = timedelta(days=15)
_CRON_HORIZON: Final = timedelta(days=400)
_MOST_STEPS: Final = 2000


class Schedule(Protocol):
    """When sending is allowed. Times are aware; windows, and what comes back, are on the wall clock of their zone."""

    @property
    def horizon(self) -> timedelta:
        """How far ahead a search makes sense."""
        ...

    def is_open(self, at: datetime) -> bool:
        """Whether sending is allowed at this moment."""
        ...

    def next_open(self, at: datetime) -> datetime | None:
        """`at` itself when open, else when the next window opens; None when none does."""
        ...

    def closes(self, at: datetime) -> datetime | None:
        """When the window that is open at `at` ends, `at` itself when closed; None when no end is in sight."""
        ...


def parse_schedule(spec: object, path: str) -> tuple[Schedule | None, list[Problem]]:
    """The schedule, always open for None and for an empty text; or None and all problems, each with its path."""
    if spec is None or (isinstance(spec, str) and not spec.strip()):
        return Always(), []
    if isinstance(spec, Mapping):
        return _parse_cron(spec, path)
    if not isinstance(spec, str):
        message = 'A text like "Mon-Fri 19:00-07:00" or { "Cron": "0 19 * * *", "For": "12h" } is expected.'
        return None, [Problem(path, message)]
    try:
        return Weekly(_merge(_windows(spec))), []
    except ValueError as error:
        return None, [Problem(path, str(error))]


def both(first: Schedule, second: Schedule) -> Schedule:
    """Open when both are: the rule's schedule and the destination's."""
    if isinstance(first, Always):
        return second
    return first if isinstance(second, Always) else Both(first, second)


def never_opens(schedule: Schedule, at: datetime) -> bool:
    """Two schedules surely never meet from `at` on: they would not if each cron expression ticked every week either."""
    if not isinstance(schedule, Both):
        return False
    return Both(_every_week(schedule.first), _every_week(schedule.second)).search(at).beyond


# --- kinds of schedules ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Always:
    """Open at any time."""

    horizon: timedelta = timedelta()

    def is_open(self, at: datetime) -> bool:  # noqa: ARG002
        """Yes."""
        return True

    def next_open(self, at: datetime) -> datetime | None:
        """Now."""
        return at

    def closes(self, at: datetime) -> datetime | None:  # noqa: ARG002
        """Never."""
        return None


@dataclass(frozen=True, slots=True)
class Weekly:
    """Windows of the week: minutes since Monday 00:00 at which it opens and closes in turn."""

    edges: tuple[int, ...]
    horizon: timedelta = _WEEKLY_HORIZON

    def is_open(self, at: datetime) -> bool:
        """Whether the wall clock stands inside a window."""
        return self._is_open_on(at.astimezone(UTC).astimezone(_zone(at)))

    def next_open(self, at: datetime) -> datetime | None:
        """The first change of the wall clock or of a window from which it is open."""
        return self._next(at, True)

    def closes(self, at: datetime) -> datetime | None:
        """The first change after which it is closed."""
        return self._next(at, False)

    def _next(self, at: datetime, is_open: bool) -> datetime | None:
        zone, moment = _zone(at), at.astimezone(UTC)
        if self._is_open_on(moment.astimezone(zone)) is is_open:
            return at
        end = moment + self.horizon
        while moment < end:
            moment = self._next_change(moment, zone)
            if self._is_open_on(moment.astimezone(zone)) is is_open:
                return moment.astimezone(zone)
        return None

    def _is_open_on(self, wall: datetime) -> bool:
        return bisect_right(self.edges, _minute_of_week(wall)) % 2 == 1

    def _next_change(self, moment: datetime, zone: tzinfo) -> datetime:
        """The next edge, or the change of the zone's offset when that comes first."""
        wall = moment.astimezone(zone)
        minute = _minute_of_week(wall)
        index = bisect_right(self.edges, minute)
        edge = self.edges[index] if index < len(self.edges) else self.edges[0] + _WEEK
        since_minute = timedelta(seconds=wall.second, microseconds=wall.microsecond)
        then = moment + (edge - minute) * _MINUTE - since_minute
        return _first_offset_change(moment, then, zone) or then


@dataclass(frozen=True, slots=True)
class Cron:
    """Open for some time from each tick of a cron expression.

    Ticks are on the wall clock: one in the hour that summer time skips comes at the end of that hour, one in the hour
    that comes twice comes twice.
    """

    expression: str
    lasts: timedelta
    horizon: timedelta = _CRON_HORIZON

    def is_open(self, at: datetime) -> bool:
        """Whether the last tick is less than `lasts` ago."""
        end = self._end(at)
        return end is not None and at.astimezone(UTC) < end

    def next_open(self, at: datetime) -> datetime | None:
        """The next tick, unless it is open."""
        if self.is_open(at):
            return at
        try:
            tick = croniter(self.expression, at).get_next(datetime)
        except CroniterBadDateError:
            return None
        return tick.astimezone(UTC).astimezone(_zone(at))

    def closes(self, at: datetime) -> datetime | None:
        """The end of the window and of those that overlap it or follow it without a gap."""
        moment, zone = at.astimezone(UTC), _zone(at)
        for _step in range(_MOST_STEPS):
            end = self._end(moment.astimezone(zone))
            if end is None or end <= moment:
                return moment.astimezone(zone)
            moment = end
        return None

    def _end(self, at: datetime) -> datetime | None:
        """When the window of the last tick up to `at` ends."""
        try:
            # croniter looks before its start, in whole seconds.
            after = (at.astimezone(UTC).replace(microsecond=0) + _SECOND).astimezone(_zone(at))
            tick = croniter(self.expression, after).get_prev(datetime)
        except CroniterBadDateError:
            return None
        return tick.astimezone(UTC) + self.lasts


@dataclass(frozen=True, slots=True)
class Meeting:
    """When two schedules are open at once; `beyond`: the search went past the horizon without finding it."""

    at: datetime | None = None
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Both:
    """Open when two schedules are."""

    first: Schedule
    second: Schedule

    @property
    def horizon(self) -> timedelta:
        """The longer one of the two."""
        return max(self.first.horizon, self.second.horizon)

    def is_open(self, at: datetime) -> bool:
        """Whether both are open."""
        return self.first.is_open(at) and self.second.is_open(at)

    def next_open(self, at: datetime) -> datetime | None:
        """See `search`; None when they do not meet within the horizon."""
        return self.search(at).at

    def search(self, at: datetime) -> Meeting:
        """Each in turn leaps to its next window until they meet, up to the horizon or for as many leaps as allowed."""
        end, candidate = at.astimezone(UTC) + self.horizon, at
        for _step in range(_MOST_STEPS):
            opens = self.first.next_open(candidate)
            found = None if opens is None else self.second.next_open(opens)
            if found is None or opens is None:
                return Meeting()
            if found.astimezone(UTC) > end:
                return Meeting(beyond=True)
            if found.astimezone(UTC) == opens.astimezone(UTC):
                return Meeting(found)
            candidate = found
        return Meeting()

    def closes(self, at: datetime) -> datetime | None:
        """The earlier end."""
        ends = [end for end in (self.first.closes(at), self.second.closes(at)) if end is not None]
        return min(ends, key=lambda end: end.astimezone(UTC), default=None)


def _every_week(schedule: Schedule) -> Schedule:
    """A cron expression without what makes some weeks differ from others: it ticks then too, and more often."""
    if isinstance(schedule, Both):
        return Both(_every_week(schedule.first), _every_week(schedule.second))
    if not isinstance(schedule, Cron):
        return schedule
    fields = schedule.expression.split()
    if len(fields) == 1:  # a name: all but one tick at midnight
        expression = "0 * * * *" if fields[0].lower() == "@hourly" else "0 0 * * *"
    else:
        minute, hour, day, _month, weekdays = fields
        # With a day of the month, either of the two is enough; "5#1" and "L5" are a Friday of some weeks.
        weekly = day == "*" and not re.search("[#lL]", weekdays)
        expression = f"{minute} {hour} * * {weekdays if weekly else '*'}"
    return Cron(expression, schedule.lasts, schedule.horizon)


# --- wall clock ------------------------------------------------------------------------------------------------------


def _zone(at: datetime) -> tzinfo:
    return at.tzinfo or UTC


def _minute_of_week(wall: datetime) -> int:
    return wall.weekday() * _DAY + wall.hour * 60 + wall.minute


def _first_offset_change(start: datetime, end: datetime, zone: tzinfo) -> datetime | None:
    """When the zone's offset changes between two moments, to the second; None when it does not."""
    offset = start.astimezone(zone).utcoffset()
    if end.astimezone(zone).utcoffset() == offset:
        return None
    before, after = start, end
    while after - before > _SECOND:
        middle = before + (after - before) / 2
        before, after = (middle, after) if middle.astimezone(zone).utcoffset() == offset else (before, middle)
    return after.replace(microsecond=0)


# --- parsing ---------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"[\s,]*(?:m\s*(?P<every>\d{1,4})\s*<\s*(?P<first>\d{1,4})(?!\d)"
    r"|(?P<days>[A-Za-z]+(?:\s*-\s*[A-Za-z]+)?)"
    r"|(?P<start>\d{1,2}:\d\d)\s*-\s*(?P<end>\d{1,2}:\d\d)(?!\d))[\s,]*",
    re.ASCII,
)
Window = tuple[int, int]


def _windows(text: str) -> Iterator[Window]:
    """Start and end of each window in minutes of the week; an end past Sunday night is more than a week."""
    days: set[int] = set()
    days_are_complete, position = True, 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise ValueError(
                f'"{text[position:].strip(" ,")}" is not understood: write windows like "19:00-07:00", '
                '"Mon-Fri 08:00-12:00, 14:00-18:00" or "m10 < 5".'
            )
        position = token.end()
        if token["days"]:
            days = (set() if days_are_complete else days) | _days(token["days"])
            days_are_complete = False
            continue
        days_are_complete = True
        for start, end in _window_of(token):
            yield from ((day * _DAY + start, day * _DAY + end) for day in days or range(7))
    if not days_are_complete:
        raise ValueError('Days need a window after them: write "Sat,Sun 00:00-24:00" for whole days.')


def _days(text: str) -> set[int]:
    first, _dash, last = text.partition("-")
    start = weekday(first)
    return {(start + step) % 7 for step in range((weekday(last or first) - start) % 7 + 1)}


def _window_of(token: re.Match[str]) -> Iterable[Window]:
    if token["every"]:
        return _minutes_of_every(int(token["every"]), int(token["first"]))
    start, end = _minute(token["start"]), _minute(token["end"])
    if start in (end, _DAY):
        raise ValueError(f'"{token[0].strip(" ,")}" has no length: write "00:00-24:00" for the whole day.')
    return [(start, end if end > start else end + _DAY)]


def _minutes_of_every(every: int, first: int) -> list[Window]:
    if not 0 < first <= every <= _DAY:
        raise ValueError(
            f'"m{every} < {first}": the first number goes from 1 to {_DAY}, the second from 1 to the first.'
        )
    return [(start, min(start + first, _DAY)) for start in range(0, _DAY, every)]


def _minute(text: str) -> int:
    hours, minutes = map(int, text.split(":"))
    if minutes >= 60 or hours * 60 + minutes > _DAY:  # noqa: PLR2004 (minutes of an hour)
        raise ValueError(f'"{text}" is not a time of day between 00:00 and 24:00.')
    return hours * 60 + minutes


def _merge(windows: Iterable[Window]) -> tuple[int, ...]:
    """The edges of the union: open from the first to the second, from the third to the fourth, and so on."""
    edges: list[int] = []
    for start, end in sorted(piece for window in windows for piece in _within_week(window)):
        if edges and start <= edges[-1]:
            edges[-1] = max(edges[-1], end)
        else:
            edges += (start, end)
    return tuple(edges)


def _within_week(window: Window) -> list[Window]:
    start, end = window
    return [window] if end <= _WEEK else [(start, _WEEK), (0, end - _WEEK)]


def _parse_cron(spec: Mapping[object, object], path: str) -> tuple[Schedule | None, list[Problem]]:
    problems = [
        Problem(
            f"{path}.{name}",
            f'"{name}" is unknown.{nearest(str(name), ("Cron", "For"))} "Cron" and "For" are expected.',
        )
        for name in spec
        if name not in ("Cron", "For")
    ]
    expression, seconds = "", 0.0
    try:
        expression = _cron_expression(spec.get("Cron"))
    except ValueError as error:
        problems.append(Problem(f"{path}.Cron", str(error)))
    try:
        seconds = _positive_duration(spec.get("For"))
    except ValueError as error:
        problems.append(Problem(f"{path}.For", str(error)))
    return (None, problems) if problems else (Cron(expression, timedelta(seconds=seconds)), [])


def _positive_duration(text: object) -> float:
    seconds = parse_duration(text)
    if seconds < 1:
        raise ValueError("A window lasts at least a second.")
    return seconds


def _cron_expression(text: object) -> str:
    """The expression when it has the five fields of cron, or is a name like @daily, and ticks at all."""
    expected = 'five fields like "0 19 * * 1-5": minute, hour, day of month, month, day of week'
    words = text.split() if isinstance(text, str) else []
    # croniter's sixth and seventh field, and its R and H, are its own; R would tick at random.
    if not isinstance(text, str) or len(words) not in (1, 5) or any(re.match("[rRhH]", word) for word in words):
        raise ValueError(f"A cron expression is expected: {expected}.")
    try:
        croniter(text, datetime(2024, 1, 1, tzinfo=UTC)).get_next(datetime)
    except CroniterBadDateError:
        raise ValueError(f'"{text}" never ticks.') from None
    except (CroniterError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f'"{text}" is not a cron expression ({error}): write {expected}.') from None
    return text
