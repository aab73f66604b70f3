# SPDX-License-Identifier: AGPL-3.0-or-later
"""Counts that only grow, kept as things happen: reading them costs the same with a thousand deliveries or a million.

Each is written in the transaction of what it counts, so a crash loses none, and a restart begins none anew. Every
Orthanc on the database has rows of its own: no two wait for each other, and each tells what it has done itself.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from peewee import EXCLUDED, Database, fn

from dicom_router.deliveries.delivery import FINAL, Status
from dicom_router.store.database import rows, session
from dicom_router.store.schema import AttemptTally, DecisionTally, Delivery, DeliveryTally
from dicom_router.store.statement import Statement, slot

# Seconds; an attempt is counted in the first that it does not exceed. Most take seconds, a large study over a slow
# link an hour. The label is part of the key: changing a bound begins a new count and spoils none.
BUCKETS = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
MORE = "+Inf"

ENTERED = Statement(
    lambda _: DeliveryTally.insert(
        owner=slot(DeliveryTally.owner),
        rule=slot(DeliveryTally.rule),
        destination=slot(DeliveryTally.destination),
        status=slot(DeliveryTally.status),
        number=1,
    ).on_conflict(
        conflict_target=[DeliveryTally.owner, DeliveryTally.rule, DeliveryTally.destination, DeliveryTally.status],
        update={DeliveryTally.number: DeliveryTally.number + 1},
    )
)
ATTEMPTED = Statement(
    lambda _: AttemptTally.insert(
        owner=slot(AttemptTally.owner),
        destination=slot(AttemptTally.destination),
        result=slot(AttemptTally.result),
        bucket=slot(AttemptTally.bucket),
        number=1,
        seconds=slot(AttemptTally.seconds),
        instances=slot(AttemptTally.instances),
        size=slot(AttemptTally.size),
    ).on_conflict(
        conflict_target=[AttemptTally.owner, AttemptTally.destination, AttemptTally.result, AttemptTally.bucket],
        update={
            AttemptTally.number: AttemptTally.number + 1,
            AttemptTally.seconds: AttemptTally.seconds + EXCLUDED.seconds,
            AttemptTally.instances: AttemptTally.instances + EXCLUDED.instances,
            AttemptTally.size: AttemptTally.size + EXCLUDED.size,
        },
    )
)

# Of a database that was filled in other ways than by counting: what is in the table of the deliveries is what is kept.
RECOUNT = (
    "UPDATE delivery_tally SET forgotten = number",
    f"""
    INSERT INTO delivery_tally (owner, rule, destination, status, number, forgotten)
      SELECT '', rule, destination, '{Status.SCHEDULED}', 0, -COUNT(*) FROM delivery
      WHERE TRUE GROUP BY rule, destination
      ON CONFLICT (owner, rule, destination, status) DO UPDATE SET forgotten = EXCLUDED.forgotten
    """,  # noqa: S608 - our own words
    f"""
    INSERT INTO delivery_tally (owner, rule, destination, status, number, forgotten)
      SELECT '', rule, destination, status, 0, -COUNT(*) FROM delivery
      WHERE status IN ({", ".join(f"'{status}'" for status in sorted(FINAL))}) GROUP BY rule, destination, status
      ON CONFLICT (owner, rule, destination, status) DO UPDATE SET forgotten = EXCLUDED.forgotten
    """,  # noqa: S608 - our own words
)


@dataclass(frozen=True)
class Kept:
    """How many deliveries the history has in all, and how many of them have ended in which state."""

    all: int
    ended: Mapping[str, int]


@dataclass(frozen=True)
class Attempts:
    """The attempts towards one destination that ended in one way (`Success`, `Failure` or `GivenBack`)."""

    destination: str
    result: str
    bucket: str  # a bound of BUCKETS, or MORE
    number: int
    seconds: float
    instances: int
    size: int  # bytes


@dataclass(frozen=True)
class OpenDeliveries:
    """The deliveries of one rule to one destination that are in one state; `oldest` in seconds since the epoch."""

    destination: str
    rule: str
    status: str
    number: int
    oldest: float


class Tallies:
    """What `owner` has done so far."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    # Counting, within the transaction of what is counted

    def entered(self, rule: str, destination: str, status: Status) -> None:
        """A delivery was made (Scheduled), or has ended."""
        ENTERED.run(self._database, owner=self._owner, rule=rule, destination=destination, status=status)

    def forgotten(self, deliveries: Iterable[tuple[str, str, str]]) -> None:
        """These deliveries (rule, destination and the state they ended in) leave the history."""
        gone: Counter[tuple[str, str, str]] = Counter()
        for rule, destination, status in deliveries:
            gone[rule, destination, status] += 1
            gone[rule, destination, Status.SCHEDULED] += 1
        made = [
            {"owner": self._owner, "rule": rule, "destination": destination, "status": status, "number": 0}
            | {"forgotten": number}
            for (rule, destination, status), number in sorted(gone.items())
        ]
        key = [DeliveryTally.owner, DeliveryTally.rule, DeliveryTally.destination, DeliveryTally.status]
        more = {DeliveryTally.forgotten: DeliveryTally.forgotten + EXCLUDED.forgotten}
        if made:
            DeliveryTally.insert_many(made).on_conflict(conflict_target=key, update=more).execute()

    def decided(self, verdicts: Sequence[Mapping[str, object]]) -> None:
        """What each rule said of a resource that was looked at."""
        told = {(str(each["Rule"]), bool(each["Matched"])) for each in verdicts if each.get("Rule")}
        if not told:
            return
        made = [{"owner": self._owner, "rule": rule, "matched": matched, "number": 1} for rule, matched in sorted(told)]
        DecisionTally.insert_many(made).on_conflict(
            conflict_target=[DecisionTally.owner, DecisionTally.rule, DecisionTally.matched],
            update={DecisionTally.number: DecisionTally.number + 1},
        ).execute()

    def attempted(self, destination: str, result: str, seconds: float, instances: int, size: int) -> None:
        """An attempt has ended; `instances` and `size` (bytes) are what the destination accepted in it."""
        bucket = next((f"{bound:g}" for bound in BUCKETS if seconds <= bound), MORE)
        key = {"owner": self._owner, "destination": destination, "result": result, "bucket": bucket}
        with session(self._database):
            ATTEMPTED.run(self._database, seconds=seconds, instances=instances, size=size, **key)

    # Reading

    def deliveries(self) -> list[tuple[str, str, str, int]]:
        """Rule, destination, status, and how many entered it."""
        table = DeliveryTally
        found = table.select(table.rule, table.destination, table.status, table.number).where(table.number > 0)
        with session(self._database):
            mine = found.where(table.owner == self._owner).order_by(table.rule, table.destination, table.status)
            return [tuple(row) for row in rows(mine.tuples())]

    def kept(self, rule: str | None = None, destination: str | None = None) -> Kept:
        """What the history has, of one rule or destination or of all; whichever Orthanc made it."""
        table = DeliveryTally
        query = table.select(table.status, fn.SUM(table.number - table.forgotten)).group_by(table.status)
        for column, value in ((table.rule, rule), (table.destination, destination)):
            if value is not None:
                query = query.where(column == value)
        with session(self._database):
            found = {status: int(number) for status, number in rows(query.tuples())}
        return Kept(found.pop(Status.SCHEDULED, 0), found)

    def decisions(self) -> list[tuple[str, bool, int]]:
        """Rule, whether it matched, and how often."""
        table = DecisionTally
        mine = table.select(table.rule, table.matched, table.number).where(table.owner == self._owner)
        found = mine.order_by(table.rule, table.matched)
        with session(self._database):
            return [(rule, bool(matched), number) for rule, matched, number in rows(found.tuples())]

    def attempts(self) -> list[Attempts]:
        """All of them."""
        table = AttemptTally
        columns = (table.destination, table.result, table.bucket, table.number, table.seconds, table.instances)
        mine = table.select(*columns, table.size).where(table.owner == self._owner)
        found = mine.order_by(table.destination, table.result, table.bucket)
        with session(self._database):
            return [Attempts(*row) for row in rows(found.tuples())]

    def open_deliveries(self) -> list[OpenDeliveries]:
        """What has not ended, from an index that holds nothing else; not of this Orthanc alone."""
        columns = (Delivery.destination, Delivery.rule, Delivery.status)
        found = (
            Delivery.select(*columns, fn.COUNT(Delivery.id), fn.MIN(Delivery.created_at))
            .where(Delivery.completed_at.is_null())
            .group_by(*columns)
        )
        with session(self._database):
            return [OpenDeliveries(*row) for row in rows(found.tuples())]
