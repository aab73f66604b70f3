# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router's metrics in the text format of Prometheus, made of one look at the router. Labels hold no patient data.

Names follow Prometheus' own advice (Metric and label naming): a prefix, base units, `_total` for what only grows.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from dicom_router.deliveries.delivery import Status
from dicom_router.store.tallies import BUCKETS, MORE, Attempts, OpenDeliveries

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "dicom_router_"
ROUTER_STATES: Final = ("Running", "Paused", "Suspended")
DESTINATION_STATES: Final = ("Up", "Held", "Waiting", "Paused", "Disabled")

Family = Iterator[Metric]


@dataclass(frozen=True)
class DestinationState:
    """`up` is false while the destination does not answer, whatever else keeps it from being sent to."""

    name: str
    up: bool
    state: str


@dataclass(frozen=True)
class Intake:
    """How far the change log has been acted upon, and how many rows Orthanc is ahead; None when it does not say."""

    cursor: int
    settled: int
    behind: int | None


@dataclass(frozen=True)
class Snapshot:
    """The router at one moment; `now` in seconds since the epoch."""

    now: float
    version: str
    orthanc: str
    state: str
    problems: int
    recycling_near: bool = False
    destinations: Sequence[DestinationState] = ()
    intake: Intake | None = None
    deliveries: Sequence[tuple[str, str, str, int]] = ()  # rule, destination, status, number
    decisions: Sequence[tuple[str, bool, int]] = ()  # rule, matched, number
    attempts: Sequence[Attempts] = ()
    waiting: Sequence[OpenDeliveries] = ()
    alerts: Mapping[str, int] = field(default_factory=dict)  # how many of a kind there are now
    unsent_alerts: Mapping[str, int] = field(default_factory=dict)  # how many each channel has yet to be told


