# SPDX-License-Identifier: AGPL-3.0-or-later
"""The operators of `Match`: each becomes a test of one value, compiled once."""

import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from dicom_router.durations import parse_duration
from dicom_router.problems import Problem
from dicom_router.rules import values
from dicom_router.rules.attributes import WEEKDAYS, sop_class_names, weekday
from dicom_router.rules.keys import Key

Predicate = Callable[[str, datetime], bool]
Compare = Callable[[float, float], bool]

NEGATIONS: Final = {"NotEquals": "Equals", "NotIn": "In", "NotContains": "Contains"}
_ORDER: Final[Mapping[str, Compare]] = {"Lt": operator.lt, "Le": operator.le, "Gt": operator.gt, "Ge": operator.ge}
_AGE_LIMITS: Final[Mapping[str, Compare]] = {"NewerThan": operator.gt, "OlderThan": operator.lt}
_TEXT: Final = ("Contains", "StartsWith", "EndsWith", "Wildcard", "Regex")
OPERATORS: Final = (
    *("Equals", "In", "NotEquals", "NotIn", "Contains", "NotContains", "StartsWith", "EndsWith", "Wildcard", "Regex"),
    *("Lt", "Le", "Gt", "Ge", "Between", "Exists", "NewerThan", "OlderThan"),
)
_EQUALITY: Final = ("Equals", "In", "NotEquals", "NotIn", "Exists")

# How each family of keys is read, and what its operands look like.
_READERS: Final[Mapping[str, tuple[values.Reader, str]]] = {
    "number": (values.read_number, "a number, like 5 or 1.5"),
    "date": (values.read_date, 'a date, like "20261122" or "2026-11-22"'),
    "time": (values.read_time, 'a time of day, like "190000" or "19:00"'),
    "moment": (values.read_moment, 'a date with time, like "20261122190000" or "2026-11-22T19:00:00+01:00"'),
    "age": (values.read_age, 'an age, like "018Y", "006M", "03W" or "10D"'),
}
_FAMILY_OF_VR: Final = {"DA": "date", "TM": "time", "DT": "moment", "AS": "age", "PN": "name"}
_FAMILY_OF_ATTRIBUTE: Final = {
    "StudyWeekday": "weekday",
    "ReceivedWeekday": "weekday",
    "SOPClass": "class",
    "RemoteIP": "address",
}


def family_of(key: Key) -> str:
    """By which meaning the values of a key are compared: number, date, time, moment, age, name, weekday, …, or text."""
    if key.kind == "attribute" and key.name in _FAMILY_OF_ATTRIBUTE:
        return _FAMILY_OF_ATTRIBUTE[key.name]
    if key.vr in values.NUMERIC:
        return "number"
    return "opaque" if key.vr in values.OPAQUE else _FAMILY_OF_VR.get(key.vr, "text")


def allowed(key: Key) -> tuple[str, ...]:
    """The operators that have a meaning for a key."""
    family = family_of(key)
    if family == "opaque":
        return ("Exists",)
    if family == "weekday":
        return _EQUALITY
    without: set[str] = set() if family in ("date", "moment") else {*_AGE_LIMITS}
    if family in ("class", "address"):
        without |= {*_ORDER, "Between"}
    return tuple(name for name in OPERATORS if name not in without)


def compile_operator(
    name: str, key: Key, operand: object, path: str, ignore_case: bool = False
) -> tuple[Predicate | None, list[Problem]]:
    """The test of one value for a positive operator other than Exists; or every problem of its operand."""
    if name != "In":
        try:
            return _predicate(name, key, operand, ignore_case), []
        except ValueError as error:
            return None, [Problem(path, str(error))]
    if not isinstance(operand, list) or not operand:
        return None, [Problem(path, 'A list with at least one value is expected, like ["CT", "MR"].')]
    predicates, problems = [], []
    for index, element in enumerate(operand):
        try:
            predicates.append(_equals(key, element, ignore_case))
        except ValueError as error:
            problems.append(Problem(f"{path}[{index}]", str(error)))
    return (None, problems) if problems else (_any_of(predicates), [])


