# SPDX-License-Identifier: AGPL-3.0-or-later
"""One message for all news of a moment, as JSON for programs and as text for people."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_router.alerts.alert import AlertState, News
from dicom_router.alerts.wording import iso, one_line
from dicom_router.deliveries.delivery import Delivery

LONGEST_SUBJECT = 120


@dataclass(frozen=True)
class Sender:
    """Which router tells, of which version."""

    name: str
    version: str
    owner: str  # the same over restarts, different for each Orthanc


@dataclass(frozen=True)
class Message:
    """What a messenger carries."""

    body: dict[str, Any]
    subject: str
    text: str


Find = Callable[[int], Delivery | None]


def compose(news: Sequence[News], sender: Sender, find: Find, now: float, *, patient_data: bool) -> Message:
    """The message; patients are named only with `patient_data`. `find` looks up a delivery."""
    alerts = [_alert(each, sender, find, patient_data=patient_data) for each in news]
    body = {"Router": one_line(sender.name), "Version": sender.version, "SentAt": iso(now), "Alerts": alerts}
    return Message(body, _subject(news, sender), _text(alerts, sender))


def _alert(news: News, sender: Sender, find: Find, *, patient_data: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "ID": _identity(news, sender),
        "Kind": str(news.key.kind),
        "State": str(news.state),
        "Subject": news.key.subject,
        "At": iso(news.at),
        "Message": news.text,
    }
    if news.deliveries:
        found = [(number, find(number)) for number in news.deliveries]
        told["Deliveries"] = [_delivery(number, each, patient_data=patient_data) for number, each in found]
    return told


def _identity(news: News, sender: Sender) -> str:
    """The same when it is told a second time, so that a receiver can tell."""
    parts = (sender.owner, news.key.kind, news.key.subject, news.state, repr(news.at))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _delivery(number: int, delivery: Delivery | None, *, patient_data: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"ID": number, "Address": f"/router/history/{number}"}
    if delivery is None:  # forgotten meanwhile
        return told
    # The error's text is left out: it may be another system's, and name a patient.
    told |= {"Rule": delivery.rule, "Destination": delivery.destination, "ErrorCode": one_line(delivery.error_code)}
    if patient_data:
        told |= {
            "PatientID": one_line(delivery.patient_id),
            "PatientName": one_line(delivery.patient_name),
            "AccessionNumber": one_line(delivery.accession_number),
            "StudyDate": one_line(delivery.study_date),
            "StudyDescription": one_line(delivery.study_description),
            "StudyInstanceUID": one_line(delivery.study_instance_uid),
        }
    return told


def _subject(news: Sequence[News], sender: Sender) -> str:
    """Of a mail: the one thing, or how many there are."""
    if len(news) == 1:
        what = news[0].text
    else:
        begun = sum(each.state is not AlertState.ENDED for each in news)
        ended = len(news) - begun
        what = ", ".join(text for count, text in ((begun, f"{begun} alerts"), (ended, f"{ended} ended")) if count)
    return one_line(f"[{one_line(sender.name, 40)}] {what}", LONGEST_SUBJECT)


def _text(alerts: Sequence[dict[str, Any]], sender: Sender) -> str:
    lines = []
    for alert in alerts:
        lines.append(f"{alert['At']}  {alert['Message']}")
        lines += [_line(each) for each in alert.get("Deliveries", ())]
        lines.append("")
    lines.append(f"From the router in {one_line(sender.name)}; /router/status and /router/history tell more.")
    return "\n".join(lines) + "\n"


def _line(delivery: dict[str, Any]) -> str:
    parts = [f"delivery {delivery['ID']}"]
    parts += [f'rule "{delivery["Rule"]}"'] if delivery.get("Rule") else []
    parts += [str(delivery["ErrorCode"])] if delivery.get("ErrorCode") else []
    names = ("PatientID", "PatientName", "AccessionNumber", "StudyDate", "StudyDescription", "StudyInstanceUID")
    parts += [f"{name} {delivery[name]}" for name in names if delivery.get(name)]
    return "    " + ", ".join(parts)
