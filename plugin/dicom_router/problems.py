# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is wrong in something a user wrote: where, and what to do about it."""

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake: `path` as a user looks for it (`Router.Rules[2].Match.StudyDate.Between`), `message` a sentence."""

    path: str
    message: str


def shown(value: object) -> str:
    """A value of the user's as JSON has it; of an object or a list only that it is one, for it may hold a password."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    plain = isinstance(value, str) and value.isprintable()
    return json.dumps(value, ensure_ascii=not plain, default=str)


def nearest(name: str, candidates: Iterable[str]) -> str:
    """A hint like ` Did you mean "Modality"?`, or nothing when no candidate is near."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f' Did you mean "{by_lower[found[0]]}"?' if found else ""
