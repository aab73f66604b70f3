# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading the deliveries: filters, pages, one with its attempts and timeline, counts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from peewee import SQL, Database, ModelSelect, fn

from dicom_router.deliveries.delivery import WAITING, Delivery, Status
from dicom_router.store import schema, search
from dicom_router.store.database import rows, scalar, session, transaction
from dicom_router.store.queue import to_delivery
from dicom_router.store.tallies import Tallies

ROW = schema.Delivery
OPEN = sorted({*WAITING, Status.SENDING})
ERRORS_READ = 2000
MOST_COUNTED = 10_000


@dataclass(frozen=True)
class Filter:
    """Which deliveries; None does not restrict. `created_from` and `created_to` in seconds since the epoch."""

    statuses: Sequence[str] | None = None
    rule: str | None = None
    destination: str | None = None
    study: str | None = None  # Orthanc's ID or the StudyInstanceUID
    patient: str | None = None
    accession: str | None = None
    created_from: float | None = None
    created_to: float | None = None
    text: str | None = None


@dataclass(frozen=True)
class AttemptRow:
    """One try."""

    number: int
    started_at: float
    ended_at: float | None
    jobs: list[str]
    instances_sent: int
    instances_refused: int
    error_class: str
    error_code: str
    error_message: str


@dataclass(frozen=True)
class TimelineRow:
    """Something that happened."""

    at: float
    status: str
    text: str


@dataclass(frozen=True)
class RefusalRow:
    """An instance refused for good."""

    instance_id: str
    sop_instance_uid: str
    at: float
    code: str
    message: str


