# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a process came to: `proc.json`, or why there is none. Pure."""

import json
import re
from dataclasses import dataclass

FAILED = "failed"
LONGEST_TEXT = 1000  # characters of a success or a message
MOST_ENTRIES = 1000


@dataclass(frozen=True)
class Outcome:
    """Pairs of success and message, at least one."""

    entries: tuple[tuple[str, str], ...]

    @classmethod
    def failure(cls, message: str) -> "Outcome":
        """The command itself has said nothing that counts."""
        return cls(((FAILED, message),))

    @property
    def failed(self) -> bool:
        """One of its entries says so."""
        return any(success == FAILED for success, _ in self.entries)

    def matches(self, when: re.Pattern[str] | None) -> bool:
        """One of its entries is of that kind; any outcome is where nothing is said."""
        return when is None or any(when.search(success) for success, _ in self.entries)

    def text(self) -> str:
        """For people."""
        told = [f"{success}: {message}" if message else success for success, message in self.entries]
        return "; ".join(dict.fromkeys(told))[:LONGEST_TEXT]


def read_outcome(proc: bytes | None, exit_code: int) -> Outcome:
    """The outcome of a command that ended by itself; `proc` is what it left in `proc.json`, None when there is none."""
    if exit_code != 0:
        said = _entries(proc) if proc is not None else "no proc.json"
        more = "" if isinstance(said, str) else f" It said: {Outcome(said).text()}"
        how = f"was ended by signal {-exit_code}" if exit_code < 0 else f"ended with exit code {exit_code}"
        return Outcome.failure(f"The command {how}.{more}")
    if proc is None:
        return Outcome.failure("The command left no proc.json.")
    entries = _entries(proc)
    return Outcome.failure(f"proc.json {entries}.") if isinstance(entries, str) else Outcome(entries)


def _entries(proc: bytes) -> tuple[tuple[str, str], ...] | str:
    """The entries of `proc.json`, or what is wrong with it."""
    try:
        read = json.loads(proc)
    except (ValueError, RecursionError):
        return "is not JSON"
    if not isinstance(read, list) or not 0 < len(read) <= MOST_ENTRIES:
        return 'is not a list like [{"success": "success", "message": ""}]'
    entries = []
    for each in read:
        if not isinstance(each, dict) or not isinstance(each.get("success"), str):
            return 'has an entry without a "success" in words'
        entries.append((each["success"][:LONGEST_TEXT], str(each.get("message") or "")[:LONGEST_TEXT]))
    return tuple(entries)
