# SPDX-License-Identifier: AGPL-3.0-or-later
"""The values for which an operator holds, as sets that can be compared. What is not known counts as "may be"."""

import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from pydicom.datadict import dictionary_has_tag, dictionary_VM

from dicom_router.durations import parse_duration
from dicom_router.rules import values
from dicom_router.rules.attributes import sop_class_keyword, sop_class_names, weekday
from dicom_router.rules.keys import Key
from dicom_router.rules.nodes import Test
from dicom_router.rules.operators import NEGATIONS, Predicate, family_of, network

_ANY_MOMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)  # only asked where the answer is the same at every moment
_READERS: Final[Mapping[str, values.Reader]] = {
    "number": values.read_number,
    "date": values.read_date,
    "time": values.read_time,
    "age": values.read_age,
}
_ORDER: Final = ("Lt", "Le", "Gt", "Ge")
Network = IPv4Network | IPv6Network
COUNTED: Final = frozenset({"InstancesCount", "SeriesCount", "PatientAgeYears"})  # whole numbers from 0 on


@dataclass(frozen=True)
class Span:
    """From `low` to `high`; None has no end on that side."""

    low: Any = None
    high: Any = None
    has_low: bool = True
    has_high: bool = True

    @property
    def empty(self) -> bool:
        """Nothing lies in it."""
        if self.low is None or self.high is None:
            return False
        return bool(self.low > self.high or (self.low == self.high and not (self.has_low and self.has_high)))

    def meet(self, other: "Span") -> "Span":
        """What lies in both."""
        low, high = self, self
        if self.low is None or (
            other.low is not None and (other.low, not other.has_low) > (self.low, not self.has_low)
        ):
            low = other
        if self.high is None or (other.high is not None and (other.high, other.has_high) < (self.high, self.has_high)):
            high = other
        return Span(low.low, high.high, low.has_low, high.has_high)

    def within(self, other: "Span") -> bool:
        """All of it lies in `other`."""
        return self.meet(other) == self


@dataclass(frozen=True)
class Affix:
    """Text that a value contains, starts with or ends with."""

    kind: str
    text: str
    folded: bool

    def implies(self, other: "Affix") -> bool:
        """Every value with this one has the other."""
        if self.folded and not other.folded:
            return False
        mine, theirs = _alike(self, other, folded=other.folded)
        if other.kind == "Contains":
            return theirs in mine
        return self.kind == other.kind and (
            mine.startswith(theirs) if self.kind == "StartsWith" else mine.endswith(theirs)
        )

    def excludes(self, other: "Affix") -> bool:
        """No value has both."""
        if self.kind != other.kind or self.kind == "Contains":
            return False
        mine, theirs = _alike(self, other, folded=self.folded or other.folded)
        if self.kind == "StartsWith":
            return not (mine.startswith(theirs) or theirs.startswith(mine))
        return not (mine.endswith(theirs) or theirs.endswith(mine))


def _alike(one: Affix, other: Affix, *, folded: bool) -> tuple[str, str]:
    return (one.text.casefold(), other.text.casefold()) if folded else (one.text, other.text)


@dataclass(frozen=True)
class Region:
    """The values for which a positive operator holds. Each field describes the same set, or is None when it cannot."""

    identity: str  # equal ones are the same set
    everything: bool = False
    predicate: Predicate | None = None  # None where its answer depends on the moment
    texts: frozenset[str] | None = None
    domain: str = ""  # of the spans
    spans: tuple[Span, ...] | None = None
    networks: tuple[Network, ...] | None = None
    affix: Affix | None = None

    @property
    def empty(self) -> bool:
        """No value is in it."""
        return self.spans is not None and all(span.empty for span in self.spans)

    def has(self, text: str) -> bool | None:
        """Whether a value is in it; None when that cannot be told."""
        if self.everything:
            return True
        return None if self.predicate is None else self.predicate(text, _ANY_MOMENT)


EVERYTHING: Final = Region("", everything=True)