class History:
    """The deliveries, newest first."""

    def __init__(self, database: Database, tallies: Tallies) -> None:
        self._database = database
        self._tallies = tallies

    def page(self, wanted: Filter, limit: int, before: int | None) -> tuple[list[Delivery], int | None, int]:
        """Up to `limit` deliveries with an ID below `before`; the next `before`, or None; and how many match at all.

        A part of a text is counted up to MOST_COUNTED.
        """
        with session(self._database):
            total = self._count(wanted)
            # Where many match, the newest are soon found among all; where few do, they are looked for by index.
            query = _where(ROW.select(), wanted, by_time=False, by_row=total >= MOST_COUNTED)
            query = query.order_by(ROW.id.desc()).limit(limit + 1)
            for condition in _made_between(wanted):
                query = query.where(condition)
            if before is not None:
                query = query.where(ROW.id < before)
            found = [to_delivery(row) for row in rows(query.dicts())]
        more = len(found) > limit
        return found[:limit], found[limit - 1].id if more else None, total

    def _count(self, wanted: Filter) -> int:
        if wanted == Filter(statuses=wanted.statuses, rule=wanted.rule, destination=wanted.destination):
            return self._tallied(wanted)
        if wanted.text is None and wanted.patient is None:
            return int(scalar(_where(ROW.select(fn.COUNT(ROW.id)), wanted)))
        some = _where(ROW.select(ROW.id), wanted).limit(MOST_COUNTED)
        return int(scalar(ROW.select(fn.COUNT(SQL("1"))).from_(some)))

    def _tallied(self, wanted: Filter) -> int:
        """Nothing is counted that was counted before: what has ended may be millions."""
        if wanted.statuses is None:
            return self._tallies.kept(wanted.rule, wanted.destination).all
        found = self._by_state(wanted.rule, wanted.destination)
        return sum(found.get(status, 0) for status in set(wanted.statuses))

    def _by_state(self, rule: str | None = None, destination: str | None = None) -> dict[str, int]:
        kept = self._tallies.kept(rule, destination)
        found: dict[str, int] = {status.value: 0 for status in Status} | dict(kept.ended)
        for status in (Status.SENDING, Status.RETRYING):
            found[status] = self._count_state(status, rule, destination)
        # Between the questions one may have gone from one state to another.
        found[Status.SCHEDULED] = max(0, kept.all - sum(found.values()))
        return found

    @staticmethod
    def _count_state(status: Status, rule: str | None, destination: str | None) -> int:
        query = ROW.select(fn.COUNT(ROW.id)).where(ROW.status == status)
        if destination is not None:
            query = query.where(ROW.destination == destination)
        if rule is not None:
            query = query.where(ROW.rule.concat("") == rule)  # not by the index of the rule, which has its whole past
        return int(scalar(query))

    def ids(self, wanted: Filter) -> list[int]:
        """The IDs of all deliveries that match."""
        with session(self._database):
            return [found for (found,) in rows(_where(ROW.select(ROW.id), wanted).tuples())]

    def get(self, delivery_id: int) -> Delivery | None:
        """One delivery, or None."""
        with session(self._database):
            row = ROW.select().where(ROW.id == delivery_id).dicts().first()
            return to_delivery(row) if row else None

    def attempts(self, delivery_id: int) -> list[AttemptRow]:
        """Its tries, oldest first."""
        table = schema.Attempt
        with session(self._database):
            return [
                AttemptRow(
                    row.number,
                    row.started_at,
                    row.ended_at,
                    json.loads(row.jobs),
                    row.instances_sent,
                    row.instances_refused,
                    row.error_class,
                    row.error_code,
                    row.error_message,
                )
                for row in rows(table.select().where(table.delivery == delivery_id).order_by(table.id))
            ]

    def timeline(self, delivery_id: int) -> list[TimelineRow]:
        """What happened to it, oldest first."""
        table = schema.Timeline
        with session(self._database):
            found = rows(table.select().where(table.delivery == delivery_id).order_by(table.id))
            return [TimelineRow(row.at, row.status, row.text) for row in found]

    def refusals(self, delivery_id: int) -> list[RefusalRow]:
        """The instances that its destination refuses."""
        table = schema.Refusal
        with session(self._database):
            found = rows(table.select().where(table.delivery == delivery_id).order_by(table.id))
            return [RefusalRow(row.instance_id, row.sop_instance_uid, row.at, row.code, row.message) for row in found]

    def counts(self, destination: str | None = None) -> Mapping[str, int]:
        """How many deliveries are in each state."""
        with session(self._database):
            return self._by_state(destination=destination)

    def count_open(self) -> Mapping[str, int]:
        """How many deliveries are in each state that is not final."""
        with session(self._database):
            found = self._by_state()
        return {status: found[status] for status in OPEN}

    def oldest_waiting(self, destination: str | None = None) -> float | None:
        """When the oldest delivery that has not ended was made."""
        # In the words of its index; "+ 0" keeps the planner from walking through all of the history by its times.
        query = ROW.select(fn.MIN(ROW.created_at + 0)).where(ROW.completed_at.is_null())
        if destination is not None:
            query = query.where(ROW.destination == destination)
        with session(self._database):
            found: float | None = scalar(query)
        return found

    def sent_since(self, destination: str, since: float) -> tuple[int, int]:
        """Instances and bytes of the deliveries that ended well since then."""
        # "|| ''" leads the planner to the index of the times.
        query = ROW.select(fn.SUM(ROW.instances_sent), fn.SUM(ROW.bytes)).where(
            ROW.completed_at >= since,
            ROW.destination.concat("") == destination,
            ROW.status.concat("").in_([Status.COMPLETED, Status.WARNING]),
        )
        with session(self._database):
            instances, size = rows(query.tuples())[0]
        return int(instances or 0), int(size or 0)

    def last_error(self, destination: str) -> tuple[float, str, str, str] | None:
        """Time, class, code and message of the last attempt that failed, if it is among the latest of all."""
        table = schema.Attempt
        latest = table.select(table.id).where(SQL(schema.HAS_FAILED)).order_by(table.id.desc()).limit(ERRORS_READ)
        query = (
            table.select(table.ended_at, table.error_class, table.error_code, table.error_message)
            .join(ROW)
            .where(table.id.in_(latest), ROW.destination == destination)
            .order_by(table.id.desc())
            .limit(1)
        )
        with session(self._database):
            found = rows(query.tuples())
        return tuple(found[0]) if found else None

    def waiting_destinations(self) -> list[str]:
        """The destinations for which deliveries have not ended."""
        query = ROW.select(ROW.destination).distinct().where(ROW.status.in_(OPEN))
        with session(self._database):
            return [name for (name,) in rows(query.tuples())]

    def prune(self, before: float, limit: int = 500) -> int:
        """Forget up to `limit` deliveries that ended before then. Answers how many."""
        # SQLite gives the highest ID again once its row is gone; links to it would lead to another delivery.
        newest = ROW.alias()
        last = newest.select(fn.MAX(newest.id))
        known = (ROW.id, ROW.study_id, ROW.rule, ROW.destination, ROW.status)
        old = ROW.select(*known).where(ROW.completed_at < before, ROW.id < last).limit(limit)
        with transaction(self._database):
            gone = rows(old)
            count = int(ROW.delete().where(ROW.id.in_([found.id for found in gone])).execute())
            self._tallies.forgotten((found.rule, found.destination, found.status) for found in gone)
            search.forget(found.study_id for found in gone)
            return count

    def prune_decisions(self, before: float, limit: int = 500) -> int:
        """Forget those that were made before then, of the `limit` oldest. Answers how many."""
        # In the order of their IDs, which is that of their times: without an index all of them would be looked at.
        oldest = schema.Decision.select(schema.Decision.id, schema.Decision.made_at).order_by(schema.Decision.id)
        with transaction(self._database):
            old = [each.id for each in rows(oldest.limit(limit)) if each.made_at < before]
            return int(schema.Decision.delete().where(schema.Decision.id.in_(old)).execute())


