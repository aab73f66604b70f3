# SPDX-License-Identifier: AGPL-3.0-or-later
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_router.rules.schedule import Schedule, both, parse_schedule

BERLIN, NEW_YORK, SYDNEY = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("Australia/Sydney")
ZONES = (BERLIN, NEW_YORK, SYDNEY)
MINUTE = timedelta(minutes=1)
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def schedule(spec: object) -> Schedule:
    parsed, problems = parse_schedule(spec, "Schedule")
    assert not problems
    assert parsed is not None
    return parsed


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)


# --- what is open ----------------------------------------------------------------------------------------------------

# 2026-11-16 is a Monday.
OPEN = [
    ("", "2026-11-16T03:00", True),
    (None, "2026-11-16T03:00", True),
    ("  ", "2026-11-16T03:00", True),
    ("08:00-12:00", "2026-11-16T07:59:59.999999", False),
    ("08:00-12:00", "2026-11-16T08:00", True),
    ("08:00-12:00", "2026-11-16T11:59:59.999999", True),
    ("08:00-12:00", "2026-11-16T12:00", False),
    ("8:00-12:00", "2026-11-16T08:00", True),
    ("08:00 - 12:00", "2026-11-16T09:00", True),
    ("19:00-07:00", "2026-11-16T18:59", False),
    ("19:00-07:00", "2026-11-16T19:00", True),
    ("19:00-07:00", "2026-11-17T06:59", True),
    ("19:00-07:00", "2026-11-17T07:00", False),
    ("19:00-24:00", "2026-11-16T23:59", True),
    ("19:00-24:00", "2026-11-17T00:00", False),
    ("00:00-24:00", "2026-11-17T00:00", True),
    ("08:00-12:00, 14:00-18:00", "2026-11-16T13:00", False),
    ("08:00-12:00, 14:00-18:00", "2026-11-16T14:00", True),
    ("08:00-12:00 14:00-18:00", "2026-11-16T14:00", True),
    ("Mon-Fri 08:00-12:00, 14:00-18:00", "2026-11-20T17:00", True),
    ("Mon-Fri 08:00-12:00, 14:00-18:00", "2026-11-21T17:00", False),
    ("Mon-Fri 08:00-12:00, Sat 09:00-10:00", "2026-11-21T09:30", True),
    ("Mon-Fri 08:00-12:00, Sat 09:00-10:00", "2026-11-21T10:30", False),
    ("Mon-Fri 08:00-12:00, Sat 09:00-10:00", "2026-11-20T10:30", True),
    ("Sat,Sun 00:00-24:00", "2026-11-22T23:59", True),
    ("Sat,Sun 00:00-24:00", "2026-11-23T00:00", False),
    ("Sat Sun 10:00-11:00", "2026-11-21T10:00", True),
    ("Saturday, sunday 10:00-11:00", "2026-11-22T10:00", True),
    ("Mon, Wed-Thu 10:00-11:00", "2026-11-17T10:00", False),
    ("Mon, Wed-Thu 10:00-11:00", "2026-11-19T10:00", True),
    ("Fri-Mon 10:00-11:00", "2026-11-16T10:00", True),
    ("Fri-Mon 10:00-11:00", "2026-11-18T10:00", False),
    ("Fri 22:00-06:00", "2026-11-21T05:59", True),
    ("Fri 22:00-06:00", "2026-11-20T05:59", False),
    ("Sun 22:00-06:00", "2026-11-16T05:59", True),
    ("Sun 22:00-06:00", "2026-11-22T05:59", False),
    ("m10 < 5", "2026-11-16T10:04:59", True),
    ("m10 < 5", "2026-11-16T10:05", False),
    ("m10 < 5", "2026-11-16T10:10", True),
    ("m60<30", "2026-11-16T10:29", True),
    ("m60 < 30", "2026-11-16T10:30", False),
    ("m120 < 60", "2026-11-16T01:30", False),
    ("m120 < 60", "2026-11-16T02:30", True),
    ("Mon-Fri m10 < 5", "2026-11-21T10:00", False),
    ("Sat m10 < 5, Sun 10:00-11:00", "2026-11-21T10:00", True),
    ({"Cron": "0 19 * * *", "For": "12h"}, "2026-11-16T18:59:59", False),
    ({"Cron": "0 19 * * *", "For": "12h"}, "2026-11-16T19:00", True),
    ({"Cron": "0 19 * * *", "For": "12h"}, "2026-11-17T06:59:59", True),
    ({"Cron": "0 19 * * *", "For": "12h"}, "2026-11-17T07:00", False),
    ({"Cron": "0 19 * * fri", "For": "12h"}, "2026-11-21T06:00", True),
    ({"Cron": "0 19 * * fri", "For": "12h"}, "2026-11-20T06:00", False),
    ({"Cron": "@daily", "For": "30m"}, "2026-11-20T00:29:59.5", True),
    # Summer time begins on 2026-03-29 at 02:00, and ends on 2026-10-25 at 03:00.
    ("02:00-03:00", "2026-03-29T01:59", False),
    ("02:00-03:00", "2026-03-29T03:00", False),
    ("01:30-03:30", "2026-03-29T03:29", True),
]