def _predicate(name: str, key: Key, operand: object, ignore_case: bool) -> Predicate:
    if name == "Equals":
        return _equals(key, operand, ignore_case)
    if name in _TEXT:
        return _of_text(name, _text(operand), ignore_case)
    if name == "Between":
        return _between(key, operand, ignore_case)
    if name in _ORDER:
        return _ordered(_ORDER[name], key, operand, ignore_case)
    return _relative_to_now(_AGE_LIMITS[name], key, operand)


def _any_of(predicates: list[Predicate]) -> Predicate:
    known = [predicate.texts for predicate in predicates if isinstance(predicate, OneOf)]
    if len(known) == len(predicates):
        return OneOf(frozenset().union(*known))
    return lambda value, now: any(predicate(value, now) for predicate in predicates)


def _text(operand: object) -> str:
    """An operand as text, without padding; ValueError when it is not one value."""
    if isinstance(operand, bool) or not isinstance(operand, str | int | float):
        raise ValueError(f"One text or number is expected, not {_shown(operand)}.")  # noqa: TRY004 (a user's mistake)
    text = str(operand)
    if not text.strip(" \0"):
        raise ValueError('An empty value never matches. For a tag that is missing or empty write { "Exists": false }.')
    return text


def _shown(operand: object) -> str:
    if operand is None:
        return "null"
    if isinstance(operand, bool):
        return str(operand).lower()
    return "a list" if isinstance(operand, list) else "an object"


# --- equality --------------------------------------------------------------------------------------------------------


def _equals(key: Key, operand: object, ignore_case: bool) -> Predicate:
    text, family = _text(operand).strip(" \0"), family_of(key)
    if family in ("text", "name") and not isinstance(operand, str):
        family = "number"
    if family in _READERS:
        return _by_meaning(operator.eq, family, text)
    if family == "address":
        return _address(text)
    if family == "class":
        return OneOf(sop_class_names(text))
    if family == "weekday":
        return _weekday(weekday(text))
    return _same_text(text, family == "name", ignore_case)


class OneOf:
    """A predicate that knows its values, so that many of them can be looked up at once."""

    __slots__ = ("texts",)

    def __init__(self, texts: frozenset[str]) -> None:
        self.texts = texts

    def __call__(self, value: str, _now: datetime) -> bool:
        """Whether the value is one of them."""
        return value in self.texts


def _same_text(text: str, is_name: bool, ignore_case: bool) -> Predicate:
    if not is_name and not ignore_case:
        return OneOf(frozenset({text}))

    def form(text: str) -> str:
        text = values.person_name(text) if is_name else text
        return text.casefold() if ignore_case else text

    expected = form(text)
    return lambda value, _now: form(value) == expected


def _weekday(day: int) -> Predicate:
    short = WEEKDAYS[day]

    def test(value: str, _now: datetime) -> bool:
        try:
            return value == short or weekday(value) == day
        except ValueError:
            return False

    return test


def _address(text: str) -> Predicate:
    """One address, or a network in CIDR; an IPv4 address inside an IPv6 one (::ffff:10.0.0.1) counts as IPv4."""
    wanted = network(text)

    def test(value: str, _now: datetime) -> bool:
        try:
            return _plain(ip_address(value)) in wanted
        except ValueError:
            return False

    return test


def network(text: str) -> IPv4Network | IPv6Network:
    """An address or a network in CIDR; ValueError with a sentence for anything else."""
    try:
        return ip_network(text, strict=False) if "/" in text else ip_network(_plain(ip_address(text)))
    except ValueError:
        raise ValueError(
            f'"{text}" is not an IP address or network: write it like "10.1.2.3" or "10.1.0.0/16".'
        ) from None


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


# --- order -----------------------------------------------------------------------------------------------------------


def _by_meaning(compare: Compare, family: str, text: str) -> Predicate:
    """Compares what value and operand mean; a value that means nothing in this family never holds."""
    read, expected = _READERS[family]
    always = read(text, UTC)
    if always is None:
        raise ValueError(f'"{text}" is not {expected}.')
    if family != "moment":  # means the same in every time zone
        return _by_fixed_meaning(compare, read, always)

    def test(value: str, now: datetime) -> bool:
        zone = now.tzinfo or UTC
        meaning, limit = read(value, zone), read(text, zone)
        return meaning is not None and limit is not None and compare(meaning, limit)

    return test


