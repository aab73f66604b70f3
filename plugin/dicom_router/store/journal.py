# SPDX-License-Identifier: AGPL-3.0-or-later
"""How far the change log was acted upon, what was decided, and the deliveries made of it: one transaction."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from peewee import Database

from dicom_router.deliveries.delivery import NewDelivery
from dicom_router.store import schema
from dicom_router.store.cleanups import Cleanups
from dicom_router.store.database import replace, row_transaction, session, transaction
from dicom_router.store.queue import DeliveryQueue
from dicom_router.store.roles import Role
from dicom_router.store.statement import Statement, slot

_ONLY_ROW = 1
_FIRST_PLACE = "first place"  # nothing that stands later in the change log was passed over at the very first start
_DECIDED = Statement(
    lambda _: schema.Decision.insert(
        made_at=slot(schema.Decision.made_at),
        level=slot(schema.Decision.level),
        resource_id=slot(schema.Decision.resource_id),
        study_id=slot(schema.Decision.study_id),
        trigger=slot(schema.Decision.trigger),
        verdicts=slot(schema.Decision.verdicts),
    )
)
_MOVED = Statement(
    lambda _: schema.Cursor.insert(
        id=_ONLY_ROW,
        seq=slot(schema.Cursor.seq),
        settled_seq=slot(schema.Cursor.settled_seq),
        date=slot(schema.Cursor.date),
    ).on_conflict(
        conflict_target=[schema.Cursor.id],
        preserve=[schema.Cursor.seq, schema.Cursor.settled_seq, schema.Cursor.date],
    )
)


@dataclass(frozen=True)
class Position:
    """A place in Orthanc's change log.

    `seq`: all rows up to here have been acted upon. `settled_seq`: every instance up to here belongs to a resource
    that has been looked at since it arrived. `date`: Orthanc's date of the last row, `20261122T010203`.
    """

    seq: int
    settled_seq: int
    date: str = ""


@dataclass(frozen=True)
class NewDecision:
    """What the rules said about a resource; `verdicts` is JSON-able, one object a rule."""

    level: str
    resource_id: str
    study_id: str
    trigger: str
    verdicts: Sequence[dict[str, object]]
    delete_after: Sequence[Sequence[str]] = ()  # groups of destinations; once one of each has it, delete the study


@dataclass(frozen=True)
class StoredDecision:
    """A decision of the past."""

    id: int
    made_at: float
    level: str
    resource_id: str
    trigger: str
    verdicts: list[dict[str, object]]


class Journal:
    """The router's memory of what it has looked at. Where several Orthancs share it, only the `reader` moves on."""

    def __init__(
        self, database: Database, queue: DeliveryQueue, cleanups: Cleanups, reader: Role | None = None
    ) -> None:
        self._database = database
        self._reader = reader
        self._queue = queue
        self._cleanups = cleanups

    def position(self) -> Position | None:
        """Where reading goes on, or None on the very first start."""
        with session(self._database):
            row = schema.Cursor.get_or_none(schema.Cursor.id == _ONLY_ROW)
            return Position(row.seq, row.settled_seq, row.date) if row else None

    def begin(self, position: Position) -> None:
        """The very first start was here. Of several Orthancs, that of the earliest counts, whoever tells first."""
        with transaction(self._database):
            place, here = schema.Meta.get_or_none(key=_FIRST_PLACE), str(position.seq)
            if self.position() is None:
                _MOVED.run(self._database, **asdict(position))
                replace(schema.Meta, key=_FIRST_PLACE, value=here)
            elif place is not None and position.seq < int(place.value):
                replace(schema.Meta, key=_FIRST_PLACE, value=here)
                self._go_back(position)

    def go_back(self, end: int) -> None:
        """Nothing that exists lies behind row `end` of the change log: reading goes on from there at the latest."""
        with transaction(self._database):
            now = self.position()
            if now is not None and end < now.seq:
                if self._reader is not None:
                    self._reader.end_term()
                _MOVED.run(self._database, seq=end, settled_seq=min(now.settled_seq, end), date=now.date)

    def _go_back(self, position: Position) -> None:
        """Whoever reads has read on from a later place, and must not write that over this one."""
        if self._reader is not None:
            self._reader.end_term()
        now = self.position() or position
        seq, settled_seq = min(now.seq, position.seq), min(now.settled_seq, position.settled_seq)
        _MOVED.run(self._database, seq=seq, settled_seq=settled_seq, date="")

    def move(self, position: Position) -> None:
        """Nothing had to be decided up to `position`. Raises NotOursError."""
        with row_transaction(self._database):
            if self._reader is not None:
                self._reader.confirm()
            _MOVED.run(self._database, **asdict(position))

    def record(
        self, decision: NewDecision, deliveries: Sequence[NewDelivery], position: Position | None, now: float
    ) -> list[int]:
        """Write a decision, its deliveries and the cursor, all or nothing. Answers the new deliveries' IDs.

        Raises NotOursError with a position, when another Orthanc reads the change log now.
        """
        with transaction(self._database):
            _DECIDED.run(
                self._database,
                made_at=now,
                level=decision.level,
                resource_id=decision.resource_id,
                study_id=decision.study_id,
                trigger=decision.trigger,
                verdicts=json.dumps(decision.verdicts),
            )
            self._queue.tallies.decided(decision.verdicts)
            made = [self._queue.enqueue(delivery, now) for delivery in deliveries]
            if decision.delete_after:
                self._cleanups.want(decision.study_id, decision.delete_after, now)
            if position is not None:
                self.move(position)
            return [delivery_id for delivery_id in made if delivery_id is not None]

    def decisions(self, study_id: str, limit: int = 20) -> list[StoredDecision]:
        """The last decisions about a study, its series and its patient's sends, newest first."""
        with session(self._database):
            rows = (
                schema.Decision.select()
                .where(schema.Decision.study_id == study_id)
                .order_by(schema.Decision.id.desc())
                .limit(limit)
            )
            return [
                StoredDecision(row.id, row.made_at, row.level, row.resource_id, row.trigger, json.loads(row.verdicts))
                for row in rows
            ]
