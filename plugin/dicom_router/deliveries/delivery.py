# SPDX-License-Identifier: AGPL-3.0-or-later
"""A delivery: one resource to one destination. Its states, and the table of what may happen in each."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a delivery stands."""

    SCHEDULED = "Scheduled"
    SENDING = "Sending"
    RETRYING = "Retrying"
    COMPLETED = "Completed"
    WARNING = "Warning"
    FAILED = "Failed"
    CANCELED = "Canceled"


WAITING = frozenset({Status.SCHEDULED, Status.RETRYING})
OPEN = WAITING | {Status.SENDING}
FINAL = frozenset(Status) - OPEN


class Event(StrEnum):
    """What can happen to a delivery."""

    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL_TRANSIENT = "fail, transient"
    FAIL_PERMANENT = "fail, permanent"
    GIVE_UP = "give up"  # its time is over while nothing can be sent to its destination
    DEFER = "defer"
    OWNER_LOST = "owner lost"
    CANCEL = "cancel"
    FAIL_OVER = "fail over"
    MOVE = "move"


TRANSITIONS: dict[tuple[Event, Status], frozenset[Status]] = {
    (Event.CLAIM, Status.SCHEDULED): frozenset({Status.SENDING}),
    (Event.CLAIM, Status.RETRYING): frozenset({Status.SENDING}),
    (Event.SUCCEED, Status.SENDING): frozenset({Status.COMPLETED, Status.WARNING}),
    (Event.FAIL_TRANSIENT, Status.SENDING): frozenset({Status.RETRYING, Status.FAILED, Status.CANCELED}),
    (Event.FAIL_PERMANENT, Status.SENDING): frozenset({Status.WARNING, Status.FAILED, Status.CANCELED}),
    (Event.GIVE_UP, Status.SCHEDULED): frozenset({Status.FAILED}),
    (Event.GIVE_UP, Status.RETRYING): frozenset({Status.FAILED}),
    (Event.DEFER, Status.SENDING): frozenset({Status.SCHEDULED, Status.CANCELED}),
    (Event.FAIL_OVER, Status.SCHEDULED): frozenset({Status.CANCELED, Status.SCHEDULED}),
    (Event.FAIL_OVER, Status.RETRYING): frozenset({Status.CANCELED, Status.RETRYING}),
    (Event.MOVE, Status.SCHEDULED): frozenset({Status.CANCELED}),
    (Event.MOVE, Status.RETRYING): frozenset({Status.CANCELED}),
    (Event.OWNER_LOST, Status.SENDING): frozenset({Status.RETRYING, Status.CANCELED}),
    (Event.CANCEL, Status.SCHEDULED): frozenset({Status.CANCELED}),
    (Event.CANCEL, Status.RETRYING): frozenset({Status.CANCELED}),
    (Event.CANCEL, Status.SENDING): frozenset({Status.SENDING}),  # asked for; the attempt's end decides
}


class IllegalTransitionError(Exception):
    """An event that the delivery's state does not allow; nothing was changed."""

    def __init__(self, event: Event, status: Status) -> None:
        super().__init__(f"A delivery that is {status} cannot {event}.")
        self.event = event
        self.status = status


def allowed(event: Event, status: Status) -> frozenset[Status]:
    """The states that `event` may lead to from `status`; raises IllegalTransitionError when it may not happen."""
    try:
        return TRANSITIONS[event, status]
    except KeyError:
        raise IllegalTransitionError(event, status) from None


class Reason(StrEnum):
    """Why a waiting delivery waits."""

    QUEUED = "Waits for a free lane"
    WINDOW = "Waits for its time window"
    DELAY = "Waits for its delay"
    HELD = "The destination does not answer"
    PAUSED = "The destination is paused"
    ROUTER_PAUSED = "The router is paused"
    RETRY = "Waits for the next attempt"
    VERIFYING = "The destination is asked whether it has all"
    DISABLED = "The destination is disabled"
    UNKNOWN = "The destination is not known to Orthanc"


class Priority(StrEnum):
    """Which delivery goes first."""

    LOW = "Low"
    NORMAL = "Normal"
    URGENT = "Urgent"


# Seconds that a priority is worth in the queue: a Low delivery is passed by Normal ones for an hour, then it has
# aged enough to be first. Urgent is worth more than any age.
PRIORITY_WEIGHT = {Priority.LOW: 3600.0, Priority.NORMAL: 0.0, Priority.URGENT: -1e10}
LAST_URGENT_RANK = -1e9  # Urgent ranks lie below, all others above, until the year 2255


def rank(priority: Priority, created_at: float) -> float:
    """The place in the queue, lowest first: the time of creation (epoch seconds), moved by the priority's weight."""
    return created_at + PRIORITY_WEIGHT[priority]


@dataclass(frozen=True)
class Subject:
    """What is delivered, as people know it. Empty where unknown, or where patient data is not to be kept."""

    level: str  # Study, Series or Patient
    resource_id: str
    study_id: str  # the Orthanc study, the unit of the ledger; for a patient-level delivery, the patient
    study_instance_uid: str = ""
    patient_id: str = ""
    patient_name: str = ""
    accession_number: str = ""
    study_date: str = ""
    study_description: str = ""
    modalities: str = ""  # backslash-separated
    remote_aet: str = ""
    called_aet: str = ""


@dataclass(frozen=True)
class NewDelivery:
    """A delivery to be made."""

    subject: Subject
    destination: str
    rule: str
    rule_version: int
    priority: Priority
    due_at: float
    reason: Reason
    instances_count: int
    bytes: int
    options: str = "{}"
    renew: bool = False
    resend_of: int | None = None
    alternates: str = ""
    failover_at: float | None = None
    results_of: int = 0
    content: str = ""  # the mark of the instances that the destination then has; empty: it is sent in any case


@dataclass(frozen=True)
class Delivery:
    """A delivery as it stands. Times are seconds since the epoch."""

    id: int
    status: Status
    reason: str
    rule: str
    rule_version: int
    destination: str
    options: str
    level: str
    resource_id: str
    study_id: str
    alternates: str
    failover_at: float | None
    renew: bool
    priority: Priority
    rank: float
    due_at: float
    ready: bool
    cancel_asked: bool
    owner: str
    lease: str
    lease_until: float
    study_instance_uid: str
    patient_id: str
    patient_name: str
    accession_number: str
    study_date: str
    study_description: str
    modalities: str
    remote_aet: str
    called_aet: str
    instances_count: int
    instances_sent: int
    instances_refused: int
    bytes: int
    attempts: int
    created_at: float
    started_at: float | None
    completed_at: float | None
    verified: str
    error_class: str
    error_scope: str
    error_code: str
    error_message: str
    resend_of: int | None
    untold: bool
    results_of: int = 0  # the delivery to a process whose results are sent; 0 for what was received
    content: str = ""


def subject(delivery: Delivery) -> Subject:
    """What a delivery delivers."""
    return Subject(
        level=delivery.level,
        resource_id=delivery.resource_id,
        study_id=delivery.study_id,
        study_instance_uid=delivery.study_instance_uid,
        patient_id=delivery.patient_id,
        patient_name=delivery.patient_name,
        accession_number=delivery.accession_number,
        study_date=delivery.study_date,
        study_description=delivery.study_description,
        modalities=delivery.modalities,
        remote_aet=delivery.remote_aet,
        called_aet=delivery.called_aet,
    )
