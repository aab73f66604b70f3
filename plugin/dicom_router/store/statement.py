# SPDX-License-Identifier: AGPL-3.0-or-later
"""Queries that run for each delivery: peewee makes their SQL once. To make it costs five times as much as to run it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from peewee import Database, Field, Value


@dataclass(frozen=True)
class Slot:
    """The place of a value in a query: its name, and how it is written to the database."""

    name: str
    write: Callable[[object], object]


def slot(field: Any, name: str = "") -> Any:
    """Where a value for `field` goes, in a query; named as the field unless said otherwise."""
    column: Field = field
    return Value(Slot(name or column.name, column.db_value), converter=False)


class Statement:
    """A query with slots; `make` builds it for a database."""

    def __init__(self, make: Callable[[Database], Any]) -> None:
        self._make = make
        self._made: dict[type[Database], tuple[str, list[object]]] = {}

    def run(self, database: Database, **values: object) -> int:
        """Execute it with a value for each slot; answers how many rows were written. Raises peewee's errors."""
        return int(self._execute(database, values).rowcount)

    def rows(self, database: Database, **values: object) -> list[tuple[Any, ...]]:
        """The rows that it answers, as the database has them."""
        return list(self._execute(database, values).fetchall())

    def dicts(self, database: Database, **values: object) -> list[dict[str, Any]]:
        """The rows with the names of their columns."""
        cursor = self._execute(database, values)
        names = [each[0] for each in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def scalar(self, database: Database, **values: object) -> Any:
        """The first value of the first row, or None."""
        found = self.rows(database, **values)
        return found[0][0] if found else None

    def _execute(self, database: Database, values: Mapping[str, object]) -> Any:
        made = self._made.get(type(database))
        if made is None:
            sql, slots = database.get_sql_context().sql(self._make(database)).query()  # type: ignore[no-untyped-call]
            made = self._made[type(database)] = sql, slots
        sql, slots = made
        given = [each.write(values[each.name]) if isinstance(each, Slot) else each for each in slots]
        return database.execute_sql(sql, given)  # type: ignore[no-untyped-call]