def exposition(snapshot: Snapshot) -> bytes:
    """What Prometheus reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(snapshot))
    return generate_latest(registry)


class _Collector(Collector):
    """Every family of metrics of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client."""
        for families in FAMILIES:
            yield from families(self._snapshot)


def _router(snapshot: Snapshot) -> Family:
    yield _gauge("build_info", "The versions that run; always 1", [(_versions(snapshot), 1)])
    states = [({"state": each}, snapshot.state == each) for each in ROUTER_STATES]
    yield _gauge("state", "1 for the state that the router is in", states)
    yield _gauge("configuration_problems", "Mistakes in the configuration", [({}, snapshot.problems)])
    yield _gauge(
        "recycling_near",
        "1 while Orthanc is about to delete its oldest patients and deliveries wait",
        [({}, snapshot.recycling_near)],
    )


def _versions(snapshot: Snapshot) -> dict[str, str]:
    return {"version": snapshot.version, "orthanc": snapshot.orthanc}


def _destinations(snapshot: Snapshot) -> Family:
    up = [({"destination": each.name}, each.up) for each in snapshot.destinations]
    yield _gauge("destination_up", "0 while the destination does not answer", up)
    states = [
        ({"destination": each.name, "state": state}, each.state == state)
        for each in snapshot.destinations
        for state in DESTINATION_STATES
    ]
    yield _gauge("destination_state", "1 for the state that the destination is in", states)


def _queue(snapshot: Snapshot) -> Family:
    depth = [
        ({"rule": each.rule, "destination": each.destination, "status": each.status}, each.number)
        for each in snapshot.waiting
    ]
    yield _gauge("queue_deliveries", "Deliveries that have not ended, by what they do now", depth)
    oldest = {each.name: snapshot.now for each in snapshot.destinations}
    for each in snapshot.waiting:
        oldest[each.destination] = min(oldest.get(each.destination, snapshot.now), each.oldest)
    ages = [({"destination": name}, snapshot.now - made) for name, made in oldest.items()]
    yield _gauge("queue_oldest_age_seconds", "Age of the oldest delivery that has not ended, 0 without one", ages)


def _deliveries(snapshot: Snapshot) -> Family:
    made = [
        ({"rule": rule, "destination": destination}, number)
        for rule, destination, status, number in snapshot.deliveries
        if status == Status.SCHEDULED
    ]
    yield _counter("deliveries_created", "Deliveries that were made", made)
    ended = [
        ({"rule": rule, "destination": destination, "status": status}, number)
        for rule, destination, status, number in snapshot.deliveries
        if status != Status.SCHEDULED
    ]
    yield _counter("deliveries", "Deliveries that have ended, by how", ended)


def _sent(snapshot: Snapshot) -> Family:
    instances: dict[str, int] = {each.name: 0 for each in snapshot.destinations}
    size = dict(instances)
    for each in snapshot.attempts:
        instances[each.destination] = instances.get(each.destination, 0) + each.instances
        size[each.destination] = size.get(each.destination, 0) + each.size
    yield _counter("sent_instances", "Instances that destinations accepted", _by_destination(instances))
    yield _counter("sent_bytes", "Bytes of the instances that destinations accepted", _by_destination(size))


def _by_destination(numbers: Mapping[str, int]) -> list[tuple[dict[str, str], float]]:
    return [({"destination": name}, number) for name, number in numbers.items()]


def _attempts(snapshot: Snapshot) -> Family:
    by_key: dict[tuple[str, str], list[Attempts]] = defaultdict(list)
    for each in snapshot.attempts:
        by_key[each.destination, each.result].append(each)
    family = HistogramMetricFamily(
        f"{PREFIX}attempt_duration_seconds", "How long attempts took", labels=["destination", "result"]
    )
    for key, attempts in sorted(by_key.items()):
        numbers = {each.bucket: each.number for each in attempts}
        seconds = sum(each.seconds for each in attempts)
        family.add_metric(list(key), list(_cumulative(numbers)), seconds)
    yield family


def _cumulative(numbers: Mapping[str, int]) -> Iterator[tuple[str, float]]:
    """A bucket of Prometheus counts what the smaller ones count too."""
    total = 0
    for label in (f"{bound:g}" for bound in BUCKETS):
        total += numbers.get(label, 0)
        yield label, total
    yield MORE, sum(numbers.values())


def _decisions(snapshot: Snapshot) -> Family:
    found = [({"rule": rule, "matched": str(matched).lower()}, number) for rule, matched, number in snapshot.decisions]
    yield _counter("decisions", "How often a rule was looked at, by whether it matched", found)


def _intake(snapshot: Snapshot) -> Family:
    intake = snapshot.intake
    if intake is None:
        return
    yield _gauge("intake_cursor", "The row of Orthanc's change log that was acted upon last", [({}, intake.cursor)])
    yield _gauge(
        "intake_settled_cursor", "The row up to which all instances have been looked at", [({}, intake.settled)]
    )
    if intake.behind is not None:
        yield _gauge("intake_lag_changes", "Rows of Orthanc's change log that wait to be read", [({}, intake.behind)])


def _alerts(snapshot: Snapshot) -> Family:
    yield _gauge("alerts", "Alerts that hold now", [({"kind": kind}, n) for kind, n in snapshot.alerts.items()])
    unsent = [({"channel": channel}, number) for channel, number in snapshot.unsent_alerts.items()]
    yield _gauge("alerts_unsent", "Alerts that could not be told yet", unsent)


FAMILIES: tuple[Callable[[Snapshot], Family], ...] = (
    _router,
    _destinations,
    _queue,
    _deliveries,
    _sent,
    _attempts,
    _decisions,
    _intake,
    _alerts,
)

Samples = Iterable[tuple[Mapping[str, str], float]]


def _gauge(name: str, text: str, samples: Samples) -> Metric:
    return _filled(GaugeMetricFamily(PREFIX + name, text), samples)


def _counter(name: str, text: str, samples: Samples) -> Metric:
    """`_total` is added by the library."""
    return _filled(CounterMetricFamily(PREFIX + name, text), samples, "_total")


def _filled(family: Metric, samples: Samples, suffix: str = "") -> Metric:
    for labels, value in samples:
        family.add_sample(family.name + suffix, dict(labels), float(value))
    return family
