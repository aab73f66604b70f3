# SPDX-License-Identifier: AGPL-3.0-or-later
"""/router/history and what can be done with deliveries."""

import json
from datetime import UTC, datetime

from dicom_router.alteration import alteration_of
from dicom_router.api.http import Call, Endpoint, HttpError, Parameter, not_found
from dicom_router.api.planned import waits
from dicom_router.api.schemas import (
    AttemptAnswer,
    BulkBody,
    CountAnswer,
    DeliveryAnswer,
    DeliveryDetailAnswer,
    DeliveryIdAnswer,
    EmptyBody,
    FilterBody,
    HistoryAnswer,
    LastErrorAnswer,
    OutcomeAnswer,
    ProcessAnswer,
    RefusedAnswer,
    ResendBody,
    TimelineAnswer,
)
from dicom_router.api.services import Services
from dicom_router.deliveries.delivery import FINAL, WAITING, Delivery, IllegalTransitionError, Status
from dicom_router.destination import PROCESS_SUFFIX
from dicom_router.dispatch.resend import Resend, resend_options
from dicom_router.problems import Problem, nearest
from dicom_router.store.history import AttemptRow, Filter
from dicom_router.whole_numbers import whole_number

LARGEST_PAGE = 1000
DEFAULT_PAGE = 100
DAY, SECOND, MICROSECOND = 86400.0, 1.0, 1e-6

INTEGER = {"type": "integer", "minimum": 1}
TIME = {"type": "string"}  # a date, a time, or empty
FILTERS = (
    Parameter("status", "One or several states, separated by commas"),
    Parameter("rule", "The name of a rule"),
    Parameter("destination", "The name of a destination"),
    Parameter("study", "Orthanc's ID of a study, or its StudyInstanceUID"),
    Parameter("patient", "A PatientID, or a part of a name"),
    Parameter("accession", "An AccessionNumber"),
    Parameter("from", "Made at this time or later", TIME),
    Parameter("to", "Made at this time, on this day, or earlier", TIME),
    Parameter("q", "Any text"),
)
PAGING = (
    Parameter("limit", f"How many, at most {LARGEST_PAGE}", INTEGER),
    Parameter("cursor", "Next of the page before"),
)


