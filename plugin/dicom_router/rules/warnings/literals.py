# SPDX-License-Identifier: AGPL-3.0-or-later
"""A match as a formula of statements about the values of keys, and what surely follows from what."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations, product
from typing import Final

from dicom_router.rules.keys import Key
from dicom_router.rules.match import Match
from dicom_router.rules.nodes import AllOf, AnyOf, Exists, Node, NoneOf, Test
from dicom_router.rules.warnings.regions import EVERYTHING, Region, disjoint, implies, of_texts, region_of, single

MOST_CASES: Final = 256  # a match with more is not reasoned about
MOST_TEXTS: Final = 32  # a list with more values is taken as a whole


class Form(Enum):
    """What is said about the values of a key."""

    SOME = "some value is in the region"
    NONE = "no value is in the region"
    EVERY = "there are values, and all are in the region"
    NOT_EVERY = "there are no values, or one is outside of the region"
    EACH = "every entity has a value"
    NOT_EACH = "an entity has no value"


OPPOSITE: Final = {
    Form.SOME: Form.NONE,
    Form.NONE: Form.SOME,
    Form.EVERY: Form.NOT_EVERY,
    Form.NOT_EVERY: Form.EVERY,
    Form.EACH: Form.NOT_EACH,
    Form.NOT_EACH: Form.EACH,
}
# Where there is at most one value, "some" is "every", and the stronger words tell more.
_OF_ONE: Final = {
    Form.SOME: Form.EVERY,
    Form.NOT_EVERY: Form.NONE,
    Form.EACH: Form.EVERY,
    Form.NOT_EACH: Form.NONE,
}


@dataclass(frozen=True)
class Literal:
    """One statement, and the entry of the match that makes it."""

    key: Key
    form: Form
    region: Region
    path: str

    @property
    def identity(self) -> tuple[str, Form, str]:
        """Equal ones say the same."""
        return self.key.name, self.form, self.region.identity


@dataclass(frozen=True)
class Formula:
    """Statements of which all hold, or one."""

    every: bool
    parts: tuple["Formula | Literal", ...]


Case = tuple[Literal, ...]  # statements that hold together


def formula(match: Match, trigger: str) -> Formula | Literal:
    """What the match says of a resource that such a trigger brings."""
    return _formula(match.root, trigger, positive=True)


def _formula(node: Node, trigger: str, *, positive: bool) -> Formula | Literal:
    if isinstance(node, Test):
        return _of_test(node, trigger, positive=positive)
    if isinstance(node, Exists):
        form = Form.EACH if node.of_all else Form.SOME
        return _literal(node.key, form, EVERYTHING, node.path, trigger, positive=positive is node.expected)
    if isinstance(node, AllOf | AnyOf | NoneOf):
        below = positive is not isinstance(node, NoneOf)
        parts = tuple(_formula(each, trigger, positive=below) for each in node.nodes)
        return Formula(isinstance(node, AnyOf | NoneOf) is not below, parts)
    raise TypeError(f"{type(node).__name__} is not known here.")


def _of_test(test: Test, trigger: str, *, positive: bool) -> Formula | Literal:
    form = Form.EVERY if test.of_all else Form.SOME
    region = region_of(test)
    positive = positive is not test.negated
    if positive and form is Form.SOME and region.texts is not None and 1 < len(region.texts) <= MOST_TEXTS:
        return Formula(
            False,
            tuple(
                _literal(test.key, form, of_texts(frozenset({text})), test.path, trigger, positive=True)
                for text in sorted(region.texts)
            ),
        )
    return _literal(test.key, form, region, test.path, trigger, positive=positive)


def _literal(key: Key, form: Form, region: Region, path: str, trigger: str, *, positive: bool) -> Literal:
    form = form if positive else OPPOSITE[form]
    if single(key, trigger):
        form = _OF_ONE.get(form, form)
    return Literal(key, form, region, path)


def cases(what: Formula | Literal) -> list[Case] | None:
    """The ways in which it can hold; None when they are too many to look at."""
    if isinstance(what, Literal):
        return [(what,)]
    below = [cases(part) for part in what.parts]
    found: list[Case] = []
    if any(each is None for each in below):
        return None
    known = [each for each in below if each is not None]
    if not what.every:
        found = [case for each in known for case in each]
        return found if len(found) <= MOST_CASES else None
    size = 1
    for each in known:
        size *= len(each)
    if size > MOST_CASES:
        return None
    return [tuple(literal for case in choice for literal in case) for choice in product(*known)]


# --- what contradicts ------------------------------------------------------------------------------------------------


def conflict(case: Case) -> tuple[Literal, Literal] | None:
    """Two statements of a case that cannot hold together (or twice one that cannot hold), if there surely are such."""
    for literal in case:
        if literal.form in (Form.SOME, Form.EVERY) and literal.region.empty:
            return literal, literal
    for one, other in combinations(case, 2):
        if one.key == other.key and (_excludes(one, other) or _excludes(other, one)):
            return one, other
    return _nothing_left(case)


def _nothing_left(case: Case) -> tuple[Literal, Literal] | None:
    """A list all of whose values are ruled out by the other statements together."""
    for literal in case:
        texts = literal.region.texts
        if literal.form is not Form.EVERY or texts is None:
            continue
        others = [each for each in case if each.key == literal.key and each is not literal]
        left = [text for text in texts if not any(_rules_out(other, text) for other in others)]
        if not left and others:
            return literal, others[-1]
    return None


def _rules_out(literal: Literal, text: str) -> bool:
    holds = literal.region.has(text)
    return (literal.form is Form.EVERY and holds is False) or (literal.form is Form.NONE and holds is True)


_Relation = Callable[[Region, Region], bool]


def _opposite_implies(one: Region, other: Region) -> bool:
    return implies(other, one)


_EXCLUDES: Final[dict[tuple[Form, Form], _Relation]] = {
    (Form.SOME, Form.NONE): implies,
    (Form.SOME, Form.EVERY): disjoint,
    (Form.EVERY, Form.EVERY): disjoint,
    (Form.EVERY, Form.NONE): implies,
    (Form.EVERY, Form.NOT_EVERY): implies,
}


def _excludes(one: Literal, other: Literal) -> bool:
    relation = _EXCLUDES.get((one.form, other.form))
    if relation is not None:
        return relation(one.region, other.region)
    if one.form is Form.EACH:
        return other.form is Form.NOT_EACH or (other.form is Form.NONE and other.region.everything)
    return False


# --- what follows ----------------------------------------------------------------------------------------------------

_FOLLOWS: Final[dict[tuple[Form, Form], _Relation]] = {
    (Form.SOME, Form.SOME): implies,
    (Form.EVERY, Form.SOME): implies,
    (Form.EVERY, Form.EVERY): implies,
    (Form.EVERY, Form.NONE): disjoint,
    (Form.NONE, Form.NONE): _opposite_implies,
    (Form.EVERY, Form.NOT_EVERY): disjoint,
    (Form.SOME, Form.NOT_EVERY): disjoint,
    (Form.NONE, Form.NOT_EVERY): _opposite_implies,
    (Form.NOT_EVERY, Form.NOT_EVERY): _opposite_implies,
}


def _follows(one: Literal, other: Literal) -> bool:
    if one.key != other.key:
        return False
    if one.identity == other.identity:
        return True
    relation = _FOLLOWS.get((one.form, other.form))
    if relation is not None:
        return relation(one.region, other.region)
    return one.form is Form.EACH and other.form is Form.SOME and other.region.everything


def follows(case: Case, what: Formula | Literal) -> bool:
    """Where the case holds, `what` surely holds too."""
    if isinstance(what, Literal):
        return any(_follows(literal, what) for literal in case)
    results = (follows(case, part) for part in what.parts)
    return all(results) if what.every else any(results)


def possible(match_cases: Iterable[Case]) -> list[Case]:
    """Without those that contradict themselves."""
    return [case for case in match_cases if conflict(case) is None]


def same_cases(found: Sequence[Case] | None) -> frozenset[frozenset[tuple[str, Form, str]]] | None:
    """The cases without regard to their order; what is equal holds for the same. None when they are too many."""
    return None if found is None else frozenset(frozenset(each.identity for each in case) for case in found)