def _by_fixed_meaning(compare: Compare, read: values.Reader, limit: float) -> Predicate:
    def test(value: str, _now: datetime) -> bool:
        meaning = read(value, UTC)
        return meaning is not None and compare(meaning, limit)

    return test


def _ordered(compare: Compare, key: Key, operand: object, ignore_case: bool) -> Predicate:
    text, family = _text(operand).strip(" \0"), family_of(key)
    if family in _READERS:
        return _by_meaning(compare, family, text)
    if values.read_number(text) is not None:
        return _by_meaning(compare, "number", text)
    return _alphabetic(compare, text, ignore_case)


def _alphabetic(compare: Callable[..., bool], text: str, ignore_case: bool) -> Predicate:
    if ignore_case:
        folded = text.casefold()
        return lambda value, _now: compare(value.casefold(), folded)
    return lambda value, _now: compare(value, text)


def _between(key: Key, operand: object, ignore_case: bool) -> Predicate:
    """Both ends included; a time of day whose first end is the later one goes over midnight."""
    match operand:
        case [lowest, highest]:
            low, high = _text(lowest).strip(" \0"), _text(highest).strip(" \0")
        case _:
            raise ValueError('A list of two values is expected: the lowest and the highest, like ["07:00", "19:00"].')
    family = family_of(key)
    if family not in _READERS and None in (values.read_number(low), values.read_number(high)):
        above, below = _alphabetic(operator.ge, low, ignore_case), _alphabetic(operator.le, high, ignore_case)
    else:
        above, below = _ordered(operator.ge, key, low, ignore_case), _ordered(operator.le, key, high, ignore_case)
    if family == "time" and (values.read_time(low) or 0) > (values.read_time(high) or 0):
        return lambda value, now: above(value, now) or below(value, now)
    return lambda value, now: above(value, now) and below(value, now)


def _relative_to_now(compare: Compare, key: Key, operand: object) -> Predicate:
    """A date counts from its midnight in the zone of `now`; a day is 24 hours."""
    seconds = parse_duration(operand)
    read = values.read_midnight if family_of(key) == "date" else values.read_moment

    def test(value: str, now: datetime) -> bool:
        moment = read(value, now.tzinfo or UTC)
        return moment is not None and compare(moment, now.timestamp() - seconds)

    return test


# --- text ------------------------------------------------------------------------------------------------------------


def _contains(value: str, text: str) -> bool:
    return text in value


def _starts(value: str, text: str) -> bool:
    return value.startswith(text.lstrip(" \0"))


def _ends(value: str, text: str) -> bool:
    return value.endswith(text.rstrip(" \0"))


_TESTS_OF_TEXT: Final = {"Contains": _contains, "StartsWith": _starts, "EndsWith": _ends}


def _of_text(name: str, text: str, ignore_case: bool) -> Predicate:
    if name in ("Regex", "Wildcard"):
        return _pattern(text if name == "Regex" else _wildcard(text), ignore_case)
    test = _TESTS_OF_TEXT[name]
    if ignore_case:
        folded = text.casefold()
        return lambda value, _now: test(value.casefold(), folded)
    return lambda value, _now: test(value, text)


def _pattern(text: str, ignore_case: bool) -> Predicate:
    try:
        search = re.compile(text, re.IGNORECASE if ignore_case else 0).search
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f'"{text}" is not a regular expression: {error}.') from None
    return lambda value, _now: search(value) is not None


def _wildcard(text: str) -> str:
    r"""The regular expression of a pattern for the whole value: `*` any text, `?` one character, the rest as it is."""
    first, *rest = (_without_stars(piece) for piece in re.split(r"\*+", text.strip(" \0")))
    if not rest:
        return rf"\A{first}\Z"
    # What stands between two stars is found where it comes first, once and for all: other places need not be tried.
    between = "".join(f"(?>(?s:.*?){piece})" for piece in rest[:-1])
    return rf"\A{first}{between}(?s:.*){rest[-1]}\Z"


def _without_stars(text: str) -> str:
    return "".join("(?s:.)" if char == "?" else re.escape(char) for char in text)
