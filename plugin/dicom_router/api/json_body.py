# SPDX-License-Identifier: AGPL-3.0-or-later
"""JSON as its standard has it (RFC 8259): Python also takes what others could not read again."""

import json
import math
from typing import Any, NoReturn


def read_json(text: bytes) -> Any:
    """The value; raises ValueError with what is wrong."""
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_number, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is too large")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that comes twice one value would be lost without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the key "{twice}" comes twice in one object')
    return found
