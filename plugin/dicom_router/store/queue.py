# SPDX-License-Identifier: AGPL-3.0-or-later
"""The delivery queue. Each transition is a method named by its reason; each write that ends an attempt is guarded."""

import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from peewee import Database, IntegrityError, chunked

from dicom_router.deliveries.alternates import read_alternates
from dicom_router.deliveries.delivery import (
    FINAL,
    Delivery,
    Event,
    NewDelivery,
    Priority,
    Reason,
    Status,
    allowed,
    rank,
    subject,
)
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import Scope, SendError
from dicom_router.store import queue_statements as statements
from dicom_router.store import schema, search
from dicom_router.store.attempts import Attempts
from dicom_router.store.database import for_update, free_rows, row_transaction, rows, scalar, session, transaction
from dicom_router.store.queue_statements import IS_SENDING, IS_WAITING, WAITS_FOR_ITS_TIME
from dicom_router.store.tallies import Tallies
from dicom_router.users import by

ROW = schema.Delivery
FLAGS = ("renew", "ready", "cancel_asked", "untold")
CLAIM_TRIES = 5
LEASE_SECONDS = 60.0
WOKEN = 1000  # at once
NAMED_AT_ONCE = 100  # instances: each has nine values, and SQLite takes some hundreds of a statement


@dataclass(frozen=True)
class Sent:
    """A delivery of the history, as far as routing asks for it."""

    id: int
    destination: str
    status: Status
    options: str
    resend_of: int | None
    resource_id: str
    rule: str
    results_of: int


def to_delivery(row: dict[str, object]) -> Delivery:
    """A row as a value."""
    values = row | {"status": Status(str(row["status"])), "priority": Priority(str(row["priority"]))}
    values |= {name: bool(row[name]) for name in FLAGS}
    return Delivery(**values)  # type: ignore[arg-type]


