# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tree that a `Match` compiles to: each node is evaluated against facts and tells what it saw."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import NamedTuple, Protocol

from dicom_router.rules.attributes import Values, derived_values
from dicom_router.rules.facts import Facts
from dicom_router.rules.keys import Key
from dicom_router.rules.operators import Predicate
from dicom_router.rules.values import parts

_SEEN_VALUES, _SEEN_LENGTH = 10, 200


class Entry(NamedTuple):
    """One entry of a match and what came of it; `seen` holds the first ten values, those that decided it first."""

    path: str
    operator: str
    expected: object
    seen: tuple[str, ...]
    matched: bool

    def to_json(self) -> dict[str, object]:
        """As REST and the stored decisions show it."""
        return {
            "Path": self.path,
            "Operator": self.operator,
            "Expected": self.expected,
            "Seen": list(self.seen),
            "Matched": self.matched,
        }


class Found(NamedTuple):
    """The distinct values, the first of them to show, how many entities have one, and how many were asked."""

    texts: tuple[str, ...]
    first: tuple[str, ...]
    present: int
    asked: int


class Seen:
    """Facts at one moment, each asked for and taken apart once: a thousand rules ask for the same few keys.

    `entries` keeps what was found out: many rules begin with the same condition.
    """

    __slots__ = ("_facts", "_found", "entries")

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._found: dict[str, Found] = {}
        self.entries: dict[str, Entry] = {}

    def found(self, key: Key, now: datetime) -> Found:
        """The values of a key. `now` is the same in every call."""
        found = self._found.get(key.name)
        if found is None:
            found = self._found[key.name] = _prepare(key.vr, derived_values(key, self._facts, now))
        return found


class Node(Protocol):
    """A part of a match."""

    def holds(self, facts: Seen, now: datetime, entries: list[Entry]) -> bool:
        """Whether it holds; adds what it looked at, the failing entry last."""
        ...


@dataclass(frozen=True, slots=True)
class Test:
    """One operator on one key: over the set of its values, any or every one of them."""

    path: str
    operator: str
    expected: object
    key: Key
    predicate: Predicate
    negated: bool
    of_all: bool
    ignore_case: bool = False
    texts: frozenset[str] | None = None  # all values for which the predicate holds, where these are few
    signature: str = ""  # tests with the same one say the same of the same facts; empty for none

    def holds(self, facts: Seen, now: datetime, entries: list[Entry]) -> bool:
        """See Node."""
        entry = facts.entries.get(self.signature)
        if entry is None:
            entry = self._entry(facts, now)
            if self.signature:
                facts.entries[self.signature] = entry
        entries.append(entry)
        return entry.matched

    def _entry(self, facts: Seen, now: datetime) -> Entry:
        found = facts.found(self.key, now)
        texts = self.texts
        if texts is None or self.of_all:
            matched = self._positive(found.texts, now) is not self.negated
        else:
            matched = texts.isdisjoint(found.texts) is self.negated
        seen = found.first if len(found.texts) <= _SEEN_VALUES else self._decisive(found.texts, now)
        return Entry(self.path, self.operator, self.expected, seen, matched)

    def _positive(self, texts: tuple[str, ...], now: datetime) -> bool:
        # A plain loop: any() and all() over a generator take twice the time of the usual few values.
        for text in texts:
            if self.predicate(text, now) is not self.of_all:
                return not self.of_all
        return self.of_all and bool(texts)

    def _decisive(self, texts: tuple[str, ...], now: datetime) -> tuple[str, ...]:
        return _clip(sorted(texts, key=lambda text: self.predicate(text, now) is self.of_all))


@dataclass(frozen=True, slots=True)
class Exists:
    """Whether any entity has a value; with `Of: "All"` whether every one has."""

    path: str
    expected: bool
    key: Key
    of_all: bool

    def holds(self, facts: Seen, now: datetime, entries: list[Entry]) -> bool:
        """See Node."""
        found = facts.found(self.key, now)
        exists = 0 < found.present == found.asked if self.of_all else found.present > 0
        matched = exists is self.expected
        entries.append(Entry(self.path, "Exists", self.expected, found.first, matched))
        return matched


@dataclass(frozen=True, slots=True)
class AllOf:
    """Holds when all of its branches hold; looks no further than the first that does not."""

    nodes: tuple[Node, ...]

    def holds(self, facts: Seen, now: datetime, entries: list[Entry]) -> bool:
        """See Node."""
        for node in self.nodes:  # noqa: SIM110 - all() over a generator takes twice the time
            if not node.holds(facts, now, entries):
                return False
        return True


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds with its first branch that holds; what the branches before it saw is then of no interest."""

    path: str
    expected: object
    nodes: tuple[Node, ...]

    def holds(self, facts: Seen, now: datetime, entries: list[Entry]) -> bool:
        """See Node."""
        start = len(entries)
        for node in self.nodes:
            mark = len(entries)
            if node.holds(facts, now, entries):
                del entries[start:mark]
                return True
        entries.append(Entry(self.path, "Any", self.expected, _seen_below(entries[start:]), False))
        return False


@dataclass(frozen=True, slots=True)
class NoneOf:
    """Holds when no branch holds; fails with what made a branch hold."""

    path: str
    expected: object
    nodes: tuple[Node, ...]

    def holds(self, facts: Seen, now: datetime, entries: list[Entry]) -> bool:
        """See Node."""
        start = len(entries)
        for index, node in enumerate(self.nodes):
            mark = len(entries)
            if node.holds(facts, now, entries):
                del entries[start:mark]
                entries.append(
                    Entry(f"{self.path}[{index}]", "None", self.expected, _seen_below(entries[start:]), False)
                )
                return False
        entries[start:] = [Entry(self.path, "None", self.expected, _seen_below(entries[start:]), True)]
        return True


def _prepare(vr: str, raws: Values) -> Found:
    texts: dict[str, None] = {}
    present = 0
    for raw, count in Counter(raws).items():
        found = parts(vr, raw) if raw is not None else []
        texts.update(dict.fromkeys(found))
        present += count if found else 0
    return Found(tuple(texts), _clip(texts), present, len(raws))


def _clip(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        text if len(text) <= _SEEN_LENGTH else f"{text[: _SEEN_LENGTH - 1]}…" for text in islice(texts, _SEEN_VALUES)
    )


def _seen_below(entries: list[Entry]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for entry in entries for text in entry.seen))[:_SEEN_VALUES]
