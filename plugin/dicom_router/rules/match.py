# SPDX-License-Identifier: AGPL-3.0-or-later
"""`Match`: compiled once, evaluated against facts, with the reasons."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple, Protocol

from dicom_router.problems import Problem, nearest
from dicom_router.rules.attributes import Values, base_keys, derived_values
from dicom_router.rules.facts import Facts
from dicom_router.rules.keys import Key, parse_key
from dicom_router.rules.operators import NEGATIONS, OPERATORS, Predicate, allowed, compile_operator
from dicom_router.rules.values import parts

_GROUPS: Final = ("Any", "All", "None")
_MODIFIERS: Final = ("IgnoreCase", "Of")
_DEEPEST = 20
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a match holds, and why: the entries looked at, and the one that failed when it does not hold."""

    matched: bool
    failed: Entry | None = None
    entries: tuple[Entry, ...] = ()

    def to_json(self) -> dict[str, object]:
        """As REST and the stored decisions show it."""
        return {
            "Matched": self.matched,
            "Failed": self.failed.to_json() if self.failed else None,
            "Entries": [entry.to_json() for entry in self.entries],
        }


class _Node(Protocol):
    def holds(self, facts: Facts, now: datetime, entries: list[Entry]) -> bool:
        """Whether it holds; adds what it looked at, the failing entry last."""
        ...


@dataclass(frozen=True, slots=True)
class Match:
    """A compiled match. `keys` are all that `evaluate` asks the facts for; a derived attribute lists its bases."""

    keys: frozenset[Key]
    _root: _Node

    def evaluate(self, facts: Facts, now: datetime) -> Verdict:
        """Looks at the entries in their order up to the first that fails; `now` is aware, in the router's time zone.

        Never raises, whatever text the facts hold: a value that means nothing satisfies no positive operator.
        """
        entries: list[Entry] = []
        if self._root.holds(facts, now, entries):
            return Verdict(True, None, tuple(entries))
        return Verdict(False, entries[-1], tuple(entries))


def compile_match(spec: object, path: str) -> tuple[Match | None, list[Problem]]:
    """The match, or None and all its problems, each with its full path below `path`."""
    compiler = _Compiler(path)
    root = compiler.mapping(spec, "", 0)
    if compiler.problems:
        return None, compiler.problems
    return Match(frozenset(compiler.keys), root), []


# --- evaluation ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Test:
    """One operator on one key: over the set of its values, any or every one of them."""

    path: str
    operator: str
    expected: object
    key: Key
    predicate: Predicate
    negated: bool
    of_all: bool

    def holds(self, facts: Facts, now: datetime, entries: list[Entry]) -> bool:
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
class _Exists:
    """Whether any entity has a value; with `Of: "All"` whether every one has."""

    path: str
    expected: bool
    key: Key
    of_all: bool

    def holds(self, facts: Facts, now: datetime, entries: list[Entry]) -> bool:
        found = _prepare(self.key.vr, derived_values(self.key, facts, now))
        exists = 0 < found.present == found.asked if self.of_all else found.present > 0
        matched = exists is self.expected
        entries.append(Entry(self.path, "Exists", self.expected, found.first, matched))
        return matched


@dataclass(frozen=True, slots=True)
class _All:
    nodes: tuple[_Node, ...]

    def holds(self, facts: Facts, now: datetime, entries: list[Entry]) -> bool:
        return all(node.holds(facts, now, entries) for node in self.nodes)


@dataclass(frozen=True, slots=True)
class _Any:
    """Holds with its first branch that holds; what the branches before it saw is then of no interest."""

    path: str
    expected: object
    nodes: tuple[_Node, ...]

    def holds(self, facts: Facts, now: datetime, entries: list[Entry]) -> bool:
        start = len(entries)
        for node in self.nodes:
            mark = len(entries)
            if node.holds(facts, now, entries):
                del entries[start:mark]
                return True
        entries.append(Entry(self.path, "Any", self.expected, _seen_below(entries[start:]), False))
        return False


@dataclass(frozen=True, slots=True)
class _None:
    """Holds when no branch holds; fails with what made a branch hold."""

    path: str
    expected: object
    nodes: tuple[_Node, ...]

    def holds(self, facts: Facts, now: datetime, entries: list[Entry]) -> bool:
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


# --- compilation -----------------------------------------------------------------------------------------------------