def implies(one: Region, other: Region) -> bool:
    """Surely every value in `one` is in `other`."""
    if other.everything or one.empty or one.identity == other.identity:
        return True
    if one.texts is not None:
        return all(other.has(text) for text in one.texts)
    if one.spans is not None and other.spans is not None and one.domain == other.domain:
        return all(span.empty or any(span.within(wide) for wide in other.spans) for span in one.spans)
    if one.networks is not None and other.networks is not None:
        return all(any(_subnet(net, wide) for wide in other.networks) for net in one.networks)
    return one.affix is not None and other.affix is not None and one.affix.implies(other.affix)


def disjoint(one: Region, other: Region) -> bool:
    """Surely no value is in both."""
    if one.empty or other.empty:
        return True
    for listed, wide in ((one, other), (other, one)):
        if listed.texts is not None:
            return all(wide.has(text) is False for text in listed.texts)
    if one.spans is not None and other.spans is not None and one.domain == other.domain:
        return all(mine.meet(theirs).empty for mine in one.spans for theirs in other.spans)
    if one.networks is not None and other.networks is not None:
        return not any(mine.overlaps(theirs) for mine in one.networks for theirs in other.networks)
    return one.affix is not None and other.affix is not None and one.affix.excludes(other.affix)


def _subnet(net: Network, wide: Network) -> bool:
    if isinstance(net, IPv4Network):
        return isinstance(wide, IPv4Network) and net.subnet_of(wide)
    return isinstance(wide, IPv6Network) and net.subnet_of(wide)


# --- from a test -----------------------------------------------------------------------------------------------------


def region_of(test: Test) -> Region:
    """The values that satisfy the positive form of a test."""
    name = NEGATIONS.get(test.operator, test.operator)
    family = family_of(test.key)
    texts = _texts(name, family, test)
    if texts is not None:
        return of_texts(texts, *(_spans(name, family, test) or ("", None)))
    identity = _identity(name, test)
    timeless = family != "moment" and name not in ("NewerThan", "OlderThan")
    domain, spans = _spans(name, family, test) or ("", None)
    if spans is not None and test.key.name in COUNTED:
        spans = tuple(span.meet(Span(0, None)) for span in spans)
    return Region(
        identity,
        predicate=test.predicate if timeless else None,
        domain=domain,
        spans=spans,
        networks=_networks(name, family, test),
        affix=_affix(name, test),
    )


def of_texts(texts: frozenset[str], domain: str = "", spans: tuple[Span, ...] | None = None) -> Region:
    """Just these values."""
    return Region(
        json.dumps(sorted(texts)),
        predicate=lambda value, _now: value in texts,
        texts=texts,
        domain=domain,
        spans=spans,
    )


def _identity(name: str, test: Test) -> str:
    """One value is a list of it, and the order of a list says nothing."""
    expected: object = test.expected
    if name in ("Equals", "In"):
        name, expected = "In", sorted({json.dumps(each, default=str) for each in _operands(name, test)})
    return json.dumps([name, expected, test.ignore_case], default=str)


def _operands(name: str, test: Test) -> list[Any]:
    return list(test.expected) if name == "In" and isinstance(test.expected, list) else [test.expected]


def _texts(name: str, family: str, test: Test) -> frozenset[str] | None:
    if name not in ("Equals", "In"):
        return None
    operands = _operands(name, test)
    if family == "class":
        names = frozenset().union(*(sop_class_names(str(each).strip(" \0")) for each in operands))
        return frozenset(name for name in names if sop_class_keyword(name) == name)
    if family != "text" or test.ignore_case or not all(isinstance(each, str) for each in operands):
        return None
    return frozenset(each.strip(" \0") for each in operands)


def _networks(name: str, family: str, test: Test) -> tuple[Network, ...] | None:
    if family != "address" or name not in ("Equals", "In"):
        return None
    return tuple(network(str(each).strip(" \0")) for each in _operands(name, test))