@pytest.mark.parametrize(("spec", "moment", "expected"), OPEN)
def test_a_window_is_open_by_the_wall_clock(spec: object, moment: str, expected: bool) -> None:
    assert expected is schedule(spec).is_open(at(moment))


@pytest.mark.parametrize("fold", [0, 1])
def test_a_window_in_the_hour_that_comes_twice_is_open_both_times(fold: int) -> None:
    assert schedule("02:00-03:00").is_open(at("2026-10-25T02:30", fold=fold))


def test_a_moment_in_another_zone_is_the_same_moment_on_that_wall_clock() -> None:
    window = schedule("19:00-07:00")
    assert window.is_open(at("2026-11-16T19:00", NEW_YORK))
    assert not window.is_open(at("2026-11-16T19:00", NEW_YORK).astimezone(ZoneInfo("Asia/Tokyo")))


# --- when it opens and closes ----------------------------------------------------------------------------------------

NEXT = [
    ("", "2026-11-16T03:00", "2026-11-16T03:00", None),
    ("19:00-07:00", "2026-11-16T12:34:56", "2026-11-16T19:00", "2026-11-16T12:34:56"),
    ("19:00-07:00", "2026-11-16T20:00", "2026-11-16T20:00", "2026-11-17T07:00"),
    ("Sat 10:00-11:00", "2026-11-16T12:00", "2026-11-21T10:00", "2026-11-16T12:00"),
    ("Sun 22:00-06:00", "2026-11-22T23:00", "2026-11-22T23:00", "2026-11-23T06:00"),
    ("Fri-Mon 00:00-24:00", "2026-11-20T00:00", "2026-11-20T00:00", "2026-11-24T00:00"),
    ("00:00-24:00", "2026-11-20T00:00", "2026-11-20T00:00", None),
    ("m10 < 10", "2026-11-20T00:00", "2026-11-20T00:00", None),
    ("m10 < 5", "2026-11-20T00:07", "2026-11-20T00:10", "2026-11-20T00:07"),
    ("08:00-10:00, 09:00-12:00", "2026-11-20T08:30", "2026-11-20T08:30", "2026-11-20T12:00"),
    ({"Cron": "0 19 * * *", "For": "12h"}, "2026-11-16T12:00", "2026-11-16T19:00", "2026-11-16T12:00"),
    ({"Cron": "0 19 * * *", "For": "12h"}, "2026-11-16T23:00", "2026-11-16T23:00", "2026-11-17T07:00"),
    ({"Cron": "0 8-17 * * *", "For": "1h"}, "2026-11-16T09:30", "2026-11-16T09:30", "2026-11-16T18:00"),
    ({"Cron": "0 * * * *", "For": "2h"}, "2026-11-16T09:30", "2026-11-16T09:30", None),
    ({"Cron": "0 0 29 2 *", "For": "1d"}, "2026-11-16T09:30", "2028-02-29T00:00", "2026-11-16T09:30"),
    # Into and out of summer time.
    ("Sun 02:00-03:00", "2026-03-28T12:00", "2026-04-05T02:00", "2026-03-28T12:00"),
    ("02:30-04:00", "2026-03-29T01:00", "2026-03-29T03:00", "2026-03-29T01:00"),
    ("01:00-02:30", "2026-03-29T01:30", "2026-03-29T01:30", "2026-03-29T03:00"),
    ("19:00-07:00", "2026-10-24T20:00", "2026-10-24T20:00", "2026-10-25T07:00"),
    ("19:00-07:00", "2026-10-25T07:00", "2026-10-25T19:00", "2026-10-25T07:00"),
    ({"Cron": "30 2 * * *", "For": "1h"}, "2026-03-29T01:00", "2026-03-29T03:00", "2026-03-29T01:00"),
    ({"Cron": "0 19 * * *", "For": "12h"}, "2026-10-24T20:00", "2026-10-24T20:00", "2026-10-25T06:00"),
]


