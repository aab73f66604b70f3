# SPDX-License-Identifier: AGPL-3.0-or-later
"""`Instances`: which instances of a resource are sent, by the facts about each of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dicom_router.deliveries.delivery import Delivery
from dicom_router.deliveries.instance import Instance
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.rules import index
from dicom_router.rules.keys import Key
from dicom_router.rules.match import Match, compile_match
from dicom_router.rules.rule import Rule, Send
from dicom_router.studies.instances import list_instances
from dicom_router.studies.listings import Listings
from dicom_router.studies.study import ResourceFacts, exists


@dataclass(frozen=True)
class Filter:
    """The `Instances` of a rule and of its Send, which must both hold; `specs` as the user wrote them."""

    matches: tuple[Match, ...] = ()
    specs: tuple[object, ...] = ()
    sample_every: bool = False

    @property
    def everything(self) -> bool:
        """All instances are sent."""
        return not self.matches

    def to_options(self, zone: tzinfo) -> dict[str, object]:
        """As a delivery keeps it, for when it is sent; empty when all instances are."""
        if self.everything:
            return {}
        return {"Instances": list(self.specs), "SampleEvery": self.sample_every, "TimeZone": str(zone)}

    def choose(self, facts: ResourceFacts, now: datetime) -> list[Instance]:
        """The instances that are sent; `now` is aware, in the router's time zone. Raises OrthancError."""
        if self.everything:
            return facts.instances
        return [
            instance
            for instance in facts.instances
            if self._holds(facts.part("Instance", instance.id), facts, instance, now)
        ]

    def _holds(self, part: ResourceFacts, whole: ResourceFacts, instance: Instance, now: datetime) -> bool:
        seen = _OneInstance(part, whole, instance, every=self.sample_every)
        return all(match.evaluate(seen, now).matched for match in self.matches)


def filter_of(rule: Rule, send: Send) -> Filter:
    """What a rule says of the instances that go to one of its destinations."""
    said = [
        (match, spec)
        for match, spec in (
            (rule.instances, rule.source.get("Instances")),
            (send.instances, send.options.get("Instances")),
        )
        if match is not None
    ]
    return Filter(tuple(match for match, _ in said), tuple(spec for _, spec in said), rule.sample_every)


@dataclass(frozen=True)
class Chosen:
    """The instances that a delivery is to bring; `found` is how many its resource has."""

    instances: Sequence[Instance]
    found: int


def chosen(rest: OrthancRest, delivery: Delivery, at: float) -> Chosen:
    """Ask Orthanc what a delivery is to bring at this time (epoch seconds): nothing of what is gone.

    Raises OrthancError.
    """
    try:
        return _chosen(rest, delivery, at)
    except OrthancError as problem:  # a part alone may have been deleted, too
        if problem.not_found and not exists(rest, delivery.level, delivery.resource_id):
            return Chosen([], 0)
        raise


def _chosen(rest: OrthancRest, delivery: Delivery, at: float) -> Chosen:
    kept, now = _kept_filter(delivery, at)
    if kept.everything and delivery.level != "Patient":
        instances = list_instances(rest, delivery.level, delivery.resource_id)
        return Chosen(instances, len(instances))
    facts = ResourceFacts(rest, delivery.resource_id, delivery.level)
    return Chosen(kept.choose(facts, now), len(facts.instances))


def just_listed(delivery: Delivery, at: float, listings: Listings) -> Chosen | None:
    """The same without asking Orthanc, where a look at the resource has listed it a moment ago; else None."""
    # Results enter a study without a look at it that would list them.
    if delivery.results_of or delivery.level == "Patient" or not _kept_filter(delivery, at)[0].everything:
        return None
    instances = listings.find(delivery.level, delivery.resource_id)
    return Chosen(instances, len(instances)) if instances else None


def _kept_filter(delivery: Delivery, at: float) -> tuple[Filter, datetime]:
    options = json.loads(delivery.options)
    specs = options.get("Instances") or []
    matches = [match for spec in specs if (match := compile_match(spec, "Instances")[0]) is not None]
    kept = Filter(tuple(matches), tuple(specs), bool(options.get("SampleEvery")))
    return kept, datetime.fromtimestamp(at, _zone(str(options.get("TimeZone", ""))))


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


class _OneInstance:
    """The facts about one instance: those of its patient, study and series too. What counts is told of the whole."""

    def __init__(self, part: ResourceFacts, whole: ResourceFacts, instance: Instance, *, every: bool) -> None:
        self._part = part
        self._whole = whole
        self._instance = instance
        self._every = every

    def values(self, key: Key) -> tuple[str | None, ...]:
        """One value; of a tag outside of Orthanc's index what its series' first instance says, unless `every`."""
        if key.name in index.COUNTS:
            return self._whole.values(key)
        if index.is_indexed(key):
            return self._part.values(key)
        if self._every:
            self._whole.sampled(key, every=True)
            return tuple(self._part.read(self._instance.id, key) or [None])
        return tuple(self._whole.read_sample(self._instance.series_id, key) or [None])