class DeliveryQueue:
    """What is to be sent, by whom and when.

    `owner` names this Orthanc, and stays the same over a restart; `only_bearer`: no other living one has that name.
    """

    def __init__(self, database: Database, owner: str, only_bearer: Callable[[], bool] = lambda: True) -> None:
        self._database = database
        self._owner = owner
        self._only_bearer = only_bearer
        self._attempts = Attempts(database)
        self.tallies = Tallies(database, owner)

    def enqueue(self, new: NewDelivery, now: float) -> int | None:
        """Add a delivery and return its ID; None when one already waits for this resource and destination.

        A waiting delivery lists its instances when it is sent, so it takes along what came since. One that is being
        sent has listed them: None when it brings the very same.
        """
        with transaction(self._database):
            if self._is_being_sent(new):
                return None
            waiting = self._waiting_twin(new)
            if waiting is not None:
                if new.renew:
                    ROW.update(renew=True).where(ROW.id == waiting).execute()
                if new.alternates:
                    fails_over = ROW.update(alternates=new.alternates, failover_at=new.failover_at)
                    fails_over.where(ROW.id == waiting, ROW.alternates == "").execute()
                return None
            values = asdict(new)
            values |= values.pop("subject")
            values |= {"status": Status.SCHEDULED, "rank": rank(new.priority, now)}
            values |= {"ready": new.due_at <= now, "created_at": now}
            delivery_id = int(statements.insert(frozenset(values)).scalar(self._database, **values))
            search.remember(self._database, new.subject)
            self.tell(delivery_id, now, Status.SCHEDULED, new.reason)
            self.tallies.entered(new.rule, new.destination, Status.SCHEDULED)
            return delivery_id

    def _waiting_twin(self, new: NewDelivery) -> int | None:
        found: int | None = statements.WAITING_TWIN.scalar(self._database, **_of_twins(new))
        return found

    def _is_being_sent(self, new: NewDelivery) -> bool:
        same = {"study_id": new.subject.study_id, "content": new.content}
        return bool(new.content and statements.SENDING_TWIN.rows(self._database, **same, **_of_twins(new)))

    def sent_before(self, study_ids: Collection[str], destinations: Collection[str]) -> list[Sent]:
        """The deliveries of these studies (or patients) to these destinations, oldest first."""
        found = ROW.select(
            ROW.id, ROW.destination, ROW.status, ROW.options, ROW.resend_of, ROW.resource_id, ROW.rule, ROW.results_of
        )
        of_them = (ROW.study_id.in_(sorted(study_ids)), ROW.destination.in_(sorted(destinations)))
        with session(self._database):
            ordered = rows(found.where(*of_them).order_by(ROW.id).tuples())
            return [
                Sent(delivery_id, destination, Status(status), *told)
                for delivery_id, destination, status, *told in ordered
            ]

    def wake_due(self, now: float) -> None:
        """Make claimable what has reached its time, the next thousand of it."""
        with session(self._database):
            first = self.next_due()
            if first is None or first > now:
                return
            # In order and limited: otherwise PostgreSQL may expect many, and read the whole table.
            late = ROW.select(ROW.id).where(WAITS_FOR_ITS_TIME, ROW.due_at <= now).order_by(ROW.due_at).limit(WOKEN)
            ROW.update(ready=True).where(ROW.id.in_(free_rows(late, self._database))).execute()

    def next_due(self) -> float | None:
        """When the next waiting delivery reaches its time, or None."""
        with session(self._database):
            due: float | None = statements.NEXT_DUE.scalar(self._database)
            return due

    def first_rank(self, destination: str) -> float | None:
        """The rank of the first delivery that could be claimed now, or None."""
        with session(self._database):
            found: float | None = statements.FIRST_RANK.scalar(self._database, destination=destination)
            return found

    def claim(self, destination: str, lease: str, now: float, *, urgent_only: bool = False) -> Delivery | None:
        """Take the first delivery that is ready for `destination`, or None. Not while its study is being sent there."""
        for _ in range(CLAIM_TRIES):
            # The index on what is being sent refuses when another Orthanc began with the same study just now.
            with suppress(IntegrityError):
                return self._claim(destination, lease, now, urgent_only=urgent_only)
        return None

    def _claim(self, destination: str, lease: str, now: float, *, urgent_only: bool) -> Delivery | None:
        first = statements.CLAIM_FIRST_URGENT if urgent_only else statements.CLAIM_FIRST
        until = now + LEASE_SECONDS
        with row_transaction(self._database):
            claimed = first.dicts(
                self._database,
                destination=destination,
                owner=self._owner,
                lease=lease,
                lease_until=until,
                started_at=now,
            )
            if not claimed:
                return None
            delivery = to_delivery(claimed[0])
            self._attempts.begin(delivery.id, delivery.attempts, now)
            self.tell(delivery.id, now, Status.SENDING, f"Attempt {delivery.attempts}")
            return delivery

    def renew_leases(self, leases: Iterable[str], now: float) -> set[str]:
        """This process is alive and still sends these. Answers those that it has; the others were taken over."""
        with session(self._database):
            renewed = ROW.update(lease_until=now + LEASE_SECONDS).where(IS_SENDING, ROW.lease.in_(list(leases)))
            return {lease for (lease,) in rows(renewed.returning(ROW.lease).tuples().execute())}

    def listed(self, delivery: Delivery, count: int, size: int, content: str) -> None:
        """The instances were listed: `count` in all for this delivery, `size` bytes; then the destination has these."""
        self._write(delivery, instances_count=count, bytes=size, content=content, renew=False)

    def progress(self, delivery: Delivery, sent: int, refused: int) -> None:
        """So many instances of this delivery have been accepted and refused so far."""
        self._write(delivery, instances_sent=sent, instances_refused=refused)

    def _write(self, delivery: Delivery, **values: object) -> None:
        with session(self._database):
            write = statements.write(frozenset(values))
            write.run(self._database, id=delivery.id, lease=delivery.lease, **values)

    def job_submitted(self, delivery: Delivery, job_id: str) -> None:
        """Keep the ID of an Orthanc job with the running attempt."""
        self._attempts.add_job(delivery.id, job_id)

    def succeed(self, delivery: Delivery, sent: int, refused: int, verified: str, now: float, note: str = "") -> bool:
        """All arrived (or were refused for good): Completed, or Warning. False: the lease was lost, nothing written."""
        status = Status.WARNING if refused else Status.COMPLETED
        text = f"{sent} instances arrived" + (f", {refused} were refused" if refused else "")
        text += f"; {note}" if note else ""
        return self._close(
            delivery,
            Event.SUCCEED,
            status,
            now,
            text,
            completed_at=now,
            instances_sent=sent,
            instances_refused=refused,
            verified=verified,
            **({} if refused else _no_error()),
        )

    def fail(
        self,
        delivery: Delivery,
        error: SendError,
        sent: int,
        refused: int,
        retry_at: float | None,
        now: float,
        unsent: Sequence[Instance] = (),
    ) -> bool:
        """The attempt failed: Retrying at `retry_at`; with None, Failed.

        Warning, when the destination took some and refuses the others, or all that is `unsent`, for good: then they
        are named. The next one of a `FirstOf` gets the study, since it is not all here.
        """
        event = Event.FAIL_PERMANENT if error.permanent else Event.FAIL_TRANSIENT
        values = error_columns(error) | {"instances_sent": sent, "instances_refused": refused}
        if retry_at is not None:
            return self._close(
                delivery,
                Event.FAIL_TRANSIENT,
                Status.RETRYING,
                now,
                error.message,
                reason=Reason.RETRY,
                due_at=retry_at,
                ready=retry_at <= now,
                **values,
            )
        status = Status.WARNING if sent and error.permanent else Status.FAILED
        named = unsent if status is Status.WARNING else ()
        values["instances_refused"] = refused + len(named)
        with transaction(self._database):
            closed = self._close(delivery, event, status, now, error.message, completed_at=now, **values)
            if closed and not self._was_canceled(delivery):
                self._name_unsent(delivery, named, error, now)
                self.hand_on(delivery, status, now)
            return closed

    def hand_on(self, delivery: Delivery, status: Status, now: float) -> None:
        """It has ended so, and not all arrived: the next destination of its FirstOf gets it, if there is one."""
        if delivery.alternates:
            new = next_of(delivery, now)
            self.tell(delivery.id, now, status, f"{new.destination} takes over")
            self.enqueue(new, now)

    def defer(self, delivery: Delivery, reason: Reason, due_at: float, sent: int, refused: int, now: float) -> bool:
        """Give the attempt back, uncounted: the router stops, or the destination was paused or held meanwhile."""
        return self._close(
            delivery,
            Event.DEFER,
            Status.SCHEDULED,
            now,
            reason,
            reason=reason,
            due_at=due_at,
            ready=due_at <= now,
            attempts=delivery.attempts - 1,
            instances_sent=sent,
            instances_refused=refused,
        )

    def _close(self, delivery: Delivery, event: Event, status: Status, now: float, text: str, **values: object) -> bool:
        with row_transaction(self._database):
            if self._cancel_was_asked(delivery) and event is not Event.SUCCEED:
                status, text = Status.CANCELED, "Canceled by hand"
                values = {key: value for key, value in values.items() if key not in {"due_at", "ready", "reason"}}
                values |= {"completed_at": now}
            if status not in allowed(event, Status.SENDING):
                raise AssertionError(f"{event} may not lead to {status}")
            values |= {"status": status, "untold": status is Status.FAILED}
            close = statements.close(frozenset(values))
            written = close.run(self._database, id=delivery.id, lease=delivery.lease, **values)
            if not written:
                return False
            self._attempts.end(delivery.id, values, now, given_back=event is Event.DEFER)
            self.tell(delivery.id, now, status, text)
            if status in FINAL:
                self.tallies.entered(delivery.rule, delivery.destination, status)
            return True

    def _was_canceled(self, delivery: Delivery) -> bool:
        return bool(scalar(ROW.select(ROW.status).where(ROW.id == delivery.id)) == Status.CANCELED)

    def _cancel_was_asked(self, delivery: Delivery) -> bool:
        return bool(statements.CANCEL_ASKED.scalar(self._database, id=delivery.id))

    def adopt(self, now: float, *, restarted: bool = False) -> list[Delivery]:
        """Make what dead owners were sending our own: then nobody else does, and `retry` can follow.

        `restarted`: instead, what our own former self was sending; nothing, while another living Orthanc has our name.
        """
        if restarted and not self._only_bearer():
            return []
        lost: Any = ROW.owner == self._owner if restarted else ROW.lease_until < now
        abandoned = free_rows(ROW.select(ROW.id).where(IS_SENDING, lost), self._database)
        lease = uuid.uuid4().hex
        with row_transaction(self._database):
            taken = ROW.update(owner=self._owner, lease=lease, lease_until=now + LEASE_SECONDS)
            found = rows(taken.where(ROW.id.in_(abandoned)).returning(ROW).dicts().execute())
        return [to_delivery(row) for row in sorted(found, key=lambda row: int(row["id"]))]

    def retry(self, adopted: Sequence[Delivery], now: float) -> None:
        """Send at once what was adopted."""
        with row_transaction(self._database):
            for delivery in adopted:
                self._close_lost(delivery, SendError.interrupted(), now)

    def asked_to_end(self) -> list[int]:
        """What this Orthanc is sending and somebody wants canceled, perhaps through another Orthanc."""
        with session(self._database):
            asked = ROW.select(ROW.id).where(IS_SENDING, ROW.owner == self._owner, ROW.cancel_asked)
            return [found for (found,) in rows(asked.tuples())]

    def _close_lost(self, delivery: Delivery, error: SendError, now: float) -> None:
        canceled = self._cancel_was_asked(delivery)
        status = Status.CANCELED if canceled else Status.RETRYING
        values: dict[str, object] = {"completed_at": now} if canceled else {"due_at": now, "ready": True}
        reason = "" if canceled else Reason.QUEUED
        written = (
            ROW.update(
                status=status,
                reason=reason,
                lease="",
                lease_until=0,
                cancel_asked=False,
                **error_columns(error),
                **values,
            )
            .where(ROW.id == delivery.id, ROW.status == Status.SENDING, ROW.lease == delivery.lease)
            .execute()
        )
        if not written:
            return
        ending = error_columns(error) | {"instances_sent": delivery.instances_sent}
        self._attempts.end(delivery.id, ending, now, given_back=False)
        self.tell(delivery.id, now, status, error.message)
        if status in FINAL:
            self.tallies.entered(delivery.rule, delivery.destination, status)

    def cancel(self, delivery_id: int, now: float, user: str = "") -> Status | None:
        """Cancel a waiting delivery, or ask a sending one to end; the state it is in afterwards, None when unknown.

        Raises IllegalTransitionError when it has ended already.
        """
        with row_transaction(self._database):
            row = for_update(ROW.select().where(ROW.id == delivery_id), self._database).first()
            if row is None:
                return None
            status = Status(row.status)
            (after,) = allowed(Event.CANCEL, status)
            if after is Status.CANCELED:
                ROW.update(status=after, reason="", completed_at=now).where(ROW.id == delivery_id).execute()
                self.tallies.entered(row.rule, row.destination, after)
            else:
                ROW.update(cancel_asked=True).where(ROW.id == delivery_id).execute()
            what = "Canceled" if after is Status.CANCELED else "Cancel asked for"
            self.tell(delivery_id, now, after, f"{what} {by(user)}")
            return after

    def wake_destination(self, destination: str, now: float) -> int:
        """The destination is back: what waits because the way to it failed is due now. Answers how many."""
        with session(self._database):
            waits = ROW.select(ROW.id).where(
                ROW.destination == destination,
                IS_WAITING,
                ~ROW.ready,
                ROW.error_scope.in_([Scope.DESTINATION, Scope.ASSOCIATION]),
            )
            woken = ROW.update(due_at=now, ready=True, reason=Reason.QUEUED)
            return int(woken.where(ROW.id.in_(free_rows(waits, self._database))).execute())

    def plan_earlier(self, destination: str, opens: float, delayed: Collection[str]) -> int:
        """The schedule of the destination was changed: what waits for its window waits until `opens` at the longest.

        Not what comes of the rules `delayed`, whose delay may not be over yet. Answers how many.
        """
        with session(self._database):
            waits = ROW.select(ROW.id).where(
                ROW.destination == destination,
                WAITS_FOR_ITS_TIME,
                ROW.reason == Reason.WINDOW,
                ROW.due_at > opens,
                ROW.rule.not_in(list(delayed)),
            )
            earlier = ROW.update(due_at=opens, failover_at=ROW.failover_at - (ROW.due_at - opens))
            return int(earlier.where(ROW.id.in_(free_rows(waits, self._database))).execute())

    def refused(self, delivery: Delivery, instance: Instance, error: SendError, now: float) -> None:
        """The destination refuses this instance for good. Told again, it is named once."""
        table = schema.Refusal
        same = (table.delivery == delivery.id, table.instance_id == instance.id, table.digest == instance.digest)
        with row_transaction(self._database):
            table.delete().where(*same).execute()
            table.insert(_refusal(delivery, instance, error, now)).execute()

    def _name_unsent(self, delivery: Delivery, unsent: Sequence[Instance], error: SendError, now: float) -> None:
        """These did not arrive. Without their fingerprints: nobody refused them, so another delivery may bring them."""
        table = schema.Refusal
        named = {row.instance_id for row in table.select(table.instance_id).where(table.delivery == delivery.id)}
        for some in chunked([each for each in unsent if each.id not in named], NAMED_AT_ONCE):
            table.insert_many(_refusal(delivery, each, error, now) | {"digest": b""} for each in some).execute()

    def in_trouble(
        self, delivery: Delivery, troubled: Sequence[tuple[Instance, SendError]], left: Collection[str], now: float
    ) -> None:
        """These failed, and are tried again; of those named before, the ones that are not `left` have arrived.

        They are named like what is refused for good, but without their fingerprint: so they stay to be sent.
        """
        table, told = schema.Refusal, {instance.id for instance, _ in troubled}
        with transaction(self._database):
            named = table.select(table.id, table.instance_id).where(table.delivery == delivery.id, table.digest == b"")
            outdated = [row.id for row in named if row.instance_id not in left or row.instance_id in told]
            for each in outdated:
                table.delete().where(table.id == each).execute()
            for instance, error in troubled:
                table.insert(_refusal(delivery, instance, error, now) | {"digest": b""}).execute()

    def remark(self, delivery_id: int, now: float, text: str) -> None:
        """Something to know about a delivery, whatever its state."""
        with row_transaction(self._database):
            status = scalar(ROW.select(ROW.status).where(ROW.id == delivery_id))
            if status is not None:
                self.tell(delivery_id, now, Status(status), text)

    def tell(self, delivery_id: int, now: float, status: Status, text: str) -> None:
        """Add to a delivery's timeline."""
        statements.TELL.run(self._database, delivery=delivery_id, at=now, status=status, text=text)


