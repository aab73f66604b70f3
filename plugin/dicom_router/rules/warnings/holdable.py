# SPDX-License-Identifier: AGPL-3.0-or-later
"""Values that a tag cannot hold, by its value representation (DICOM PS3.5 6.2)."""

import re
from collections.abc import Iterator
from typing import Final

from dicom_router.problems import Problem
from dicom_router.rules.keys import Key
from dicom_router.rules.nodes import AllOf, AnyOf, Exists, Node, NoneOf, Test
from dicom_router.rules.values import read_number

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
    if test.operator not in _EQUAL + _PART:
        return
    operands = test.expected if isinstance(test.expected, list) else [test.expected]
    for index, operand in enumerate(operands):
        why = _why_not(test, operand)
        if why:
            path = f"{test.path}[{index}]" if isinstance(test.expected, list) else test.path
            yield Problem(path, f'{test.key.name} never holds "{operand}": {why}')


def _why_not(test: Test, operand: object) -> str:
    key, text = test.key, str(operand).strip(" \0")
    if _is_attribute_of_ours(key):
        return ""
    if key.vr in _WHOLE:
        return _not_whole(key.vr, text) if test.operator in _EQUAL else ""
    if key.vr not in _LONGEST and key.vr not in _LETTERS:
        return ""
    if "\\" in text and key.vr not in _MANY_LINES:
        return "a backslash stands between values, and each value is looked at by itself."
    return _too_long(key.vr, text) or _wrong_letters(test, key.vr, text)


def _is_attribute_of_ours(key: Key) -> bool:
    return key.kind == "attribute" and key.vr not in ("AE", "UI")


def _not_whole(vr: str, text: str) -> str:
    number = read_number(text)
    if number is None:
        return ""
    if number != int(number):
        return f"it is a whole number ({vr})."
    signed, bits = _WHOLE[vr]
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return "" if low <= number <= high else f"it goes from {low} to {high} ({vr})."


def _too_long(vr: str, text: str) -> str:
    longest = _LONGEST[vr]
    length = max(map(len, text.split("="))) if vr == "PN" else len(text)
    return f"it has at most {longest} characters ({vr})." if length > longest else ""


def _wrong_letters(test: Test, vr: str, text: str) -> str:
    if vr not in _LETTERS:
        return ""
    allowed, words = _LETTERS[vr]
    if allowed.fullmatch(text) or (test.ignore_case and allowed.fullmatch(text.upper())):
        return ""
    return f"it consists of {words} ({vr})."
