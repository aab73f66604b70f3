# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an editor of rules offers: keys with their operators, values seen lately, destinations."""

from collections import Counter
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field, RootModel

from dicom_router.api.http import Call, Endpoint, HttpError, Parameter
from dicom_router.api.preview import newest_studies
from dicom_router.api.schemas import Schema
from dicom_router.api.services import Services
from dicom_router.destination import Kind
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.problems import Problem
from dicom_router.rules.keys import Key
from dicom_router.rules.nodes import Seen
from dicom_router.rules.privacy import is_about_patient
from dicom_router.rules.vocabulary import Term, search, term
from dicom_router.studies.study import ResourceFacts
from dicom_router.whole_numbers import whole_number

MOST_KEYS = 100
DEFAULT_KEYS = 30
MOST_STUDIES = 200
DEFAULT_STUDIES = 50
MOST_VALUES = 50
INTEGER = {"type": "integer", "minimum": 1}


class RuleKeyAnswer(Schema):
    """A key of `Match`. `Values` is empty unless there are few; `Indexed`: no file is read for it."""

    key: str
    name: str
    tag: str
    vr: str = Field(alias="VR")
    kind: Literal["Tag", "Attribute"]
    level: Literal["Patient", "Study", "Series", "Instance"]
    family: str
    indexed: bool
    operators: list[str]
    values: list[str]


class RuleKeysAnswer(RootModel[list[RuleKeyAnswer]]):
    """Keys, the best first."""


class SeenValueAnswer(Schema):
    """A value, and in how many of the studies it is."""

    value: str
    studies: int


class SeenValuesAnswer(Schema):
    """The values of a key in the last studies, the most frequent first. `Hidden`: patient data is not shown."""

    key: str
    studies: int
    values: list[SeenValueAnswer]
    hidden: bool


class KnownDestinationAnswer(Schema):
    """Something that a rule may name. `Configured`: the router has it, from `Destinations` or from a rule."""

    name: str
    kind: Kind
    configured: bool


class KnownDestinationsAnswer(RootModel[list[KnownDestinationAnswer]]):
    """Those that the router has first, then what else Orthanc knows."""


class VocabularyRoutes:
    """What an editor of rules offers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def endpoints(self) -> list[Endpoint]:
        """The routes."""
        text = Parameter("q", "A part of a keyword, name or number, or a whole key; the usual ones when it is empty")
        limit = Parameter("limit", f"How many, at most {MOST_KEYS}", INTEGER)
        key = Parameter("key", "A key of Match")
        last = Parameter("last", f"In how many studies, at most {MOST_STUDIES}", INTEGER)
        return [
            Endpoint("GET", "/rules-keys", "What a rule may ask for", self.keys, RuleKeysAnswer, None, (text, limit)),
            Endpoint(
                "GET",
                "/rules-values",
                "Values seen in the last studies",
                self.values,
                SeenValuesAnswer,
                None,
                (key, last),
                (503,),
            ),
            Endpoint(
                "GET",
                "/rules-destinations",
                "What a rule may send to",
                self.destinations,
                KnownDestinationsAnswer,
            ),
        ]

    def keys(self, call: Call) -> RuleKeysAnswer:
        """Of DICOM's dictionary and the attributes beside it."""
        limit = _number(call, "limit", DEFAULT_KEYS, MOST_KEYS)
        return RuleKeysAnswer([_answer(each) for each in search(call.query.get("q", ""), limit)])

    def values(self, call: Call) -> SeenValuesAnswer:
        """Asks Orthanc; a tag outside of its index costs a file for each series."""
        found = _term(call.query.get("key", ""))
        routing = self._services.need_engine().routing
        if not routing.patient_data and is_about_patient(found.key):
            return SeenValuesAnswer(key=found.key.name, studies=0, values=[], hidden=True)
        try:
            studies = newest_studies(routing.rest, _number(call, "last", DEFAULT_STUDIES, MOST_STUDIES))
            counts = self._count(routing.rest, studies, found.key)
        except OrthancError as problem:
            raise HttpError(503, f"Orthanc could not be asked: {problem.details}") from None
        values = [SeenValueAnswer(value=value, studies=count) for value, count in counts.most_common(MOST_VALUES)]
        return SeenValuesAnswer(key=found.key.name, studies=len(studies), values=values, hidden=False)

    def destinations(self, _call: Call) -> KnownDestinationsAnswer:
        """By their names in Orthanc's configuration."""
        known = self._services.neighbours
        named: dict[str, KnownDestinationAnswer] = {}
        for name, destination in self._services.nameable().items():
            named[name] = KnownDestinationAnswer(name=name, kind=destination.kind, configured=True)
        kinds = (
            (Kind.MODALITY, sorted(known.modalities)),
            (Kind.PEER, sorted(known.peers)),
            (Kind.DICOM_WEB, sorted(known.dicom_web)),
        )
        for kind, names in kinds:
            for name in names:
                named.setdefault(name, KnownDestinationAnswer(name=name, kind=kind, configured=False))
        return KnownDestinationsAnswer([*named.values()])

    def _count(self, rest: OrthancRest, studies: list[str], key: Key) -> Counter[str]:
        now = datetime.fromtimestamp(self._services.clock(), UTC).astimezone(self._services.zone)
        counts: Counter[str] = Counter()
        for study_id in studies:
            try:
                counts.update(Seen(ResourceFacts(rest, study_id)).found(key, now).texts)
            except OrthancError as problem:
                if not problem.not_found:  # else deleted meanwhile
                    raise
        return counts


def _term(text: str) -> Term:
    try:
        return term(text)
    except ValueError as problem:
        raise HttpError(400, str(problem), [Problem("key", str(problem))]) from None


def _answer(found: Term) -> RuleKeyAnswer:
    return RuleKeyAnswer(
        key=found.key.name,
        name=found.name,
        tag=found.tag,
        vr=found.key.vr,
        kind="Tag" if found.key.kind == "tag" else "Attribute",
        level=found.key.level,
        family=found.family,
        indexed=found.indexed,
        operators=[*found.operators],
        values=[*found.values],
    )


def _number(call: Call, name: str, default: int, most: int) -> int:
    text = call.query.get(name)
    if text is None:
        return default
    number = whole_number(text)
    if number is None or not 1 <= number <= most:
        raise HttpError(400, f"{name} must be a number from 1 to {most}.", [Problem(name, "is not such a number.")])
    return number