@pytest.mark.parametrize(("spec", "moment", "opens", "closes"), NEXT)
def test_the_next_window_and_its_end_are_known(spec: object, moment: str, opens: str, closes: str | None) -> None:
    window = schedule(spec)
    assert at(opens) == window.next_open(at(moment))
    assert (None if closes is None else at(closes)) == window.closes(at(moment))


def test_a_window_in_the_hour_that_comes_twice_closes_and_opens_again() -> None:
    window = schedule("02:00-02:30")
    closes = window.closes(at("2026-10-25T02:10"))
    assert closes == at("2026-10-25T02:30")
    assert closes is not None
    opens = window.next_open(closes)
    assert opens is not None
    assert at("2026-10-25T02:00", fold=1).astimezone(UTC) == opens.astimezone(UTC)
    assert opens.fold == 1


def test_an_open_schedule_gives_back_the_very_moment() -> None:
    moment = at("2026-11-16T20:00:01.5")
    assert schedule("19:00-07:00").next_open(moment) is moment


# --- both ------------------------------------------------------------------------------------------------------------

BOTH = [
    ("", "19:00-07:00", "2026-11-16T12:00", "2026-11-16T19:00"),
    ("19:00-07:00", "", "2026-11-16T12:00", "2026-11-16T19:00"),
    ("19:00-07:00", "Sat 06:00-12:00", "2026-11-16T12:00", "2026-11-21T06:00"),
    ("Mon 08:00-12:00", "Tue 08:00-12:00", "2026-11-16T12:00", None),
    ("m10 < 5", "Sun 02:07-02:12", "2026-11-16T12:00", "2026-11-22T02:10"),
    ("m10 < 5", {"Cron": "5 * * * *", "For": "5m"}, "2026-11-16T12:00", None),
    ({"Cron": "0 0 1 1 *", "For": "1d"}, "19:00-07:00", "2026-11-16T12:00", "2027-01-01T00:00"),
    ({"Cron": "0 0 1 * *", "For": "1d"}, "Mon 06:00-07:00", "2026-11-16T12:00", "2027-02-01T06:00"),
]


@pytest.mark.parametrize(("first", "second", "moment", "opens"), BOTH)
def test_two_schedules_are_open_together_where_their_windows_meet(
    first: object, second: object, moment: str, opens: str | None
) -> None:
    window = both(schedule(first), schedule(second))
    assert (None if opens is None else at(opens)) == window.next_open(at(moment))


