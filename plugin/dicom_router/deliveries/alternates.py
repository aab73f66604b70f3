# SPDX-License-Identifier: AGPL-3.0-or-later
"""The destinations that stand in when one fails (`FirstOf`). Pure."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b


@dataclass(frozen=True)
class Alternates:
    """Who is next when the destination of a delivery fails for good or is unreachable for `after` seconds."""

    members: tuple[str, ...]
    after: float
    and_when_back: bool = False  # the one that was unreachable gets it too, once it is back
    rule: str = ""  # whose `FirstOf` it is, where the delivery is another rule's
    rule_version: int = 0
    options: str = ""  # what that rule's delivery says differently from its destination

    def to_text(self) -> str:
        """As the database keeps it."""
        return json.dumps(asdict(self))

    def after_first(self) -> "Alternates | None":
        """What is left once the first of them has been taken; None when nobody is."""
        rest = self.members[1:]
        return replace(self, members=rest) if rest else None


def read_alternates(text: str) -> Alternates | None:
    """The reverse of `to_text`; None for an empty text."""
    if not text:
        return None
    values = json.loads(text)
    return Alternates(**values | {"members": tuple(values["members"])})


CHOICES = "Choices"  # in the options of a delivery: the entries of `Send` that chose its destination


def choice_mark(rule: str, label: str) -> list[str]:
    """An entry of `Send` of a rule, as `CHOICES` names it."""
    return [rule, label]


def is_choice_of(options: str, mark: list[str]) -> bool:
    """Whether this entry of `Send` chose the destination of a delivery with these options."""
    return CHOICES in options and mark in json.loads(options).get(CHOICES, [])


def by_key(members: Sequence[str], key: str) -> str:
    """The member that `key` (a patient) stays with: rendezvous hashing, so that adding a member moves few keys."""
    return max(members, key=lambda member: blake2b(f"{member}\0{key}".encode(), digest_size=8).digest())
