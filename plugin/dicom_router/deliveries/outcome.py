# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a send ended: one table from what Orthanc and the destination say to what the router does about it."""

import re
from dataclasses import dataclass
from enum import StrEnum

INTERRUPTED = "Interrupted"  # the code of what was under way when the router ended
PROCESS_FAILED = "ProcessFailed"  # the code of a process whose outcome is `failed`


class ErrorClass(StrEnum):
    """Whether trying again makes sense."""

    TRANSIENT = "Transient"
    PERMANENT = "Permanent"


class Scope(StrEnum):
    """Whom an error blames."""

    DESTINATION = "Destination"  # it cannot be reached or refuses to talk: nothing else will get through either
    ASSOCIATION = "Association"  # it broke while this instance was sent: the next ones may get through
    INSTANCE = "Instance"  # it answered about this instance


@dataclass(frozen=True)
class SendError:
    """Why a send did not succeed. `code` is short and stable (`0xA700`, `ConnectionFailed`)."""

    error_class: ErrorClass
    scope: Scope
    code: str
    message: str

    @classmethod
    def interrupted(cls) -> "SendError":
        """The router ended while it was sending."""
        return cls.passing(INTERRUPTED, "The router was restarted while it was sending.")

    @classmethod
    def refusal(cls, code: str, message: str) -> "SendError":
        """An instance that the destination will not have."""
        return cls(ErrorClass.PERMANENT, Scope.INSTANCE, code, message)

    @classmethod
    def passing(cls, code: str, message: str) -> "SendError":
        """Something that says nothing about the way to the destination, and may go better next time."""
        return cls(ErrorClass.TRANSIENT, Scope.INSTANCE, code, message)

    @property
    def permanent(self) -> bool:
        """True when trying again would be refused again."""
        return self.error_class is ErrorClass.PERMANENT


TRANSIENT, PERMANENT = ErrorClass.TRANSIENT, ErrorClass.PERMANENT

# DICOM PS3.4 table B.2-1 (C-STORE) and PS3.7 annex C (general statuses), as (mask, value) of the DIMSE status.
ACCEPTED_STATUSES = (
    (0xFFFF, 0x0000),  # Success
    (0xF000, 0xB000),  # Warning: coercion, elements discarded, data set does not match SOP class
    (0xFFFF, 0x0111),  # Duplicate SOP instance: it is there. Orthanc itself accepts this since 1.12.4 only
)
STATUS_CLASSES = (
    (0xFF00, 0xA700, TRANSIENT),  # Refused: out of resources
    (0xFF00, 0xA900, PERMANENT),  # Data set does not match SOP class
    (0xF000, 0xC000, PERMANENT),  # Cannot understand
    (0xFFFF, 0x0122, TRANSIENT),  # SOP class not supported: some archives say so while they start; once, see RETRY_ONCE
)
RETRY_ONCE = frozenset({"0x0122"})

# Texts of Orthanc (DicomAssociation.cpp, CheckCondition) and of DCMTK (dul.h, assoc.h, cond.h); first match wins.
# (pattern, class, scope, code)
TEXTS: tuple[tuple[re.Pattern[str], ErrorClass, Scope, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), error_class, scope, code)
    for pattern, error_class, scope, code in (
        (r"no (acceptable |valid )?presentation", PERMANENT, Scope.INSTANCE, "NoPresentationContext"),
        (r"connecting to AET .*(rejected)", TRANSIENT, Scope.DESTINATION, "AssociationRejected"),
        (r"connecting to AET .*(refused)", TRANSIENT, Scope.DESTINATION, "ConnectionRefused"),
        (r"connecting to AET .*(timeout|timed out)", TRANSIENT, Scope.DESTINATION, "ConnectionTimeout"),
        (r"connecting to AET", TRANSIENT, Scope.DESTINATION, "ConnectionFailed"),
        (r"peer aborted|aborted association|DUL.*abort", TRANSIENT, Scope.ASSOCIATION, "Aborted"),
        (r"timeout|timed out|no data available", TRANSIENT, Scope.ASSOCIATION, "Timeout"),
        (r"network|connection|socket|closed|broken pipe|DIMSE|DUL", TRANSIENT, Scope.ASSOCIATION, "ConnectionLost"),
    )
)  # fmt: skip

ORTHANC_CANCELED_JOB = 37  # Orthanc, Enumerations.h: ErrorCode_CanceledJob
ORTHANC_NO_PRESENTATION_CONTEXT = 2015  # Enumerations.h: ErrorCode_NoPresentationContext