def _affix(name: str, test: Test) -> Affix | None:
    text = str(test.expected)
    trimmed = {"Contains": text, "StartsWith": text.lstrip(" \0"), "EndsWith": text.rstrip(" \0")}
    return Affix(name, trimmed[name], test.ignore_case) if name in trimmed else None


def _spans(name: str, family: str, test: Test) -> tuple[str, tuple[Span, ...]] | None:
    """The domain and the spans in it."""
    if name in ("NewerThan", "OlderThan"):
        seconds = parse_duration(test.expected)
        return "ago", (Span(None, seconds, True, False) if name == "NewerThan" else Span(seconds, None, False),)
    if name in ("Equals", "In"):
        points = [_point(family, each, test.ignore_case) for each in _operands(name, test)]
        domains = {domain for domain, _value in points}
        if len(domains) != 1 or "" in domains:
            return None
        return domains.pop(), tuple(Span(value, value) for _domain, value in points)
    if name in _ORDER or name == "Between":
        return _ordered(name, family, test)
    return None


def _point(family: str, operand: object, ignore_case: bool) -> tuple[str, Any]:
    text = str(operand).strip(" \0")
    if family == "weekday":
        return "weekday", weekday(text)
    if family in ("text", "name") and not isinstance(operand, str):
        family = "number"
    if family in _READERS:
        return family, _READERS[family](text, UTC)
    if family in ("text", "name"):
        text = values.person_name(text) if family == "name" else text
        return (f"{family} folded", text.casefold()) if ignore_case else (family, text)
    return "", None


def _ordered(name: str, family: str, test: Test) -> tuple[str, tuple[Span, ...]] | None:
    operands = test.expected if name == "Between" and isinstance(test.expected, list) else [test.expected]
    texts = [str(each).strip(" \0") for each in operands]
    if family in ("text", "name") and all(values.read_number(text) is not None for text in texts):
        family = "number"
    limits: list[Any]
    if family in _READERS:
        domain, limits = family, [_READERS[family](text, UTC) for text in texts]
    elif family in ("text", "name"):
        # By its letters, also for a name: the order does not know a name's empty components.
        domain, limits = ("text folded", [text.casefold() for text in texts]) if test.ignore_case else ("text", texts)
    else:
        return None
    if None in limits:
        return None
    return domain, _span_of(name, domain, limits)


def _span_of(name: str, domain: str, limits: list[Any]) -> tuple[Span, ...]:
    if name == "Between":
        low, high = limits
        over_midnight = domain == "time" and operator.gt(low, high)
        return (Span(low, None), Span(None, high)) if over_midnight else (Span(low, high),)
    (limit,) = limits
    included = name in ("Le", "Ge")
    return (Span(None, limit, True, included) if name in ("Lt", "Le") else Span(limit, None, included),)


# Orthanc keeps these once a patient, study or series, and their value multiplicity is 1 (PS3.6).
_SINGLE: Final[Mapping[str, frozenset[str]]] = {
    "StablePatient": frozenset(
        {"PatientID", "PatientName", "PatientBirthDate", "PatientSex", "InstancesCount", "SeriesCount"}
    ),
    "StableStudy": frozenset(
        {
            *("StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "StudyInstanceUID"),
            *("InstitutionName", "ReferringPhysicianName", "RequestedProcedureDescription", "StudyWeekday"),
            "PatientAgeYears",
        }
    ),
    "StableSeries": frozenset(
        {"Modality", "SeriesDescription", "SeriesNumber", "SeriesInstanceUID", "BodyPartExamined", "ProtocolName"}
    ),
}


def _has_one_value(key: Key) -> bool:
    """By its value multiplicity; an element inside of a sequence comes once with each item."""
    return len(key.path) == 1 and dictionary_has_tag(key.path[0]) and dictionary_VM(key.path[0]) == "1"


def single(key: Key, trigger: str) -> bool:
    """What such a trigger brings has at most one value of the key."""
    if trigger == "NewInstance" and (key.kind == "attribute" or _has_one_value(key)):
        return True
    for level, names in _SINGLE.items():
        if key.name in names:
            return True
        if level == trigger:
            return False
    return False
