# SPDX-License-Identifier: AGPL-3.0-or-later
"""Values for tests: whole, and different only in what a test is about."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from peewee import Database

from dicom_router.config import Neighbours, Settings, parse
from dicom_router.deliveries.delivery import Delivery, NewDelivery, Priority, Reason, Status, Subject
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError
from dicom_router.destination import Destination
from dicom_router.store import schema
from dicom_router.store.database import transaction
from dicom_router.store.store import Store
from dicom_router.store.tallies import RECOUNT

NOW = 1_795_000_000.0  # an hour of November 2026
ARCHIVE = "ARCHIVE"

BROKEN = SendError(ErrorClass.TRANSIENT, Scope.ASSOCIATION, "Aborted", "Peer aborted Association")
BUSY = SendError(ErrorClass.TRANSIENT, Scope.INSTANCE, "0xA700", "The destination is out of resources.")
DEAD = SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, "ConnectionFailed", "TCP Initialization Error")
NOT_UNDERSTOOD = SendError(ErrorClass.PERMANENT, Scope.INSTANCE, "0xC000", "The destination cannot understand it.")
UNSUPPORTED = SendError(ErrorClass.TRANSIENT, Scope.INSTANCE, "0x0122", "SOP class not supported.")
STRANGER = SendError(ErrorClass.PERMANENT, Scope.DESTINATION, "CallingAetNotRecognized", "Calling AE unknown.")


def instance(number: int, study: str = "study", **changes: Any) -> Instance:
    made = Instance(f"{study}-{number}", "r0", f"{study}-series", study, f"1.2.{number}", 1000)
    return replace(made, **changes)


def subject(study: str = "study", **changes: Any) -> Subject:
    made = Subject("Study", study, study, f"1.2.{study}", f"P-{study}", "DOE^JANE", f"A-{study}", "20261122")
    return replace(made, **changes)


def new_delivery(study: str = "study", destination: str = ARCHIVE, **changes: Any) -> NewDelivery:
    made = NewDelivery(
        subject=subject(study),
        destination=destination,
        rule="all CT",
        rule_version=1,
        priority=Priority.NORMAL,
        due_at=NOW,
        reason=Reason.QUEUED,
        instances_count=3,
        bytes=3000,
    )
    return replace(made, **changes)


def enqueued(store: Store, study: str = "study", *, at: float = NOW, **changes: Any) -> int:
    """The ID of a new delivery."""
    made = store.queue.enqueue(new_delivery(study, **{"due_at": at, **changes}), at)
    assert made is not None
    return made


def claimed(store: Store, study: str = "study", *, lease: str = "lease", at: float = NOW, **changes: Any) -> Delivery:
    """A new delivery that is being sent."""
    made = enqueued(store, study, at=at, **changes)
    store.queue.wake_due(at)
    delivery = store.queue.claim(str(changes.get("destination", ARCHIVE)), lease, at)
    assert delivery is not None
    assert delivery.id == made
    return delivery


def emptied(database: Database) -> None:
    """Nothing is left in the side database but its schema."""
    with transaction(database):
        for table in schema.TABLES:
            if table is not schema.Meta:
                table.delete().execute()


def take_over(store: Store, now: float) -> list[int]:
    """As after a restart: what this owner was sending, and what dead ones left, is retried. Answers the deliveries."""
    adopted = store.queue.adopt(now, restarted=True) + store.queue.adopt(now)
    store.queue.retry(adopted, now)
    return [delivery.id for delivery in adopted]


def found(store: Store, delivery_id: int) -> Delivery:
    """The delivery as it stands."""
    delivery = store.history.get(delivery_id)
    assert delivery is not None
    return delivery


def ended(store: Store, status: Status, study: str = "study", **changes: Any) -> Delivery:
    """A new delivery that came to an end."""
    if status is Status.CANCELED:
        made = enqueued(store, study, **changes)
        store.queue.cancel(made, NOW)
        return found(store, made)
    delivery = claimed(store, study, **changes)
    if status is Status.FAILED:
        assert store.queue.fail(delivery, NOT_UNDERSTOOD, 0, 1, None, NOW)
    else:
        assert store.queue.succeed(delivery, 3, int(status is Status.WARNING), "Accepted", NOW)
    assert found(store, delivery.id).status is status
    return found(store, delivery.id)


def fill(store: Store, first: int, count: int, status: Status = Status.SCHEDULED) -> None:
    """Many deliveries, in one statement."""
    values = {
        "status": status.value,
        "destination": ARCHIVE,
        "level": "Study",
        "options": "{}",
        "priority": "Normal",
        "due_at": NOW,
        "ready": status is Status.SCHEDULED,
        "completed_at": NOW if status is Status.COMPLETED else None,
    }
    numbers = ("rank", "created_at")
    names = ("resource_id", "study_id")
    nothing = ("rule_version", "renew", "cancel_asked", "lease_until", "instances_count", "instances_sent", "bytes")
    nothing += ("instances_refused", "attempts", "untold")
    given = {*values, *numbers, *names, *nothing}
    left = [each for each in schema.Delivery._meta.sorted_field_names if each not in given | {"id"}]
    empty = [_nothing(each) for each in left]
    columns = [*values, *numbers, *names, *nothing, *left]
    text = [f"CAST(? AS {_type(each)})" for each in values]
    zeros = [f"CAST(0 AS {_type(each)})" for each in nothing]
    given_empty = [f"CAST(? AS {_type(each)})" for each in left]
    chosen = [*text, "? - i", "? - i", "'s' || i", "'s' || i", *zeros, *given_empty]
    made = (
        "WITH RECURSIVE n(i) AS (SELECT CAST(? AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?) "
        f"INSERT INTO delivery ({', '.join(columns)}) SELECT {', '.join(chosen)} FROM n"
    )
    with transaction(store.database):
        made = made.replace("?", str(store.database.param))
        store.database.execute_sql(made, (first, first + count, *values.values(), NOW, NOW, *empty))
        for statement in RECOUNT:
            store.database.execute_sql(statement)


def _nothing(column: str) -> object:
    """What a column says where there is nothing to say."""
    if getattr(schema.Delivery, column).null:
        return None
    return {"TEXT": "", "BOOLEAN": False}.get(_type(column), 0)


def _type(column: str) -> str:
    """The SQL type of a column of the deliveries; SQLite has no boolean, and takes the number as it is."""
    return {"BOOL": "BOOLEAN", "TEXT": "TEXT", "DOUBLE": "DOUBLE PRECISION"}.get(
        getattr(schema.Delivery, column).field_type, "BIGINT"
    )


def destination(name: str = ARCHIVE, **changes: Any) -> Destination:
    return replace(Destination(name, name, f"{name}-AET"), **changes)


MODALITIES = {"ARCHIVE": "ARCHIVE", "WORKSTATION": "WORKSTATION", "CT1": "CT1"}


def configured(section: Mapping[str, object]) -> Settings:
    """The settings of a section `Router` without mistakes, beside three modalities."""
    made, problems = parse(section, Neighbours(MODALITIES))
    assert problems == []
    return made
