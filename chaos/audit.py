# SPDX-License-Identifier: AGPL-3.0-or-later
"""What modalities were told is stored, against what receivers hold and what the history claims. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

OPEN = frozenset({"Scheduled", "Sending", "Retrying"})


@dataclass(frozen=True)
class Expected:
    """A study that was sent to the router: of its instances, those that the router acknowledged.

    `unanswered`: the others. The router may have stored them before it died; then it routes them too.
    """

    study_uid: str
    acknowledged: frozenset[str]
    unanswered: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Audit:
    """What is wrong after a trial, by destination and SOP Instance UID; `doubled` counts needless second arrivals."""

    lost: tuple[str, ...] = ()
    false_completed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    doubled: int = 0
    instances: int = 0

    @property
    def clean(self) -> bool:
        """Nothing is lost, nothing is claimed that is not so, and nothing was given up."""
        return not (self.lost or self.false_completed or self.failed)


@dataclass
class Result:
    """One trial. `recovery` is the seconds from the end of the fault until everything had arrived."""

    trial: int
    seed: int
    fault: str
    instances: int
    lost: int
    doubled: int
    false_completed: int
    failed: int
    recovery: float
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def audit(
    expected: Iterable[Expected],
    received: Mapping[str, Counter[str]],
    history: Iterable[Mapping[str, Any]],
) -> Audit:
    """`received`: by destination, how often each instance was accepted; `history`: the deliveries of these studies."""
    sent: dict[str, frozenset[str]] = {}
    every: set[str] = set()
    for each in expected:  # late images come in a sending of their own
        sent[each.study_uid] = sent.get(each.study_uid, frozenset()) | each.acknowledged | each.unanswered
        every |= each.acknowledged
    lost = [f"{name} {uid}" for name, counts in received.items() for uid in sorted(every) if not counts[uid]]
    doubled = sum(count - 1 for counts in received.values() for uid, count in counts.items() if uid in every)
    deliveries = [each for each in history if each["StudyInstanceUID"] in sent]
    failed = [f"{each['Destination']} {each['ID']}" for each in deliveries if each["Status"] in ("Failed", "Warning")]
    return Audit(tuple(lost), tuple(_false_claims(sent, received, deliveries)), tuple(failed), doubled, len(every))


def _false_claims(
    sent: Mapping[str, frozenset[str]],
    received: Mapping[str, Counter[str]],
    deliveries: Iterable[Mapping[str, Any]],
) -> Iterable[str]:
    """Deliveries of which the history says more than the receiver has."""
    completed: Counter[tuple[str, str]] = Counter()
    for each in deliveries:
        if each["Status"] == "Completed":
            completed[each["Destination"], each["StudyInstanceUID"]] += each["InstancesSent"]
            if each["InstancesSent"] < each["InstancesCount"]:
                yield f"{each['Destination']} {each['ID']}: {each['InstancesSent']} of {each['InstancesCount']} sent"
    for (name, study), claimed in completed.items():
        arrived = sum(received[name][uid] for uid in sent[study])
        if claimed > arrived:
            yield f"{name} {study}: {claimed} claimed, {arrived} arrived"


def open_deliveries(history: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that have not ended."""
    return [each for each in history if each["Status"] in OPEN]
