# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules made over REST: their order, and every version each of them had."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peewee import Database, fn

from dicom_router.store.database import replace, rows, scalar, session, transaction
from dicom_router.store.schema import RulePlace, RuleVersion


@dataclass(frozen=True)
class KeptRule:
    """A rule as it was written; `body` is None in the version that deleted it. `made_at` in epoch seconds.

    `made_by` is empty where the user is not known.
    """

    name: str
    version: int
    made_at: float
    body: dict[str, Any] | None
    made_by: str = ""


class RuleBook:
    """Rules by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def living(self) -> list[KeptRule]:
        """The rules of now, in their order."""
        with session(self._database):
            return [self._version(name, version) for name, version in self.state()]

    def state(self) -> list[tuple[str, int]]:
        """Names and versions of the rules of now, in their order: changes when anything does."""
        with session(self._database):
            found = RulePlace.select(RulePlace.name, RulePlace.version).order_by(RulePlace.place)
            return [(name, version) for name, version in rows(found.tuples())]

    def get(self, name: str) -> KeptRule | None:
        """A living rule, or None."""
        with session(self._database):
            place = RulePlace.get_or_none(RulePlace.name == name)
            return self._version(name, place.version) if place else None

    def versions(self, name: str) -> list[KeptRule]:
        """All versions a rule ever had, newest first."""
        with session(self._database):
            found = rows(RuleVersion.select().where(RuleVersion.name == name).order_by(RuleVersion.version.desc()))
            return [_kept(row) for row in found]

    def put(self, body: Mapping[str, Any], now: float, user: str = "") -> KeptRule:
        """Add a rule at the end, or a new version of it in its place."""
        name = str(body["Name"])
        with transaction(self._database):
            version = self._write(name, dict(body), now, user)
            place = RulePlace.get_or_none(RulePlace.name == name)
            last = scalar(RulePlace.select(fn.MAX(RulePlace.place))) or 0
            replace(RulePlace, name=name, version=version, place=place.place if place else last + 1)
        return KeptRule(name, version, now, dict(body), user)

    def delete(self, name: str, now: float, user: str = "") -> bool:
        """Take a rule out; its versions stay. False when there is no such rule."""
        with transaction(self._database):
            if not RulePlace.delete().where(RulePlace.name == name).execute():
                return False
            self._write(name, None, now, user)
            return True

    def order(self, names: Sequence[str]) -> bool:
        """Put the living rules in this order. False, and nothing done, unless `names` are exactly those."""
        with transaction(self._database):
            known = {name for (name,) in rows(RulePlace.select(RulePlace.name).tuples())}
            if known != set(names) or len(known) != len(names):
                return False
            for place, name in enumerate(names, 1):
                RulePlace.update(place=place).where(RulePlace.name == name).execute()
            return True

    def take_over(self, bodies: Sequence[Mapping[str, Any]], now: float, user: str = "", *, replace: bool) -> None:
        """Put all of these, in this order at the end; with `replace` they are all there is then. All or nothing."""
        names = [str(body["Name"]) for body in bodies]
        with transaction(self._database):
            before = [kept.name for kept in self.living()]
            for name in before:
                if replace and name not in names:
                    self.delete(name, now, user)
            for body in bodies:
                known = self.get(str(body["Name"]))
                if known is None or known.body != dict(body):
                    self.put(body, now, user)
            stay = [] if replace else [name for name in before if name not in names]
            self.order([*stay, *names])

    def _write(self, name: str, body: dict[str, Any] | None, now: float, user: str) -> int:
        last = scalar(RuleVersion.select(fn.MAX(RuleVersion.version)).where(RuleVersion.name == name)) or 0
        RuleVersion.insert(
            name=name,
            version=last + 1,
            made_at=now,
            made_by=user,
            body=None if body is None else json.dumps(body),
        ).execute()
        return int(last) + 1

    def _version(self, name: str, version: int) -> KeptRule:
        return _kept(RuleVersion.get((RuleVersion.name == name) & (RuleVersion.version == version)))


def _kept(row: RuleVersion) -> KeptRule:
    return KeptRule(row.name, row.version, row.made_at, None if row.body is None else json.loads(row.body), row.made_by)
