# SPDX-License-Identifier: AGPL-3.0-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_router.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("300ms", 0.3),
        ("30s", 30),
        ("15m", 900),
        ("2h", 7200),
        ("7d", 604800),
        ("1.5h", 5400),
        (" 10 s ", 10),
        ("0s", 0),
    ],
)
def test_a_number_and_a_unit_are_seconds(text: str, seconds: float) -> None:
    assert seconds == parse_duration(text)


@pytest.mark.parametrize(
    "text",
    ["", "7", "d", "7w", "-1s", "1s 2s", "1h30m", "7D", "٣s", "1e3s", "9" * 400 + "d", 7, 7.5, None, True, [], {}],
)
def test_anything_else_is_refused_with_a_sentence(text: object) -> None:
    with pytest.raises(ValueError, match=r"is not a duration: write a number and a unit"):
        parse_duration(text)


def test_more_than_a_hundred_years_are_refused() -> None:
    with pytest.raises(ValueError, match="longer than 100 years"):
        parse_duration("36526d")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.5, "500ms"),
        (1.5, "1500ms"),
        (30, "30s"),
        (5400, "90m"),
        (7200, "2h"),
        (604800, "7d"),
        (0.0001, "0s"),
    ],
)
def test_seconds_are_written_in_the_largest_unit_without_a_fraction(seconds: float, text: str) -> None:
    assert text == format_duration(seconds)


def test_a_negative_duration_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="not negative"):
        format_duration(-1)


@given(st.integers(min_value=0, max_value=36_525 * 86_400_000))
def test_what_is_written_is_read_back_to_the_millisecond(milliseconds: int) -> None:
    assert milliseconds == round(parse_duration(format_duration(milliseconds / 1000)) * 1000)
