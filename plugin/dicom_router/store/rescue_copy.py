# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small second copy, beside the side database, of what cannot be found out again when that is damaged."""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from peewee import SQL, Database

from dicom_router.store import schema
from dicom_router.store.database import rows, session
from dicom_router.store.journal import Position

SUFFIX = ".rescue"
OWNER_ONLY = 0o600  # it holds the key of the pseudonyms

# One statement, so that it sees one state: is there anything that a fresh database would not know it owes?
UNFINISHED = SQL(
    "EXISTS (SELECT 1 FROM delivery WHERE completed_at IS NULL)"
    " OR EXISTS (SELECT 1 FROM run WHERE finished_at IS NOT NULL AND NOT followed)"
)


@dataclass(frozen=True)
class RescueCopy:
    """`position`: up to there all was acted upon and every delivery had ended; None while that was never so.

    `meta`: switches, and the key of the pseudonyms. `rules`: those made over REST, in their order, as
    `[name, version, rule]`. `damage`: what was met while the router ran, for the next start.
    """

    position: Position | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[tuple[str, int, dict[str, Any]], ...] = ()
    damage: str = ""


def rescue_place(database: Path) -> Path:
    """Where the copy lies."""
    return database.with_name(database.name + SUFFIX)


def take_copy(database: Database, before: RescueCopy) -> RescueCopy:
    """The copy of now. While deliveries are open, the position stays the one of `before`. Raises the errors of LOST."""
    with session(database):
        query = schema.Cursor.select(
            schema.Cursor.seq, schema.Cursor.settled_seq, schema.Cursor.date, UNFINISHED.alias("unfinished")
        )
        found = rows(query.tuples())
        position = Position(*found[0][:3]) if found and not found[0][3] else before.position
        meta = {row.key: row.value for row in rows(schema.Meta.select())}
        versions = schema.RuleVersion
        places = schema.RulePlace
        living = (
            versions.select(versions.name, versions.version, versions.body)
            .join(places, on=(versions.name == places.name) & (versions.version == places.version))
            .order_by(places.place)
        )
        rules = tuple((name, version, json.loads(body)) for name, version, body in rows(living.tuples()))
    return RescueCopy(position, meta, rules)


def read_copy(place: Path) -> RescueCopy | None:
    """The copy that lies there; None when there is none that can be read."""
    try:
        told = json.loads(place.read_text(encoding="utf-8"))
        position = told["position"]
        return RescueCopy(
            Position(**position) if position else None,
            {str(key): str(value) for key, value in told["meta"].items()},
            tuple((str(name), int(version), dict(body)) for name, version, body in told["rules"]),
            str(told["damage"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_copy(place: Path, copy: RescueCopy) -> None:
    """All or nothing. Raises OSError."""
    fresh = place.with_name(place.name + ".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY), "w", encoding="utf-8") as file:
        json.dump(asdict(copy), file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(place)


class RescueFile:
    """The copy beside one database, kept up to date."""

    def __init__(self, database: Database, place: Path) -> None:
        self._database = database
        self._place = place
        self._written = read_copy(place)
        self._lock = threading.RLock()  # damage may be met while the copy is taken

    def write(self) -> None:
        """When something has changed. Raises OSError, and the errors of LOST."""
        with self._lock:
            if self._written is not None and self._written.damage:
                return  # what can be read now may be wrong
            copy = take_copy(self._database, self._written or RescueCopy())
            if copy != self._written:
                write_copy(self._place, copy)
                self._written = copy

    def damaged(self, reason: str) -> None:
        """The next start is to know of it: it may not see it by itself. Raises OSError."""
        with self._lock:
            self._written = replace(self._written or RescueCopy(), damage=reason)
            write_copy(self._place, self._written)