class _Compiler:
    """Collects the keys and all problems on its way through a match; `at` is the path below the match."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.keys: set[Key] = set()
        self.problems: list[Problem] = []

    def mapping(self, spec: object, at: str, depth: int) -> _Node:
        if not isinstance(spec, Mapping):
            self._report(at, 'An object of keys and what they must be is expected, like { "Modality": "CT" }.')
            return _All(())
        if depth > _DEEPEST:
            self._report(at, f"This nests deeper than {_DEEPEST} levels.")
            return _All(())
        nodes: list[_Node] = []
        for name, value in spec.items():
            below = f"{at}.{name}" if at else str(name)
            if name in _GROUPS:
                nodes.append(self._group(name, value, below, depth))
            elif (key := self._key(name, below)) is not None:
                self.keys.update(base_keys(key))
                nodes.extend(self._tests(key, value, below))
        return nodes[0] if len(nodes) == 1 else _All(tuple(nodes))

    def _report(self, at: str, message: str) -> None:
        self.problems.append(Problem(f"{self.path}.{at}" if at else self.path, message))

    def _group(self, name: str, spec: object, at: str, depth: int) -> _Node:
        if not isinstance(spec, list):
            self._report(at, f'A list of matches is expected, like "{name}": [{{ "Modality": "CT" }}].')
            return _All(())
        if not spec and name == "Any":
            self._report(at, "An Any without a match in it never holds.")
        nodes = tuple(self.mapping(each, f"{at}[{index}]", depth + 1) for index, each in enumerate(spec))
        if name == "All":
            return _All(nodes)
        return _Any(at, spec, nodes) if name == "Any" else _None(at, spec, nodes)

    def _key(self, name: object, at: str) -> Key | None:
        if name == "Sample":
            self._report(at, '"Sample" is an option of the rule: write it beside "Match", not inside.')
        elif name == "ReceptionDate":
            self._report(at, '"ReceptionDate" cannot be matched: use "ReceivedTime" or "ReceivedWeekday".')
        elif isinstance(name, str) and (name in OPERATORS or name in _MODIFIERS):
            self._report(at, f'"{name}" goes inside a key, like {{ "Modality": {{ "{name}": … }} }}.')
        else:
            try:
                return parse_key(str(name))
            except ValueError as error:
                self._report(at, str(error))
        return None

    def _tests(self, key: Key, spec: object, at: str) -> list[_Node]:
        """The entry of one key: a scalar, a list, or an object of operators."""
        if not isinstance(spec, Mapping):
            return self._test(key, "In" if isinstance(spec, list) else "Equals", spec, at, _Modifiers())
        modifiers = self._modifiers(spec, at)
        names = [name for name in spec if name not in _MODIFIERS]
        if not names:
            self._report(at, f"No operator is given. The operators are {', '.join(OPERATORS)}.")
        return [node for name in names for node in self._test(key, name, spec[name], f"{at}.{name}", modifiers)]

    def _modifiers(self, spec: Mapping[str, object], at: str) -> "_Modifiers":
        ignore_case, of = spec.get("IgnoreCase", False), spec.get("Of", "Any")
        if not isinstance(ignore_case, bool):
            self._report(f"{at}.IgnoreCase", "true or false is expected.")
        if of not in ("Any", "All"):
            self._report(f"{at}.Of", '"Any" or "All" is expected.')
        return _Modifiers(ignore_case is True, of == "All")

    def _test(self, key: Key, name: str, operand: object, at: str, modifiers: "_Modifiers") -> list[_Node]:
        if name not in OPERATORS:
            hint = nearest(str(name), (*OPERATORS, *_MODIFIERS))
            self._report(at, f'"{name}" is not an operator.{hint} The operators are {", ".join(OPERATORS)}.')
        elif name not in allowed(key):
            self._report(
                at, f"{name} has no meaning for {key.name} ({key.vr}). Possible are {', '.join(allowed(key))}."
            )
        elif name != "Exists":
            return self._predicate_test(key, name, operand, at, modifiers)
        elif isinstance(operand, bool):
            return [_Exists(at, operand, key, modifiers.of_all)]
        else:
            self._report(at, "true or false is expected.")
        return []

    def _predicate_test(self, key: Key, name: str, operand: object, at: str, modifiers: "_Modifiers") -> list[_Node]:
        positive = NEGATIONS.get(name, name)
        full = f"{self.path}.{at}"
        predicate, problems = compile_operator(positive, key, operand, full, modifiers.ignore_case)
        self.problems.extend(problems)
        if predicate is None:
            return []
        return [_Test(at, name, operand, key, predicate, positive != name, modifiers.of_all)]


@dataclass(frozen=True, slots=True)
class _Modifiers:
    ignore_case: bool = False
    of_all: bool = False
