# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the queue asks and writes for each delivery."""

from functools import cache
from typing import Any

from peewee import SQL, Database, fn

from dicom_router.deliveries.delivery import Priority, Status
from dicom_router.store import schema
from dicom_router.store.database import for_update, free_rows
from dicom_router.store.statement import Statement, slot

ROW = schema.Delivery
TIMELINE = schema.Timeline
IS_WAITING = SQL(schema.IS_WAITING)
IS_SENDING = SQL(schema.IS_SENDING)
WAITS_FOR_ITS_TIME = ~ROW.ready & ROW.completed_at.is_null()  # a claimed delivery is ready
IS_OURS = (ROW.id == slot(ROW.id)) & (ROW.lease == slot(ROW.lease))


def _claim(database: Database, *, urgent_only: bool) -> Any:
    """Of those whose study is not being sent to the destination."""
    twin = ROW.alias()
    busy = twin.select(twin.study_id).where(IS_SENDING, twin.destination == slot(ROW.destination))
    first = ROW.select(ROW.id).where(
        ROW.destination == slot(ROW.destination), IS_WAITING, ROW.ready, ROW.study_id.not_in(busy)
    )
    if urgent_only:
        first = first.where(ROW.priority == Priority.URGENT)
    taken = ROW.update(
        status=Status.SENDING,
        reason="",
        owner=slot(ROW.owner),
        lease=slot(ROW.lease),
        lease_until=slot(ROW.lease_until),
        attempts=ROW.attempts + 1,
        started_at=fn.COALESCE(ROW.started_at, slot(ROW.started_at)),
    )
    return taken.where(ROW.id == free_rows(first.order_by(ROW.rank).limit(1), database)).returning(ROW)


CLAIM_FIRST = Statement(lambda database: _claim(database, urgent_only=False))
CLAIM_FIRST_URGENT = Statement(lambda database: _claim(database, urgent_only=True))
TWINS = [column == slot(column) for column in (ROW.resource_id, ROW.destination, ROW.results_of, ROW.options)]
WAITING_TWIN = Statement(lambda _: ROW.select(ROW.id).where(*TWINS, IS_WAITING))
SENDING_TWIN = Statement(
    lambda _: ROW.select(ROW.id).where(
        *TWINS, IS_SENDING, ROW.study_id == slot(ROW.study_id), ROW.content == slot(ROW.content)
    )
)
FIRST_RANK = Statement(
    lambda _: ROW.select(fn.MIN(ROW.rank)).where(ROW.destination == slot(ROW.destination), IS_WAITING, ROW.ready)
)
NEXT_DUE = Statement(lambda _: ROW.select(fn.MIN(ROW.due_at)).where(WAITS_FOR_ITS_TIME))
CANCEL_ASKED = Statement(
    lambda database: for_update(ROW.select(ROW.cancel_asked).where(ROW.id == slot(ROW.id)), database)
)
TELL = Statement(
    lambda _: TIMELINE.insert(
        delivery=slot(TIMELINE.delivery), at=slot(TIMELINE.at), status=slot(TIMELINE.status), text=slot(TIMELINE.text)
    )
)


@cache
def insert(columns: frozenset[str]) -> Statement:
    """Make a delivery with these columns; answers its ID."""
    return Statement(lambda _: ROW.insert(**_slots(columns)).returning(ROW.id))


@cache
def write(columns: frozenset[str]) -> Statement:
    """Change these columns of a delivery that this Orthanc sends; slots besides: `id`, `lease`."""
    return Statement(lambda _: ROW.update(**_slots(columns)).where(IS_OURS, IS_SENDING))


@cache
def close(columns: frozenset[str]) -> Statement:
    """The same at the end of an attempt: nobody has it any more."""
    ended = {"lease": "", "lease_until": 0, "cancel_asked": False}
    return Statement(lambda _: ROW.update(**ended | _slots(columns)).where(IS_OURS, IS_SENDING))


def _slots(columns: frozenset[str]) -> dict[str, Any]:
    return {name: slot(getattr(ROW, name)) for name in columns}