def test_two_schedules_close_with_the_first_that_closes() -> None:
    window = both(schedule("08:00-12:00"), schedule("10:00-18:00"))
    assert at("2026-11-16T12:00") == window.closes(at("2026-11-16T11:00"))
    assert at("2026-11-16T09:00") == window.closes(at("2026-11-16T09:00"))
    assert window.is_open(at("2026-11-16T11:00"))
    assert not window.is_open(at("2026-11-16T09:00"))


# --- problems --------------------------------------------------------------------------------------------------------

PROBLEMS = [
    ("nonsense", "S", "weekday"),
    ("19:00", "S", "not understood"),
    ("19:00-25:00", "S", "not a time of day"),
    ("19:60-20:00", "S", "not a time of day"),
    ("08:00-08:00", "S", "no length"),
    ("24:00-07:00", "S", "no length"),
    ("Mon-Fry 08:00-12:00", "S", '"Fry" is not a weekday'),
    ("Sat,Sun", "S", "Days need a window"),
    ("08:00-12:00, Sat", "S", "Days need a window"),
    ("m10 > 5", "S", "weekday|not understood"),
    ("m0 < 0", "S", "first number"),
    ("m10 < 11", "S", "first number"),
    ("m1441 < 5", "S", "first number"),
    ("08:00-12:000", "S", "not understood"),
    ("!", "S", "not understood"),
    (5, "S", "is expected"),
    (["08:00-12:00"], "S", "is expected"),
    ({"Cron": "0 19 * * *"}, "S.For", "not a duration"),
    ({"Cron": "0 19 * * *", "For": "0s"}, "S.For", "at least a second"),
    ({"For": "12h"}, "S.Cron", "cron expression"),
    ({"Cron": "0 25 * * *", "For": "12h"}, "S.Cron", "not a cron expression"),
    ({"Cron": "* * * * * *", "For": "12h"}, "S.Cron", "five fields"),
    ({"Cron": "R R * * *", "For": "12h"}, "S.Cron", "five fields"),
    ({"Cron": "@never", "For": "12h"}, "S.Cron", "not a cron expression"),
    ({"Cron": "0 0 30 2 *", "For": "12h"}, "S.Cron", "never ticks"),
    ({"Cron": 5, "For": "12h"}, "S.Cron", "cron expression"),
    ({"Cron": "0 19 * * *", "For": "12h", "form": 1}, "S.form", 'Did you mean "For"'),
]


@pytest.mark.parametrize(("spec", "path", "message"), PROBLEMS)
def test_a_mistake_is_named_with_its_path(spec: object, path: str, message: str) -> None:
    parsed, problems = parse_schedule(spec, "S")
    assert parsed is None
    assert [path] == [problem.path for problem in problems]
    with pytest.raises(ValueError, match=message):
        raise ValueError(problems[0].message)


def test_all_mistakes_of_a_cron_window_are_named_together() -> None:
    _parsed, problems = parse_schedule({"Cron": "x", "For": "y", "z": 1}, "S")
    assert {"S.Cron", "S.For", "S.z"} == {problem.path for problem in problems}


@given(
    st.one_of(
        st.text(), st.dictionaries(st.sampled_from(["Cron", "For", "x"]), st.text()), st.integers(), st.booleans()
    )
)
def test_no_text_makes_parsing_raise(spec: object) -> None:
    parsed, problems = parse_schedule(spec, "S")
    assert (parsed is None) is bool(problems)


# --- against a clock that is looked at every minute ------------------------------------------------------------------


LOOK_EVERY_MINUTE = settings(max_examples=25, deadline=None)


@dataclass(frozen=True)
class Windows:
    """A schedule as drawn: its text, and its windows as days, first minute and last minute of the day."""

    text: str
    windows: tuple[tuple[frozenset[int], int, int], ...]

    def is_open(self, moment: datetime, zone: ZoneInfo) -> bool:
        wall = moment.astimezone(zone)
        return self.is_open_on_the_wall(wall.weekday(), wall.hour * 60 + wall.minute)

    def is_open_on_the_wall(self, today: int, minute: int) -> bool:
        for days, start, end in self.windows:
            if start < end and today in days and start <= minute < end:
                return True
            if start > end and ((today in days and minute >= start) or ((today - 1) % 7 in days and minute < end)):
                return True
        return False