# HTTP: RFC 9110 section 15, RFC 6585 (429), RFC 4918 (507). What STOW-RS says with them: PS3.18 table 10.5.3-1.
# A server that cannot be talked to as a whole is the destination's trouble, and may be mended there or in Orthanc's
# configuration: passing. What is not here blames the instance, and is passing, as all that is unknown.
HTTP_STATUSES: dict[int, tuple[ErrorClass, Scope, str]] = {
    301: (TRANSIENT, Scope.DESTINATION, "is elsewhere; correct the URL"),
    302: (TRANSIENT, Scope.DESTINATION, "is elsewhere; correct the URL"),
    307: (TRANSIENT, Scope.DESTINATION, "is elsewhere; correct the URL"),
    308: (TRANSIENT, Scope.DESTINATION, "is elsewhere; correct the URL"),
    400: (PERMANENT, Scope.INSTANCE, "cannot make sense of the instance"),
    401: (TRANSIENT, Scope.DESTINATION, "refuses the user name or the password"),
    403: (TRANSIENT, Scope.DESTINATION, "does not allow this user to send"),
    404: (TRANSIENT, Scope.DESTINATION, "has nothing at this URL; correct it"),
    405: (TRANSIENT, Scope.DESTINATION, "takes nothing at this URL; correct it"),
    407: (TRANSIENT, Scope.DESTINATION, "is behind a proxy that refuses the user name or the password"),
    408: (TRANSIENT, Scope.ASSOCIATION, "has waited too long for the instance"),
    409: (PERMANENT, Scope.INSTANCE, "cannot store the instance"),
    410: (TRANSIENT, Scope.DESTINATION, "has nothing at this URL any more; correct it"),
    413: (PERMANENT, Scope.INSTANCE, "finds the instance too large"),
    415: (PERMANENT, Scope.INSTANCE, "does not take this kind of instance"),
    422: (PERMANENT, Scope.INSTANCE, "cannot store the instance"),
    429: (TRANSIENT, Scope.DESTINATION, "is asked too often"),
    501: (TRANSIENT, Scope.DESTINATION, "cannot be sent to at this URL; correct it"),
    502: (TRANSIENT, Scope.DESTINATION, "is a proxy whose server does not answer"),
    503: (TRANSIENT, Scope.DESTINATION, "is not available now"),
    504: (TRANSIENT, Scope.DESTINATION, "is a proxy whose server does not answer"),
    507: (TRANSIENT, Scope.INSTANCE, "is out of storage"),
}
HTTP_SUCCESS = range(200, 300)

# What Orthanc passes on of libcurl (HttpClient.cpp, "libCURL error: ..."; the texts are those of curl_easy_strerror).
CURL_TEXTS: tuple[tuple[re.Pattern[str], ErrorClass, Scope, str], ...] = tuple(
    (re.compile(rf"libCURL error: .*({pattern})", re.IGNORECASE), TRANSIENT, scope, code)
    for pattern, scope, code in (
        (r"resolve", Scope.DESTINATION, "UnknownHost"),
        (r"connect to server", Scope.DESTINATION, "ConnectionRefused"),
        (r"SSL|TLS|certificate", Scope.DESTINATION, "TlsFailed"),
        (r"timeout|timed out", Scope.ASSOCIATION, "Timeout"),
        (r"", Scope.ASSOCIATION, "ConnectionLost"),
    )
)

_DIMSE_STATUS = re.compile(r"DIMSE status 0x([0-9a-fA-F]{1,4})")


def dimse_status(details: str, payload_status: int | None = None) -> int | None:
    """The DIMSE status of a failed C-STORE: from the error payload (Orthanc 1.12.10 and later), else from the text."""
    if payload_status is not None:
        return payload_status
    found = _DIMSE_STATUS.search(details)
    return int(found[1], 16) if found else None


def accepted(status: int) -> bool:
    """True when the destination has the instance although Orthanc may call it a failure."""
    return any(status & mask == value for mask, value in ACCEPTED_STATUSES)


def classify(orthanc_code: int, details: str, payload_status: int | None = None) -> SendError:
    """What a failed job or call means.

    `orthanc_code` is Orthanc's `ErrorCode`, `details` its text, `payload_status` the DIMSE status where the core
    tells it apart. What is not in the tables is transient: an unknown error must not lose a study.
    """
    status = dimse_status(details, payload_status)
    if status is not None:
        return of_status(status)
    if orthanc_code == ORTHANC_NO_PRESENTATION_CONTEXT:
        text = "The destination accepts no presentation context for this SOP class and transfer syntax."
        return SendError(PERMANENT, Scope.INSTANCE, "NoPresentationContext", text)
    for pattern, error_class, scope, code in TEXTS:
        if pattern.search(details):
            return SendError(error_class, scope, code, details)
    return SendError(TRANSIENT, Scope.INSTANCE, f"Orthanc{orthanc_code}", details or "Orthanc gave no reason.")


def of_status(status: int) -> SendError:
    """What a DIMSE status means that is no success; STOW-RS uses the same as failure reasons (PS3.18 table I.2-2)."""
    code = f"0x{status:04X}"
    for mask, value, error_class in STATUS_CLASSES:
        if status & mask == value:
            return SendError(error_class, Scope.INSTANCE, code, _STATUS_TEXTS[mask, value].format(code))
    return SendError(TRANSIENT, Scope.INSTANCE, code, f"The destination answered with status {code}.")


def of_http_status(status: int, told: str = "") -> SendError:
    """What an HTTP status means that is no success; `told` is what the server says to it."""
    unknown = TRANSIENT, Scope.INSTANCE, "has not taken the instance"
    error_class, scope, text = HTTP_STATUSES.get(status, unknown)
    said = f": {told}" if told else "."
    return SendError(error_class, scope, f"Http{status}", f"The server {text} (HTTP status {status}){said}")


def of_curl(details: str) -> SendError | None:
    """What Orthanc says of a connection over HTTP; None when it says nothing of the kind."""
    for pattern, error_class, scope, code in CURL_TEXTS:
        if pattern.search(details):
            return SendError(error_class, scope, code, details)
    return None


_STATUS_TEXTS = {
    (0xFF00, 0xA700): "The destination is out of resources ({}).",
    (0xFF00, 0xA900): "The destination says that the data set does not match its SOP class ({}).",
    (0xF000, 0xC000): "The destination cannot understand the instance ({}).",
    (0xFFFF, 0x0122): "The destination does not support the SOP class ({}).",
}
