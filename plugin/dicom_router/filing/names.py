# SPDX-License-Identifier: AGPL-3.0-or-later
"""One name of a file or folder out of texts that anybody may have chosen. Pure.

A name is one step of a path on Linux, macOS and Windows alike. What a name cannot hold is replaced, and a name in which
anything was replaced ends in a mark made of what was there: so different texts keep different names.
"""

import unicodedata
from collections.abc import Sequence
from hashlib import blake2b

STAND_IN = "unknown"  # for a value that is missing or empty
REPLACEMENT = "_"
LONGEST = 160  # bytes of UTF-8; file systems take 255, and marks and numbers are added
# Windows, "Naming Files, Paths, and Namespaces": what no name may hold, and what is no name whatever its extension.
FORBIDDEN = frozenset('<>:"/\\|?*')
RESERVED = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³")}
)
MARK_BYTES = 4


def mark_of(*texts: str, size: int = MARK_BYTES) -> str:
    """A short text in hexadecimal that tells these apart from others."""
    return blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def plain_value(value: str) -> str:
    """A value as it counts: without DICOM's padding, composed; the stand-in for none."""
    return unicodedata.normalize("NFC", value.strip(" \0\t\r\n\f\v")) or STAND_IN


def clean(text: str) -> str:
    """The text without what a name cannot hold, neither visibly nor invisibly."""
    return "".join(REPLACEMENT if _unfit(character) else character for character in text)


def _unfit(character: str) -> bool:
    return character in FORBIDDEN or unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def fit(stem: str, extension: str = "") -> str:
    """The stem as a name can begin and end with, of a length that leaves room for the extension."""
    room = LONGEST - len(extension.encode())
    fitted = stem.encode()[:room].decode("utf-8", "ignore")
    ends = fitted if extension else fitted.rstrip(". ")
    fitted = ends + REPLACEMENT * (len(fitted) - len(ends))
    begins = fitted.lstrip(". ")
    fitted = REPLACEMENT * (len(fitted) - len(begins)) + begins
    return REPLACEMENT + fitted if fitted.split(".", 1)[0].rstrip(" ").lower() in RESERVED else fitted


def name_of(texts: Sequence[str], values: Sequence[str], extension: str = "") -> str:
    """A stem of `texts` in order; `values` are those of them that somebody else chose."""
    said = "".join(texts)
    fitted = fit(clean(said), extension)
    if fitted == said:
        return fitted
    mark = f"~{mark_of(*values)}"
    return fit(fitted, extension + mark) + mark
