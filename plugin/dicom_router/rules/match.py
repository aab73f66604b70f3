# SPDX-License-Identifier: AGPL-3.0-or-later
"""`Match`: compiled once, evaluated against facts, with the reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from dicom_router.problems import Problem, nearest
from dicom_router.rules.attributes import base_keys
from dicom_router.rules.facts import Facts
from dicom_router.rules.keys import Key, parse_key
from dicom_router.rules.nodes import AllOf, AnyOf, Entry, Exists, Node, NoneOf, Seen, Test
from dicom_router.rules.operators import NEGATIONS, OPERATORS, OneOf, allowed, compile_operator

_GROUPS: Final = ("Any", "All", "None")
_MODIFIERS: Final = ("IgnoreCase", "Of")
_DEEPEST = 20


class Verdict(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class Match:
    """A compiled match. `keys` are all that `evaluate` asks the facts for; a derived attribute lists its bases."""

    keys: frozenset[Key]
    root: Node

    def evaluate(self, facts: Facts | Seen, now: datetime) -> Verdict:
        """Looks at the entries in their order up to the first that fails; `now` is aware, in the router's time zone.

        Whoever evaluates many matches on the same facts at the same moment makes them `Seen` first.

        Never raises, whatever text the facts hold: a value that means nothing satisfies no positive operator.
        """
        entries: list[Entry] = []
        seen = facts if isinstance(facts, Seen) else Seen(facts)
        if self.root.holds(seen, now, entries):
            return Verdict(True, None, tuple(entries))
        return Verdict(False, entries[-1], tuple(entries))


def compile_match(spec: object, path: str) -> tuple[Match | None, list[Problem]]:
    """The match, or None and all its problems, each with its full path below `path`."""
    compiler = _Compiler(path)
    root = compiler.mapping(spec, "", 0)
    if compiler.problems:
        return None, compiler.problems
    return Match(frozenset(compiler.keys), root), []


# --- compilation -----------------------------------------------------------------------------------------------------


class _Compiler:
    """Collects the keys and all problems on its way through a match; `at` is the path below the match."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.keys: set[Key] = set()
        self.problems: list[Problem] = []

    def mapping(self, spec: object, at: str, depth: int) -> Node:
        if not isinstance(spec, Mapping):
            self._report(at, 'An object of keys and what they must be is expected, like { "Modality": "CT" }.')
            return AllOf(())
        if depth > _DEEPEST:
            self._report(at, f"This nests deeper than {_DEEPEST} levels.")
            return AllOf(())
        nodes: list[Node] = []
        for name, value in spec.items():
            below = f"{at}.{name}" if at else str(name)
            if name in _GROUPS:
                nodes.append(self._group(name, value, below, depth))
            elif (key := self._key(name, below)) is not None:
                self.keys.update(base_keys(key))
                nodes.extend(self._tests(key, value, below))
        return nodes[0] if len(nodes) == 1 else AllOf(tuple(nodes))

    def _report(self, at: str, message: str) -> None:
        self.problems.append(Problem(f"{self.path}.{at}" if at else self.path, message))

    def _group(self, name: str, spec: object, at: str, depth: int) -> Node:
        if not isinstance(spec, list):
            self._report(at, f'A list of matches is expected, like "{name}": [{{ "Modality": "CT" }}].')
            return AllOf(())
        if not spec and name == "Any":
            self._report(at, "An Any without a match in it never holds.")
        nodes = tuple(self.mapping(each, f"{at}[{index}]", depth + 1) for index, each in enumerate(spec))
        if name == "All":
            return AllOf(nodes)
        return AnyOf(at, spec, nodes) if name == "Any" else NoneOf(at, spec, nodes)

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

    def _tests(self, key: Key, spec: object, at: str) -> list[Node]:
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

    def _test(self, key: Key, name: str, operand: object, at: str, modifiers: "_Modifiers") -> list[Node]:
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
            return [Exists(at, operand, key, modifiers.of_all)]
        else:
            self._report(at, "true or false is expected.")
        return []

    def _predicate_test(self, key: Key, name: str, operand: object, at: str, modifiers: "_Modifiers") -> list[Node]:
        positive = NEGATIONS.get(name, name)
        full = f"{self.path}.{at}"
        predicate, problems = compile_operator(positive, key, operand, full, modifiers.ignore_case)
        self.problems.extend(problems)
        if predicate is None:
            return []
        texts = predicate.texts if isinstance(predicate, OneOf) else None
        negated = positive != name
        signature = repr((at, name, operand, modifiers.of_all, modifiers.ignore_case))
        return [
            Test(at, name, operand, key, predicate, negated, modifiers.of_all, modifiers.ignore_case, texts, signature)
        ]


@dataclass(frozen=True, slots=True)
class _Modifiers:
    ignore_case: bool = False
    of_all: bool = False
