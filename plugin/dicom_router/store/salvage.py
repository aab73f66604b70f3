# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can still be read of a damaged side database goes into a fresh one; the rest comes from the rescue copy."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peewee import Model

from dicom_router.store import schema
from dicom_router.store.damage_report import KEY as REPORT
from dicom_router.store.rescue_copy import RescueCopy
from dicom_router.store.search import searched
from dicom_router.store.tallies import RECOUNT

BATCH = 1000
OPEN = "completed_at IS NULL"

# Taken over whole. Not the history, which stays in the damaged file, and not the wishes to delete studies: who has lost
# a part of his memory deletes nothing.
WHOLE: tuple[type[Model], ...] = (
    schema.Meta,
    schema.Cursor,
    schema.RuleVersion,
    schema.RulePlace,
    schema.Ledger,
    schema.Result,
    schema.Heard,
    schema.DeliveryTally,
    schema.AttemptTally,
    schema.DecisionTally,
    schema.AlertTold,
)
# Without these nobody knows what was acted upon and what is owed.
NEEDED = frozenset({"cursor", "delivery", "run"})


@dataclass(frozen=True)
class Salvaged:
    """`lost`: the tables that could not be read to the end. `owed`: how many open deliveries were taken over."""

    lost: frozenset[str]
    owed: int
    place_known: bool
    rules_known: bool
    key_known: bool

    @property
    def whole(self) -> bool:
        """Nothing that was owed is missing."""
        return not self.lost & NEEDED


def salvage(damaged: Path | None, copy: RescueCopy | None, into: sqlite3.Connection, now: float) -> Salvaged:
    """Fill a database that has its tables and nothing else, in a transaction of the caller's. Raises sqlite3.Error."""
    lost = frozenset(_take_over(damaged, into) if damaged else _all_names())
    known = copy or RescueCopy()
    if lost & NEEDED and known.position is not None:
        position = known.position
        values = (1, position.seq, position.settled_seq, position.date)
        into.execute("INSERT OR REPLACE INTO cursor (id, seq, settled_seq, date) VALUES (?, ?, ?, ?)", values)
    into.executemany("INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)", list(known.meta.items()))
    into.execute("DELETE FROM meta WHERE key = ?", (REPORT,))  # of an earlier damage
    if lost & {"rule_version", "rule_place"}:
        _restore_rules(into, known)
    places = into.execute("SELECT COUNT(*) FROM cursor").fetchone()[0]
    return Salvaged(
        lost,
        owed=_tell_owed(into, now),
        place_known=bool(places),
        rules_known=copy is not None or not lost & {"rule_version", "rule_place"},
        key_known=copy is not None or "meta" not in lost,
    )


def _tell_owed(into: sqlite3.Connection, now: float) -> int:
    """What was taken over can be found again, and its timeline says where it comes from."""
    into.execute(
        "INSERT INTO timeline (delivery_id, at, status, text)"
        " SELECT id, ?, status, ? FROM delivery WHERE completed_at IS NULL",
        (now, "Taken over from a damaged database"),
    )
    owed = into.execute(
        "SELECT study_id, patient_name, patient_id, accession_number, study_description, study_instance_uid"
        " FROM delivery WHERE completed_at IS NULL"
    ).fetchall()
    texts = [(study_id, searched(pieces)) for study_id, *pieces in owed]
    into.executemany("INSERT OR IGNORE INTO study_text (study_id, text) VALUES (?, ?)", texts)
    return len(owed)


def _all_names() -> set[str]:
    return {_name(model) for model in WHOLE} | NEEDED


def _take_over(damaged: Path, into: sqlite3.Connection) -> Iterator[str]:
    """Copies; yields the names of the tables that could not be read to the end."""
    with closing(sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=ro", uri=True)) as source:
        source.text_factory = lambda raw: raw.decode("utf-8", "replace")
        for model in WHOLE:
            if not _copied(source, into, model, "TRUE"):
                yield _name(model)
        if not _copied(source, into, schema.Run, "TRUE"):
            yield _name(schema.Run)
        if not (_copied(source, into, schema.Delivery, OPEN) and _copied(source, into, schema.Delivery, _kin(into))):
            yield _name(schema.Delivery)
        into.execute("DELETE FROM run WHERE delivery_id NOT IN (SELECT id FROM delivery)")
        for statement in RECOUNT:
            into.execute(statement)


def _kin(into: sqlite3.Connection) -> str:
    """The processes whose results are owed, and the newest delivery: no number is given twice."""
    makers = into.execute(
        "SELECT results_of FROM delivery WHERE results_of > 0"
        " UNION SELECT delivery_id FROM run WHERE finished_at IS NOT NULL AND NOT followed"
    )
    numbers = ", ".join(str(number) for (number,) in makers)
    return f"id IN ({numbers}) OR id = (SELECT MAX(id) FROM delivery NOT INDEXED)"  # noqa: S608 - numbers


def _copied(source: sqlite3.Connection, into: sqlite3.Connection, model: type[Model], where: str) -> bool:
    """From the front up to the damage, and from the back. Whether there was none."""
    columns = ", ".join(field.column_name for field in model._meta.sorted_fields)
    places = ", ".join("?" for _ in model._meta.sorted_fields)
    insert = f"INSERT OR IGNORE INTO {_name(model)} ({columns}) VALUES ({places})"  # noqa: S608 - our own names
    select = f"SELECT {columns} FROM {_name(model)} NOT INDEXED WHERE {where} ORDER BY rowid"  # noqa: S608 - our own names
    try:
        _pour(source, select, into, insert)
    except sqlite3.DatabaseError as problem:
        if isinstance(problem, sqlite3.OperationalError) and "no such" not in str(problem):
            raise  # the disk, not the file
        with suppress(sqlite3.DatabaseError):
            _pour(source, f"{select} DESC", into, insert)
        return False
    return True


def _pour(source: sqlite3.Connection, select: str, into: sqlite3.Connection, insert: str) -> None:
    """Row by row: what comes before the damage is kept."""
    batch: list[Sequence[Any]] = []
    try:
        for row in source.execute(select):
            batch.append(row)
            if len(batch) == BATCH:
                into.executemany(insert, batch)
                batch.clear()
    finally:
        into.executemany(insert, batch)


def _restore_rules(into: sqlite3.Connection, copy: RescueCopy) -> None:
    """The living rules, in their order, over whatever was read of them."""
    into.execute("DELETE FROM rule_place")
    for place, (name, version, body) in enumerate(copy.rules, 1):
        into.execute(
            "INSERT OR REPLACE INTO rule_version (name, version, made_at, made_by, body) VALUES (?, ?, 0, '', ?)",
            (name, version, json.dumps(body)),
        )
        into.execute("INSERT INTO rule_place (name, place, version) VALUES (?, ?, ?)", (name, place, version))


def _name(model: type[Model]) -> str:
    return str(model._meta.table_name)
