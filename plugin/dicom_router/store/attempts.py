# SPDX-License-Identifier: AGPL-3.0-or-later
"""The attempts of deliveries: written within the transaction of what begins or ends them."""

import json

from peewee import Database, fn

from dicom_router.store.database import row_transaction
from dicom_router.store.schema import Attempt
from dicom_router.store.statement import Statement, slot

_BEGIN = Statement(
    lambda _: Attempt.insert(
        delivery=slot(Attempt.delivery), number=slot(Attempt.number), started_at=slot(Attempt.started_at)
    )
)
_RUNNING = Statement(
    lambda _: (
        Attempt.select(Attempt.id, Attempt.jobs)
        .where(Attempt.delivery == slot(Attempt.delivery), Attempt.ended_at.is_null())
        .order_by(Attempt.id.desc())
        .limit(1)
    )
)
_SENT_BEFORE = Statement(
    lambda _: Attempt.select(fn.SUM(Attempt.instances_sent)).where(
        Attempt.delivery == slot(Attempt.delivery), Attempt.id != slot(Attempt.id)
    )
)
_JOBS = Statement(lambda _: Attempt.update(jobs=slot(Attempt.jobs)).where(Attempt.id == slot(Attempt.id)))
_END = Statement(
    lambda _: Attempt.update(
        ended_at=slot(Attempt.ended_at),
        instances_sent=slot(Attempt.instances_sent),
        instances_refused=slot(Attempt.instances_refused),
        error_class=slot(Attempt.error_class),
        error_code=slot(Attempt.error_code),
        error_message=slot(Attempt.error_message),
    ).where(Attempt.id == slot(Attempt.id))
)
_ERROR = ("error_class", "error_code", "error_message")


class Attempts:
    """One try after the other."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, delivery_id: int, number: int, now: float) -> None:
        """A delivery was claimed."""
        _BEGIN.run(self._database, delivery=delivery_id, number=number, started_at=now)

    def add_job(self, delivery_id: int, job_id: str) -> None:
        """Keep the ID of an Orthanc job with the running attempt, if there is one."""
        with row_transaction(self._database):
            for attempt, jobs in _RUNNING.rows(self._database, delivery=delivery_id):
                _JOBS.run(self._database, id=attempt, jobs=json.dumps([*json.loads(jobs), job_id]))

    def end(self, delivery_id: int, values: dict[str, object], now: float, *, given_back: bool) -> None:
        """The running attempt has ended; `values` are those of the delivery. One given back with nothing sent goes."""
        for attempt, _ in _RUNNING.rows(self._database, delivery=delivery_id):
            before = _SENT_BEFORE.scalar(self._database, delivery=delivery_id, id=attempt) or 0
            sent = max(0, int(str(values.get("instances_sent", 0))) - before)
            if given_back and not sent:
                Attempt.delete().where(Attempt.id == attempt).execute()
                continue
            refused = values.get("instances_refused", 0)
            error = {name: values.get(name, "") for name in _ERROR}
            _END.run(self._database, id=attempt, ended_at=now, instances_sent=sent, instances_refused=refused, **error)