def _made_between(wanted: Filter) -> list[Any]:
    """The times of a filter as bounds of the IDs, in whose order a page is read: sorting by it would take seconds.

    IDs and times grow together but for the clock's corrections, so the times are asked for too.
    """
    made = ROW.created_at
    low, high = wanted.created_from, wanted.created_to
    if low is None and high is None:
        return []
    by_index = [made >= low] if low is not None else []
    by_index += [made <= high] if high is not None else []
    first, last = rows(ROW.select(fn.MIN(ROW.id), fn.MAX(ROW.id)).where(*by_index).tuples())[0]
    if first is None:
        return [ROW.id < 0]
    by_row = [made + 0 >= low] if low is not None else []
    by_row += [made + 0 <= high] if high is not None else []
    return [ROW.id >= first, ROW.id <= last, *by_row]


def _named(part: str) -> Any:
    """A part of the patient's name. SQLite knows upper and lower case of ASCII alone, so others are spelled out."""
    spellings = {part} if part.isascii() else {part, part.lower(), part.upper(), part.title()}
    return reduce(or_, (ROW.patient_name.contains(each) for each in sorted(spellings)))


def _where(
    query: "ModelSelect[Any]", wanted: Filter, *, by_time: bool = True, by_row: bool = False
) -> "ModelSelect[Any]":
    equal = (
        (ROW.rule, wanted.rule),
        (ROW.destination, wanted.destination),
        (ROW.accession_number, wanted.accession),
    )
    for column, value in equal:
        if value is not None:
            query = query.where(column == value)
    if wanted.statuses is not None:
        query = query.where(ROW.status.in_(list(wanted.statuses)))
    if wanted.study is not None:
        query = query.where((ROW.study_id == wanted.study) | (ROW.study_instance_uid == wanted.study))
    if wanted.patient is not None:
        study_id = ROW.study_id.concat("") if by_row else ROW.study_id
        query = query.where(study_id.in_(search.studies(wanted.patient)))
        query = query.where((ROW.patient_id == wanted.patient) | _named(wanted.patient))
    if wanted.created_from is not None and by_time:
        query = query.where(ROW.created_at >= wanted.created_from)
    if wanted.created_to is not None and by_time:
        query = query.where(ROW.created_at <= wanted.created_to)
    return query if wanted.text is None else query.where(search.mentions(wanted.text, by_row=by_row))