@st.composite
def drawn_windows(draw: st.DrawFn) -> Windows:
    texts, windows = [], []
    clock = st.integers(min_value=0, max_value=1439) | st.integers(min_value=0, max_value=8).map(lambda n: n * 30)
    for _index in range(draw(st.integers(min_value=1, max_value=3))):
        days = draw(st.frozensets(st.integers(min_value=0, max_value=6), min_size=1))
        start = draw(clock)
        end = draw(clock.filter(bool))
        start = start if start != end else end - 1
        texts.append(f"{','.join(DAYS[day] for day in days)} {hhmm(start)}-{hhmm(end)}")
        windows.append((days, start, end))
    return Windows(", ".join(texts), tuple(windows))


def hhmm(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = 365 * 1440  # minutes: both changes of the clocks are in it

# Two days around every change of the clocks in 2026, and an ordinary week.
DATES = ((3, 7), (3, 28), (4, 4), (10, 3), (10, 24), (10, 31), (6, 15))
STARTS = st.builds(
    lambda date, minutes: datetime(2026, date[0], date[1], tzinfo=UTC) + minutes * MINUTE,
    st.sampled_from(DATES),
    st.integers(min_value=0, max_value=2 * 1440),
)


@LOOK_EVERY_MINUTE
@given(drawn_windows(), STARTS, st.sampled_from(ZONES))
def test_windows_agree_with_a_clock_looked_at_every_minute(drawn: Windows, start: datetime, zone: ZoneInfo) -> None:
    window = schedule(drawn.text)
    seen = [drawn.is_open(start + step * MINUTE, zone) for step in range(9 * 1440)]
    for step in range(0, 3 * 1440, 7):
        assert seen[step] is window.is_open((start + step * MINUTE).astimezone(zone))
    for step in (0, 777, 1440):
        moment = (start + step * MINUTE).astimezone(zone)
        assert_change(window.next_open(moment), seen, start, step, True)
        assert_change(window.closes(moment), seen, start, step, False)


@LOOK_EVERY_MINUTE
@given(drawn_windows(), drawn_windows(), STARTS, st.sampled_from(ZONES))
def test_two_schedules_agree_with_a_clock_looked_at_every_minute(
    first: Windows, second: Windows, start: datetime, zone: ZoneInfo
) -> None:
    window = both(schedule(first.text), schedule(second.text))
    moments = [start + step * MINUTE for step in range(9 * 1440)]
    seen = [first.is_open(moment, zone) and second.is_open(moment, zone) for moment in moments]
    assert_change(window.next_open(start.astimezone(zone)), seen, start, 0, True)
    assert_change(window.closes(start.astimezone(zone)), seen, start, 0, False)


@cache
def wall_clock_of_the_year(zone: ZoneInfo) -> list[tuple[int, int]]:
    """Weekday and minute of the day, for each minute of 2026."""
    walls = (moment.astimezone(zone) for moment in (NEW_YEAR + step * MINUTE for step in range(YEAR)))
    return [(wall.weekday(), wall.hour * 60 + wall.minute) for wall in walls]


@pytest.mark.parametrize("zone", ZONES, ids=str)
@settings(max_examples=5, deadline=None)
@given(drawn_windows())
def test_a_whole_year_of_windows_agrees_with_a_clock_looked_at_every_minute(zone: ZoneInfo, drawn: Windows) -> None:
    open_at = {(day, minute) for day in range(7) for minute in range(1440) if drawn.is_open_on_the_wall(day, minute)}
    seen = [wall in open_at for wall in wall_clock_of_the_year(zone)]
    changes = [step for step in range(1, YEAR) if seen[step] is not seen[step - 1]]
    window, moment, found = schedule(drawn.text), NEW_YEAR.astimezone(zone), list[int]()
    is_open = window.is_open(moment)
    assert is_open is seen[0]
    while True:
        change = window.closes(moment) if is_open else window.next_open(moment)
        if change is None or change >= NEW_YEAR + YEAR * MINUTE:
            break
        moment, is_open = change, not is_open
        found.append(round((change - NEW_YEAR) / MINUTE))
    assert found == changes


# What a field of cron says, and which numbers it means.
FIELDS = st.tuples(
    st.sampled_from([("0", {0}), ("30", {30}), ("*/30", {0, 30}), ("*/7", set(range(0, 60, 7))), ("59", {59})]),
    st.sampled_from([("*", set(range(24))), ("2", {2}), ("1-3", {1, 2, 3}), ("*/6", {0, 6, 12, 18}), ("19", {19})]),
    st.sampled_from([("*", set(range(7))), ("sun", {6}), ("1-5", set(range(5)))]),
)
Field = tuple[str, set[int]]


@LOOK_EVERY_MINUTE
@given(FIELDS, st.integers(min_value=1, max_value=600), STARTS, st.sampled_from(ZONES))
def test_cron_windows_agree_with_a_clock_looked_at_every_minute(
    fields: tuple[Field, Field, Field], minutes: int, start: datetime, zone: ZoneInfo
) -> None:
    (minute, _), (hour, _), (weekday, _) = fields
    window = schedule({"Cron": f"{minute} {hour} * * {weekday}", "For": f"{minutes}m"})
    seen, last = [], -minutes
    for step, tick in enumerate(ticks(fields, start - minutes * MINUTE, minutes + 8 * 1440, zone)):
        last = step if tick else last
        seen.append(step - last < minutes)
    seen = seen[minutes:]
    for step in range(0, 3 * 1440, 61):
        assert seen[step] is window.is_open((start + step * MINUTE).astimezone(zone))
    for step in (0, 1440):
        moment = (start + step * MINUTE).astimezone(zone)
        assert_change(window.next_open(moment), seen, start, step, True)
        assert_change(window.closes(moment), seen, start, step, False)


def ticks(fields: tuple[Field, Field, Field], start: datetime, count: int, zone: ZoneInfo) -> list[bool]:
    """By the wall clock; what falls into a skipped hour ticks at its end."""
    (_, minutes), (_, hours), (_, weekdays) = fields
    found = []
    before = (start - MINUTE).astimezone(zone).replace(tzinfo=None)
    for step in range(count):
        wall = (start + step * MINUTE).astimezone(zone).replace(tzinfo=None)
        reached = [wall - skipped * MINUTE for skipped in range(max(1, int((wall - before) / MINUTE)))]
        found.append(any(at.minute in minutes and at.hour in hours and at.weekday() in weekdays for at in reached))
        before = wall
    return found


def assert_change(found: datetime | None, seen: list[bool], start: datetime, step: int, is_open: bool) -> None:
    """The change is the first minute with that state; beyond the minutes looked at, it may be anywhere."""
    expected = next((start + later * MINUTE for later in range(step, len(seen)) if seen[later] is is_open), None)
    end = start + len(seen) * MINUTE
    if expected is None:
        assert found is None or found.astimezone(UTC) >= end
    else:
        assert found is not None
        assert expected == found.astimezone(UTC)


# --- cost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec", ["Mon-Fri 19:00-07:00", "m2 < 1", "Sat 10:00-11:00", {"Cron": "0 19 * * 1-5", "For": "12h"}]
)
def test_planning_takes_about_a_millisecond(spec: object) -> None:
    window = schedule(spec)
    moments = [at("2026-03-28T09:00") + step * timedelta(hours=5) for step in range(100)]
    started = time.process_time()
    for moment in moments:
        window.next_open(moment)
    assert time.process_time() - started < 0.3