class HistoryRoutes:
    """Deliveries: find, look, resend, cancel."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def endpoints(self) -> list[Endpoint]:
        """The routes."""
        return [
            Endpoint(
                "GET",
                "/history",
                "Deliveries, newest first",
                self.page,
                HistoryAnswer,
                None,
                FILTERS + PAGING,
                (400, 503),
            ),
            Endpoint(
                "GET", "/history/{id}", "A delivery and its story", self.one, DeliveryDetailAnswer, errors=(404, 503)
            ),
            Endpoint(
                "POST",
                "/history/{id}/resend",
                "Send again",
                self.resend,
                DeliveryIdAnswer,
                ResendBody,
                errors=(404, 409, 503),
            ),
            Endpoint(
                "POST",
                "/history/{id}/cancel",
                "Do not send",
                self.cancel,
                DeliveryIdAnswer,
                EmptyBody,
                errors=(404, 409, 503),
            ),
            Endpoint(
                "POST", "/history-resend", "Send many again", self.resend_many, CountAnswer, BulkBody, errors=(503,)
            ),
            Endpoint("POST", "/history-cancel", "Cancel many", self.cancel_many, CountAnswer, BulkBody, errors=(503,)),
        ]

    def page(self, call: Call) -> HistoryAnswer:
        """A page; `total` counts all that match."""
        wanted = read_filter(call.query)
        limit = _integer(call.query.get("limit"), "limit", DEFAULT_PAGE, LARGEST_PAGE)
        cursor = call.query.get("cursor")
        before = _integer(cursor, "cursor", 0, None) if cursor else None
        items, following, total = self._services.need_store().history.page(wanted, limit, before)
        return HistoryAnswer(
            items=[delivery_answer(item, self._services) for item in items],
            next=str(following) if following else None,
            total=total,
        )

    def one(self, call: Call) -> DeliveryDetailAnswer:
        """With attempts, timeline and refused instances."""
        delivery = self._find(call)
        history = self._services.need_store().history
        plain = delivery_answer(delivery, self._services)
        values = {name: getattr(plain, name) for name in DeliveryAnswer.model_fields if name != "attempts"}
        return DeliveryDetailAnswer(
            **values,
            attempts=[_attempt(row) for row in history.attempts(delivery.id)],
            attempts_count=delivery.attempts,
            alteration=_alteration(delivery),
            timeline=[
                TimelineAnswer(at=row.at, status=row.status, text=row.text) for row in history.timeline(delivery.id)
            ],
            refused_instances=[
                RefusedAnswer(
                    instance_id=row.instance_id,
                    sop_instance_uid=row.sop_instance_uid,
                    at=row.at,
                    code=row.code,
                    message=row.message,
                )
                for row in history.refusals(delivery.id)
            ],
            process=self._process(delivery),
            results_of=delivery.results_of or None,
        )

    def _process(self, delivery: Delivery) -> ProcessAnswer | None:
        stored = self._services.need_store().runs.finished(delivery.id)
        if stored is None:
            return None
        outcome = [OutcomeAnswer(success=success, message=message) for success, message in stored.outcome]
        return ProcessAnswer(outcome=outcome, output=stored.output, not_taken=list(stored.rejected))

    def resend(self, call: Call) -> DeliveryIdAnswer:
        """A new delivery, linked to this one."""
        delivery = self._find(call)
        body: ResendBody = call.body
        target = self._destination(body.destination)
        if not _resendable(delivery, target):
            text = "only one that has ended is sent again; one that waits can be moved to another destination."
            raise HttpError(409, f"Delivery {delivery.id} is {delivery.status}: {text}")
        if self._is_of_gone_rule(target or delivery.destination):
            raise HttpError(409, f"The rule of {delivery.destination} is gone; its command is not run again.")
        made = self._resender().resend(delivery, target, body.instances, call.user)
        if made is None:
            raise HttpError(409, "The same is waiting to be sent already.")
        self._services.ring()
        return DeliveryIdAnswer(id=made, status=Status.SCHEDULED)

    def cancel(self, call: Call) -> DeliveryIdAnswer:
        """A delivery that waits is canceled at once, one that is being sent after the instance under way."""
        delivery = self._find(call)
        try:
            status = self._cancel(delivery.id, call.user)
        except IllegalTransitionError as problem:
            raise HttpError(409, str(problem)) from None
        return DeliveryIdAnswer(id=delivery.id, status=status)

    def resend_many(self, call: Call) -> CountAnswer:
        """All that match and have ended; with a destination also what waits, which is then moved there."""
        body: BulkBody = call.body
        history = self._services.need_store().history
        target = self._destination(body.destination)
        wanted: dict[object, tuple[int, str | None]] = {}  # what is sent -> the newest delivery of it, and how much
        for delivery_id in history.ids(_body_filter(body.filter)):
            delivery = history.get(delivery_id)
            if delivery is None or self._is_of_gone_rule(target or delivery.destination):
                continue
            if _resendable(delivery, target):
                what = _sent_by(delivery, target)
                _, much = wanted.get(what, (0, None))
                wanted[what] = (delivery_id, "All" if delivery.status is Status.COMPLETED else much)
        made = 0
        for delivery_id, much in wanted.values():
            delivery = history.get(delivery_id)
            if delivery is not None:
                made += self._resender().resend(delivery, target, much, call.user) is not None
        self._services.ring()
        return CountAnswer(count=made)

    def cancel_many(self, call: Call) -> CountAnswer:
        """All that match and have not ended."""
        body: BulkBody = call.body
        count = 0
        for delivery_id in self._services.need_store().history.ids(_body_filter(body.filter)):
            try:
                self._cancel(delivery_id, call.user)
            except IllegalTransitionError:
                continue
            count += 1
        return CountAnswer(count=count)

    def _cancel(self, delivery_id: int, user: str) -> Status:
        status = self._services.need_store().queue.cancel(delivery_id, self._services.clock(), user)
        if status is None:
            raise not_found(f"delivery {delivery_id}")
        # While routing is suspended nothing is sent; what was asked for holds at the next start.
        if status is Status.SENDING and self._services.engine is not None:
            self._services.engine.dispatcher.cancel_asked(delivery_id)
        return status

    def _resender(self) -> Resend:
        store = self._services.need_store()
        return Resend(store.queue, store.ledger, store.failover, self._services.clock)

    def _destination(self, name: str | None) -> str | None:
        known = self._services.nameable()
        if name is not None and name not in known:
            problem = Problem("Destination", f'There is no destination "{name}".{nearest(name, known)}')
            raise HttpError(400, problem.message, [problem])
        return name

    def _is_of_gone_rule(self, name: str) -> bool:
        return name.endswith(PROCESS_SUFFIX) and name not in self._services.nameable()

    def _find(self, call: Call) -> Delivery:
        text = call.path["id"]
        number = whole_number(text)
        delivery = None if number is None else self._services.need_store().history.get(number)
        if delivery is None:
            raise not_found(f"delivery {text[:40]}")
        return delivery


def _resendable(delivery: Delivery, target: str | None) -> bool:
    moved = target is not None and target != delivery.destination
    return delivery.status in FINAL or (delivery.status in WAITING and moved)


def _sent_by(delivery: Delivery, target: str | None) -> object:
    """What a resend would send: late instances of a study had deliveries of their own, and all of it is sent once."""
    if delivery.status not in FINAL:
        return delivery.id
    where = target or delivery.destination
    return delivery.level, delivery.resource_id, where, delivery.results_of, resend_options(delivery, where)


def read_filter(query: object) -> Filter:
    """The filter that a query asks for; 400 for what it cannot mean."""
    get = dict(query).get  # type: ignore[call-overload]
    statuses = None
    if get("status"):
        statuses = [_status(name) for name in get("status").split(",")]
    return Filter(
        statuses=statuses,
        rule=get("rule"),
        destination=get("destination"),
        study=get("study"),
        patient=get("patient"),
        accession=get("accession"),
        created_from=_time(get("from"), "from"),
        created_to=_end(get("to"), "to"),
        text=get("q"),
    )


def _body_filter(body: FilterBody) -> Filter:
    values = body.model_dump(exclude_none=True)
    try:
        return read_filter({name.rstrip("_"): value for name, value in values.items()})
    except HttpError as wrong:
        told = [Problem(f"Filter.{each.path.capitalize()}", each.message) for each in wrong.problems]
        raise HttpError(wrong.status, str(wrong), told) from None


def _status(name: str) -> str:
    by_lower = {status.lower(): status for status in Status}
    found = by_lower.get(name.strip().lower())
    if found is None:
        raise HttpError(400, f'"{name}" is not a state.', [Problem("status", f"Legal are: {', '.join(Status)}.")])
    return found


def _time(text: str | None, name: str) -> float | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        message = f'"{text}" is not a time such as 2026-11-22 or 2026-11-22T01:02:03Z.'
        raise HttpError(400, message, [Problem(name, message)]) from None


def _end(text: str | None, name: str) -> float | None:
    """The last moment of what is meant: a day, or, as times are shown, a second."""
    begin = _time(text, name)
    if not text or begin is None:
        return None
    length = DAY if len(text) <= len("2026-11-22") else SECOND
    return begin + length - MICROSECOND if begin.is_integer() else begin


def _integer(text: str | None, name: str, default: int, largest: int | None) -> int:
    if text is None:
        return default
    number = whole_number(text)
    if number is None or number < 1:
        raise HttpError(400, f"{name} must be a number from 1.", [Problem(name, "must be a number from 1.")])
    return min(number, largest) if largest else number


def delivery_answer(delivery: Delivery, services: Services) -> DeliveryAnswer:
    """A delivery as REST shows it."""
    reason, planned = waits(delivery, services)
    error = last_error(delivery.error_class, delivery.error_code, delivery.error_message)
    return DeliveryAnswer(
        id=delivery.id,
        status=delivery.status,
        reason=reason,
        rule=delivery.rule,
        rule_version=delivery.rule_version,
        destination=delivery.destination,
        level=delivery.level,
        resource_id=delivery.resource_id,
        study_instance_uid=delivery.study_instance_uid,
        patient_id=delivery.patient_id,
        patient_name=delivery.patient_name,
        accession_number=delivery.accession_number,
        study_date=delivery.study_date,
        study_description=delivery.study_description,
        modalities=delivery.modalities.split("\\") if delivery.modalities else [],
        remote_aet=delivery.remote_aet,
        called_aet=delivery.called_aet,
        priority=delivery.priority,
        instances_count=delivery.instances_count,
        instances_sent=delivery.instances_sent,
        instances_refused=delivery.instances_refused,
        bytes=delivery.bytes,
        attempts=delivery.attempts,
        created_at=delivery.created_at,
        started_at=delivery.started_at,
        completed_at=delivery.completed_at,
        next_attempt=planned,
        verified=delivery.verified,
        last_error=error,
        resend_of=delivery.resend_of,
    )


def _alteration(delivery: Delivery) -> dict[str, object] | None:
    options = json.loads(delivery.options)
    made = alteration_of(options, options.get("Send", {}))
    return made.told() if made else None


def last_error(error_class: str, code: str, message: str) -> LastErrorAnswer | None:
    """An error as REST shows it, None where there was none."""
    return LastErrorAnswer(class_=error_class, code=code, message=message) if code else None


def _attempt(row: AttemptRow) -> AttemptAnswer:
    return AttemptAnswer(
        number=row.number,
        started_at=row.started_at,
        ended_at=row.ended_at,
        jobs=row.jobs,
        instances_sent=row.instances_sent,
        instances_refused=row.instances_refused,
        error=last_error(row.error_class, row.error_code, row.error_message),
    )
