# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tree that a `Match` compiles to: each node is evaluated against facts and tells what it saw."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, Protocol

from dicom_router.rules.attributes import Values, derived_values
from dicom_router.rules.facts import Facts
from dicom_router.rules.keys import Key
from dicom_router.rules.operators import Predicate
from dicom_router.rules.values import parts

_SEEN_VALUES, _SEEN_LENGTH = 10, 200


@dataclass(frozen=True, slots=True)
class Entry:
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


class Node(Protocol):
    """A part of a match."""

    def holds(self, facts: Facts, now: datetime, entries: list[Entry]) -> bool:
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

    def holds(self, facts: Facts, now: datetime, entries: list[Entry]) -> bool:
        """See Node."""
        found = _prepare(self.key.vr, derived_values(self.key, facts, now))
        matched = self._positive(found.texts, now) is not self.negated
        seen = found.first if len(found.texts) <= _SEEN_VALUES else self._decisive(found.texts, now)
        entries.append(Entry(self.path, self.operator, self.expected, seen, matched))
        return matched

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

    def holds(self, facts: Facts, now: datetime, entries: list[Entry]) -> bool:
        """See Node."""
        found = _prepare(self.key.vr, derived_values(self.key, facts, now))
        exists = 0 < found.present == found.asked if self.of_all else found.present > 0
        matched = exists is self.expected
        entries.append(Entry(self.path, "Exists", self.expected, found.first, matched))
        return matched


@dataclass(frozen=True, slots=True)
class AllOf:
    """Holds when all of its branches hold; looks no further than the first that does not."""

    nodes: tuple[Node, ...]

    def holds(self, facts: Facts, now: datetime, entries: list[Entry]) -> bool:
        """See Node."""
        return all(node.holds(facts, now, entries) for node in self.nodes)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Holds with its first branch that holds; what the branches before it saw is then of no interest."""

    path: str
    expected: object
    nodes: tuple[Node, ...]

    def holds(self, facts: Facts, now: datetime, entries: list[Entry]) -> bool:
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

    def holds(self, facts: Facts, now: datetime, entries: list[Entry]) -> bool:
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


class _Found(NamedTuple):
    """The distinct values, the first of them to show, how many entities have one, and how many were asked."""

    texts: tuple[str, ...]
    first: tuple[str, ...]
    present: int
    asked: int


@lru_cache(maxsize=256)  # a thousand rules ask for the same few keys of one resource
def _prepare(vr: str, raws: Values) -> _Found:
    texts: dict[str, None] = {}
    present = 0
    for raw, count in _counted(raws).items():
        found = parts(vr, raw) if raw is not None else []
        texts.update(dict.fromkeys(found))
        present += count if found else 0
    return _Found(tuple(texts), _clip(texts), present, len(raws))


def _counted(raws: Values) -> dict[str | None, int]:
    counts: dict[str | None, int] = {}
    for raw in raws:
        counts[raw] = counts.get(raw, 0) + 1
    return counts


def _clip(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(
        text if len(text) <= _SEEN_LENGTH else f"{text[: _SEEN_LENGTH - 1]}…" for text in islice(texts, _SEEN_VALUES)
    )


def _seen_below(entries: list[Entry]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for entry in entries for text in entry.seen))[:_SEEN_VALUES]