def _of_twins(new: NewDelivery) -> dict[str, object]:
    """What the deliveries of the same to the same destination have in common."""
    return {
        "resource_id": new.subject.resource_id,
        "destination": new.destination,
        "results_of": new.results_of,
        "options": new.options,  # another rule may send other instances of it, or at another time
    }


def next_of(delivery: Delivery, now: float) -> NewDelivery:
    """The delivery to the destination that stands in for this one's."""
    alternates = read_alternates(delivery.alternates)
    if alternates is None:
        raise ValueError(f"Nobody stands in for the destination of delivery {delivery.id}.")
    left = alternates.after_first()
    return NewDelivery(
        subject=subject(delivery),
        destination=alternates.members[0],
        rule=alternates.rule or delivery.rule,
        rule_version=alternates.rule_version if alternates.rule else delivery.rule_version,
        priority=delivery.priority,
        due_at=now,
        reason=Reason.QUEUED,
        instances_count=delivery.instances_count,
        bytes=delivery.bytes,
        options=alternates.options or delivery.options,
        results_of=delivery.results_of,
        alternates=left.to_text() if left else "",
        failover_at=now + left.after if left else None,
    )


def error_columns(error: SendError) -> dict[str, object]:
    """An error as the columns of a delivery or an attempt."""
    return {
        "error_class": error.error_class,
        "error_scope": error.scope,
        "error_code": error.code,
        "error_message": error.message,
    }


def _refusal(delivery: Delivery, instance: Instance, error: SendError, now: float) -> dict[str, object]:
    return {
        "delivery": delivery.id,
        "study_id": instance.study_id,
        "destination": delivery.destination,
        "digest": instance.digest,
        "instance_id": instance.id,
        "sop_instance_uid": instance.sop_instance_uid,
        "at": now,
        "code": error.code,
        "message": error.message,
    }


def _no_error() -> dict[str, object]:
    return {"error_class": "", "error_scope": "", "error_code": "", "error_message": ""}
