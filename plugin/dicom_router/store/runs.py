# SPDX-License-Identifier: AGPL-3.0-or-later
"""Processes that were run, what came out of them, and the deliveries that follow."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from peewee import SQL, Database

from dicom_router.deliveries.delivery import FINAL, OPEN, NewDelivery, Status
from dicom_router.deliveries.outcome import PROCESS_FAILED
from dicom_router.store.database import replace, rows, session, transaction
from dicom_router.store.queue import DeliveryQueue
from dicom_router.store.schema import IS_OF_RESULTS, Delivery, Result, Run
from dicom_router.store.statement import Statement

AT_ONCE = 500  # IDs in one question
OF_RESULTS = SQL(IS_OF_RESULTS)
ANY_RESULT = Statement(lambda _: Result.select(Result.run).limit(1))


@dataclass(frozen=True)
class StoredRun:
    """A run that has ended. `outcome` are pairs of success and message."""

    outcome: tuple[tuple[str, str], ...]
    output: str
    rejected: tuple[str, ...]
    followed: bool


class Runs:
    """A run has the ID of its delivery to the process."""

    def __init__(self, database: Database, queue: DeliveryQueue) -> None:
        self._database = database
        self._queue = queue

    def finished(self, run: int) -> StoredRun | None:
        """The run, once it has ended."""
        with session(self._database):
            row = Run.get_or_none(Run.delivery == run, Run.finished_at.is_null(False))
            if row is None:
                return None
            outcome = tuple((success, message) for success, message in json.loads(row.outcome))
            return StoredRun(outcome, row.output, tuple(json.loads(row.rejected)), row.followed)

    def made_of(self, run: int) -> str | None:
        """The mark of what went into a run, once it has ended."""
        with session(self._database):
            row = Run.get_or_none(Run.delivery == run, Run.finished_at.is_null(False))
            return str(row.inputs) if row else None

    def start(self, run: int, inputs: str) -> None:
        """It begins, or begins anew; `inputs` is a mark of what goes in."""
        with session(self._database):
            nothing = {"outcome": "[]", "output": "", "rejected": "[]", "finished_at": None, "followed": False}
            replace(Run, delivery=run, inputs=inputs, **nothing)

    def intend(self, run: int, maker: str, instance_ids: Iterable[str], *, rerouted: bool) -> None:
        """These are about to enter Orthanc: from now on they are known as results."""
        with transaction(self._database):
            for instance_id in instance_ids:
                replace(Result, instance_id=instance_id, run=run, maker=maker, owned=True, rerouted=rerouted)

    def disown(self, run: int, instance_id: str) -> None:
        """It is a result, and was there before."""
        with session(self._database):
            Result.update(owned=False).where(Result.run == run, Result.instance_id == instance_id).execute()

    def forget(self, run: int, instance_ids: Iterable[str]) -> None:
        """These are no results, or not in Orthanc any more."""
        with transaction(self._database):
            for instance_id in instance_ids:
                Result.delete().where(Result.run == run, Result.instance_id == instance_id).execute()

    def finish(
        self, run: int, outcome: Sequence[tuple[str, str]], output: str, rejected: Sequence[str], now: float
    ) -> None:
        """It has ended, and its results are in Orthanc."""
        with session(self._database):
            Run.update(
                outcome=json.dumps(list(outcome)), output=output, rejected=json.dumps(list(rejected)), finished_at=now
            ).where(Run.delivery == run).execute()

    def follow(self, run: int, deliveries: Sequence[NewDelivery], text: str, now: float) -> None:
        """Make the deliveries that follow, once and all of them."""
        with transaction(self._database):
            if not Run.update(followed=True).where(Run.delivery == run, ~Run.followed).execute():
                return
            for delivery in deliveries:
                self._queue.enqueue(delivery, now)
            self._queue.remark(run, now, text)

    def results(self, run: int) -> set[str]:
        """Orthanc's IDs of the instances that came out of a run."""
        with session(self._database):
            found = Result.select(Result.instance_id).where(Result.run == run)
            return {instance_id for (instance_id,) in rows(found.tuples())}

    def owned(self, run: int) -> set[str]:
        """Those of them that entered Orthanc for it."""
        with session(self._database):
            found = Result.select(Result.instance_id).where(Result.run == run, Result.owned)
            return {instance_id for (instance_id,) in rows(found.tuples())}

    def hidden(self, instance_ids: Collection[str]) -> set[str]:
        """Those among these that no rule looks at."""
        return self._among(instance_ids, Result.owned & ~Result.rerouted)

    def made_by(self, maker: str, instance_ids: Collection[str]) -> set[str]:
        """Those among these that came out of this process, and do not go in again."""
        return self._among(instance_ids, Result.owned & (Result.maker == maker))

    def failed_with(self, process: str, study_id: str, content: str) -> bool:
        """Whether a run of this process on just these instances (`content_mark`) has come to `failed`."""
        with session(self._database):
            rows_of_it = Delivery.select(Delivery.id).where(
                Delivery.study_id == study_id,
                Delivery.destination == process,
                Delivery.content == content,
                Delivery.status == Status.FAILED,
                Delivery.error_code == PROCESS_FAILED,
            )
            return rows_of_it.exists()

    def _among(self, instance_ids: Collection[str], condition: object) -> set[str]:
        asked, found = list(instance_ids), set[str]()
        with session(self._database):
            if not ANY_RESULT.rows(self._database):
                return found
            for start in range(0, len(asked), AT_ONCE):
                part = Result.instance_id.in_(asked[start : start + AT_ONCE])
                found |= {each for (each,) in rows(Result.select(Result.instance_id).where(part, condition).tuples())}
        return found

    def used_up(self) -> list[tuple[int, set[str]]]:
        """The runs whose results have been sent wherever they will be, and what of them can be deleted."""
        with session(self._database):
            runs = {run for (run,) in rows(Result.select(Result.run).where(~Result.rerouted).distinct().tuples())}
            over = {run for run in runs if self._is_over(run)}
            needed = {each for run in runs - over for each in self.results(run)}
            return [(run, self.owned(run) - needed) for run in sorted(over)]

    def forget_all(self, run: int) -> None:
        """Its results were deleted, or belong to others."""
        with session(self._database):
            Result.delete().where(Result.run == run, ~Result.rerouted).execute()

    def _is_over(self, run: int) -> bool:
        waiting = Delivery.select().where(OF_RESULTS, Delivery.results_of == run, Delivery.status.in_(sorted(OPEN)))
        unfinished = Delivery.select().where(Delivery.id == run, Delivery.status.not_in(sorted(FINAL)))
        return not waiting.exists() and not unfinished.exists()
