# SPDX-License-Identifier: AGPL-3.0-or-later
"""Values that a tag cannot hold, by its value representation (DICOM PS3.5 6.2)."""

import re
from collections.abc import Iterator
from typing import Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR

from dicom_router.problems import Problem
from dicom_router.rules.keys import Key
from dicom_router.rules.nodes import AllOf, AnyOf, Exists, Node, NoneOf, Test
from dicom_router.rules.values import read_number
from dicom_router.rules.warnings.regions import COUNTED

Limits = tuple[int, int | None, str]

_LONGEST: Final = {"AE": 16, "AS": 4, "CS": 16, "LO": 64, "SH": 16, "UI": 64, "PN": 64, "ST": 1024, "LT": 10240}
_LETTERS: Final = {
    "CS": (re.compile(r"[A-Z0-9 _]*"), "capital letters, digits, spaces and underscores"),
    "UI": (re.compile(r"[0-9.]*"), "digits and dots"),
    "AE": (re.compile(r"[\x20-\x5b\x5d-\x7e]*"), "ASCII letters without a backslash"),
}
_MANY_LINES: Final = frozenset({"LT", "ST", "UT", "UR"})
_BITS: Final = {"SS": (True, 16), "US": (False, 16), "SL": (True, 32), "UL": (False, 32), "SV": (True, 64)}
_WHOLE: Final = _BITS | {"UV": (False, 64), "IS": (True, 32)}
_EQUAL: Final = ("Equals", "In", "NotEquals", "NotIn")
_ORDER: Final = ("Lt", "Le", "Gt", "Ge", "Between")
_PART: Final = ("Contains", "NotContains", "StartsWith", "EndsWith")


def unholdable(node: Node) -> Iterator[Problem]:
    """A warning for each value below `node` that its tag can never have."""
    if isinstance(node, Test):
        yield from _of_test(node)
    elif isinstance(node, AllOf | AnyOf | NoneOf):
        for each in node.nodes:
            yield from unholdable(each)
    else:
        assert isinstance(node, Exists)  # asks for no value


def _of_test(test: Test) -> Iterator[Problem]:
    if test.operator in _ORDER:
        yield from _of_order(test)
    if test.operator not in (*_EQUAL, *_PART, "Wildcard"):
        return
    operands = test.expected if isinstance(test.expected, list) else [test.expected]
    for index, operand in enumerate(operands):
        why = _why_not(test, operand)
        if why:
            path = f"{test.path}[{index}]" if isinstance(test.expected, list) else test.path
            yield Problem(path, f'{test.key.name} never holds "{operand}": {why}')


def _of_order(test: Test) -> Iterator[Problem]:
    """Numbers beyond all that the tag can hold: a limit that leaves nothing. What leaves everything is no mistake."""
    limits = _limits(test.key)
    if limits is None:
        return
    low, high, words = limits
    operands = test.expected if isinstance(test.expected, list) else [test.expected]
    first, last = (read_number(str(each).strip(" \0")) for each in (operands[0], operands[-1]))
    if test.operator not in ("Lt", "Le") and first is not None and high is not None and first > high:
        yield Problem(test.path, f'{test.key.name} never holds "{operands[0]}": {words}')
    if test.operator not in ("Gt", "Ge") and last is not None and last < low:
        yield Problem(test.path, f'{test.key.name} never holds "{operands[-1]}": {words}')


def _why_not(test: Test, operand: object) -> str:
    key, text = test.key, str(operand).strip(" \0")
    limits = _limits(key)
    if limits is not None:
        return _not_whole(key, limits, text) if test.operator in _EQUAL else ""
    if _is_attribute_of_ours(key) or (key.vr not in _LONGEST and key.vr not in _LETTERS):
        return ""
    if "\\" in text and key.vr not in _MANY_LINES:
        return "a backslash stands between values, and each value is looked at by itself."
    if test.operator == "Wildcard":
        return _too_long_pattern(key.vr, text) or _wrong_letters(test, key.vr, re.sub(r"[*?]", "", text))
    return _too_long(key.vr, text) or _wrong_letters(test, key.vr, text)


def _is_attribute_of_ours(key: Key) -> bool:
    return key.kind == "attribute" and key.vr not in ("AE", "UI")


def _limits(key: Key) -> Limits | None:
    """The lowest and the highest whole number that a key can hold, and how that is told; None for other keys."""
    if key.name in COUNTED:
        return 0, None, "it is never below 0."
    if key.kind == "attribute" or key.vr not in _WHOLE:
        return None
    signed, bits = _WHOLE[key.vr]
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    vr = key.vr
    if dictionary_has_tag(key.path[-1]) and "SS" in dictionary_VR(key.path[-1]).split(" or ")[1:]:
        low, vr = -(2**15), "US or SS"  # what the pixels are tells which (PS3.5 annex A)
    return low, high, f"it goes from {low} to {high} ({vr})."


def _not_whole(key: Key, limits: Limits, text: str) -> str:
    number = read_number(text)
    if number is None:
        return ""
    low, high, words = limits
    if number != int(number):
        return "it is a whole number." if key.kind == "attribute" else f"it is a whole number ({key.vr})."
    return words if number < low or (high is not None and number > high) else ""


def _too_long(vr: str, text: str) -> str:
    longest = _LONGEST[vr]
    length = max(map(len, text.split("="))) if vr == "PN" else len(text)
    return f"it has at most {longest} characters ({vr})." if length > longest else ""


def _too_long_pattern(vr: str, text: str) -> str:
    """By the characters that it asks for; `*` may be nothing, and in a name `*` and `?` may lead to the next group."""
    if vr == "PN":
        return _too_long(vr, re.sub(r"[*?]", "=", text))
    return _too_long(vr, text.replace("*", ""))


def _wrong_letters(test: Test, vr: str, text: str) -> str:
    if vr not in _LETTERS:
        return ""
    allowed, words = _LETTERS[vr]
    if allowed.fullmatch(text) or (test.ignore_case and allowed.fullmatch(text.upper())):
        return ""
    return f"it consists of {words} ({vr})."
