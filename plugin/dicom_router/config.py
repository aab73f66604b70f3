# SPDX-License-Identifier: AGPL-3.0-or-later
"""The section `Router` of orthanc.json: its shape as models, its meaning as settings, all problems at once."""

import re
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any, Literal, TypeVar

import tzlocal
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_pascal

from dicom_router.deliveries.delivery import Priority
from dicom_router.deliveries.retry import RetryPolicy
from dicom_router.destination import Destination, Late, Verify
from dicom_router.durations import parse_duration
from dicom_router.problems import Problem, nearest
from dicom_router.rules.given import run_tests
from dicom_router.rules.match import Match, compile_match
from dicom_router.rules.rule import Choice, Origin, Rule, Send
from dicom_router.rules.schedule import Always, Schedule, both, parse_schedule

NAME = re.compile(r"[A-Za-z0-9 _.\-]{1,64}")
LONGEST_AE_TITLE = 16  # DICOM PS3.5 6.2: AE, no backslash, not only spaces
CHOICE_KEYS = frozenset({"To", "FirstOf", "OneOf", "By", "After", "AndWhenBack"})
SEND_KEYS = frozenset({"Instances", "Transcode", "When", "From"})  # of a Send, beside a destination's options
DEFAULT_AFTER = 600.0  # seconds
LEAST_MEMBERS = 2
# A rule sends what triggers it: what comes with a single instance is that instance (docs/decisions.md).
OWN_LEVEL = {"StableStudy": "Study", "StableSeries": "Series", "StablePatient": "Patient", "NewInstance": "Instance"}
NOT_YET = "is not supported yet by this version of dicom-router"


def _duration(value: object) -> float:
    return parse_duration(value)


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("must be 1 to 64 letters, digits, spaces, or any of _ . -")
    return value


def _ae_title(value: str) -> str:
    if (
        not value.strip()
        or len(value) > LONGEST_AE_TITLE
        or "\\" in value
        or not value.isascii()
        or not value.isprintable()
    ):
        raise ValueError("must be an AE title: 1 to 16 ASCII characters, no backslash")
    return value


Duration = Annotated[float, BeforeValidator(_duration)]
Name = Annotated[str, AfterValidator(_name)]
AeTitle = Annotated[str, AfterValidator(_ae_title)]


Shape = TypeVar("Shape", bound=BaseModel)


class Section(BaseModel):
    """A part of the configuration: PascalCase keys, no unknown ones, no conversion of types."""

    model_config = ConfigDict(alias_generator=to_pascal, extra="forbid", strict=True, frozen=True)


class RetrySection(Section):
    """`Retry`: how failed deliveries are tried again."""

    first: Duration = 30.0
    factor: float = Field(2.0, ge=1, le=100)
    max: Duration = 3600.0
    jitter: float = Field(0.2, ge=0, le=1)
    give_up_after: Duration = 7 * 86400.0

    def over(self, default: RetryPolicy) -> RetryPolicy:
        """The default, with what is said here."""
        return replace(default, **{name: getattr(self, name) for name in self.model_fields_set})


class OptionsSection(Section):
    """What a destination of any kind, and an entry of `Send`, may say."""

    enabled: bool | None = None
    schedule: Any = None
    retry: RetrySection | None = None
    associations: int | None = Field(None, ge=1, le=64)
    priority: Literal["Low", "Normal", "Urgent"] | None = None
    verify: Literal["Accepted", "Counted", "Committed"] | None = None
    late: Literal["New", "All", "Never"] | None = None
    timeout: Duration | None = None
    bandwidth: str | None = None
    local_aet: AeTitle | None = None
    move_originator: AeTitle | None = None


class DestinationSection(OptionsSection):
    """One entry of `Destinations`."""

    modality: str | None = None
    peer: str | None = None
    dicom_web: str | None = None
    folder: str | None = None
    path: str | None = None
    format: Literal["Dicom", "Zip", "Dicomdir", "Png", "Jpeg", "Pdf"] | None = None


class SendSection(OptionsSection):
    """One entry of `Send`, where it is more than a name."""

    to: str | None = None
    transcode: str | None = None
    instances: dict[str, Any] | None = None
    first_of: list[str] | None = None
    after: Duration | None = None
    and_when_back: bool | None = None
    one_of: list[str] | None = None
    by: Literal["Patient"] | None = None
    when: str | None = None
    from_: Literal["Output", "Input"] | None = Field(None, alias="From")


class RuleSection(Section):
    """One entry of `Rules`."""

    name: Name
    description: str = ""
    enabled: bool = True
    trigger: Literal["StableStudy", "StableSeries", "StablePatient", "NewInstance"] = "StableStudy"
    level: Literal["Study", "Series", "Patient"] | None = None
    match: Any = Field(default_factory=dict)
    sample: Literal["Every"] | None = None
    instances: dict[str, Any] = Field(default_factory=dict)
    send: list[Any] = Field(default_factory=list)
    schedule: Any = ""
    delay: Duration = 0.0
    priority: Literal["Low", "Normal", "Urgent"] | None = None
    delete_after_send: bool = False
    modify: dict[str, Any] = Field(default_factory=dict)
    anonymize: dict[str, Any] = Field(default_factory=dict)
    process: dict[str, Any] = Field(default_factory=dict)
    reroute: bool = False
    stop: bool = False
    tests: list[Any] = Field(default_factory=list)


class RetentionSection(Section):
    """`Retention`: how long the history is kept."""

    history: Duration = 90 * 86400.0


class AlertsSection(Section):
    """`Alerts`: whom to tell."""

    webhook: str = ""
    email: dict[str, Any] = Field(default_factory=dict)
    quiet_for: Duration = 900.0
    include_patient_data: bool = False


class RouterSection(Section):
    """The whole section. Destinations and rules are read one by one, so that each tells all of its problems."""

    enable: bool = True
    database: str = ""
    time_zone: str = ""
    destinations: dict[str, Any] = Field(default_factory=dict)
    rules: list[Any] = Field(default_factory=list)
    retry: RetrySection = Field(default_factory=RetrySection)
    retention: RetentionSection = Field(default_factory=RetentionSection)
    alerts: AlertsSection = Field(default_factory=AlertsSection)
    patient_data: bool = True


@dataclass(frozen=True)
class Neighbours:
    """What Orthanc's configuration knows of other systems. `modalities` maps a name to its AE title."""

    modalities: Mapping[str, str] = field(default_factory=dict)
    peers: frozenset[str] = frozenset()
    dicom_web: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Settings:
    """A configuration that holds together."""

    enable: bool = True
    database: str = ""
    time_zone: tzinfo = UTC
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    history: float = 90 * 86400.0  # seconds
    patient_data: bool = True


def neighbours(orthanc: Mapping[str, Any]) -> Neighbours:
    """What Orthanc's own configuration says of modalities, peers and DICOMweb servers."""
    modalities = {name: _aet_of(entry) for name, entry in (orthanc.get("DicomModalities") or {}).items()}
    servers = (orthanc.get("DicomWeb") or {}).get("Servers") or {}
    return Neighbours(modalities, frozenset(orthanc.get("OrthancPeers") or {}), frozenset(servers))


def _aet_of(entry: object) -> str:
    if isinstance(entry, list) and entry:
        return str(entry[0])
    return str(entry.get("AET", "")) if isinstance(entry, dict) else ""


def parse(section: object, known: Neighbours) -> tuple[Settings | None, list[Problem]]:
    """The settings of the section `Router`, or None and every problem in it."""
    return _Parser(known).section(section)


class RuleParser:
    """Reads rules that come over REST, or out of the database; `problems` collects what is wrong with them."""

    def __init__(self, known: Neighbours, destinations: Mapping[str, Destination], zone: tzinfo = UTC) -> None:
        self._parser = _Parser(known)
        self._parser.zone = zone
        self._parser.destinations = dict(destinations)

    @property
    def problems(self) -> list[Problem]:
        """All of them so far."""
        return self._parser.problems

    @property
    def destinations(self) -> Mapping[str, Destination]:
        """Those given, and the modalities of Orthanc that the rules name beside them."""
        return self._parser.destinations

    def rule(self, body: object, path: str, version: int = 0) -> Rule | None:
        """The rule; None when it has problems."""
        return self._parser.rule(body, path, Origin.DATABASE, version)


class _Parser:
    """Collects the problems on its way through the section."""

    def __init__(self, known: Neighbours) -> None:
        self.known = known
        self.problems: list[Problem] = []
        self.destinations: dict[str, Destination] = {}
        self.retry = RetryPolicy()
        self.zone: tzinfo = UTC  # what the tests of rules call now is told in it

    def tell(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))

    def not_yet(self, path: str, what: str) -> None:
        self.tell(path, f"{what} {NOT_YET}.")

    def section(self, section: object) -> tuple[Settings | None, list[Problem]]:
        shape = self.model(RouterSection, section, "Router")
        raw = _mapping(section)
        self.whole(raw)
        if shape is not None:
            self.retry = shape.retry.over(self.retry)
            self.zone = _time_zone(shape.time_zone)
        destinations = _mapping(raw.get("Destinations"))
        for name, entry in destinations.items():
            self.destination(name, entry, f"Router.Destinations.{name}")
        rules = self.rules(raw.get("Rules"), [*destinations])
        if self.problems or shape is None:
            return None, self.problems
        settings = Settings(
            shape.enable,
            shape.database,
            self.zone,
            self.destinations,
            rules,
            shape.retention.history,
            shape.patient_data,
        )
        return settings, []

    def whole(self, raw: Mapping[str, Any]) -> None:
        """What the shape does not tell; also when something else in the section is wrong."""
        zone, database, alerts = raw.get("TimeZone"), raw.get("Database"), _mapping(raw.get("Alerts"))
        if isinstance(zone, str) and zone and zone not in zoneinfo.available_timezones():
            hint = nearest(zone, zoneinfo.available_timezones())
            self.tell("Router.TimeZone", f'"{zone}" is not an IANA time zone such as "Europe/Brussels".{hint}')
        if isinstance(database, str) and database.startswith("postgresql:"):
            self.not_yet("Router.Database", "A PostgreSQL database")
        elif isinstance(database, str) and database and not database.startswith("sqlite:///"):
            self.tell("Router.Database", 'must be empty, or like "sqlite:///path/to/router.db".')
        for key in ("Webhook", "Email"):
            if alerts.get(key):
                self.not_yet(f"Router.Alerts.{key}", "An alert")

    def model(self, kind: type[Shape], value: object, path: str) -> Shape | None:
        try:
            return kind.model_validate(value)
        except ValidationError as wrong:
            for error in wrong.errors(include_url=False):
                self.tell(_path(path, error["loc"]), _sentence(error, kind))
        return None

    # Destinations

    def destination(self, name: str, entry: object, path: str) -> None:
        if not NAME.fullmatch(name):
            self.tell(path, "The name of a destination must be 1 to 64 letters, digits, spaces, or any of _ . -")
        shape = self.model(DestinationSection, entry, path)
        if shape is None:
            return
        self.unsupported_options(shape, path)
        for kind in ("Peer", "DicomWeb", "Folder", "Path", "Format"):
            if isinstance(entry, dict) and kind in entry:
                self.not_yet(f"{path}.{kind}", "A destination other than a modality")
        kinds = [kind for kind in ("Modality", "Peer", "DicomWeb", "Folder") if kind in _mapping(entry)]
        if len(kinds) != 1:
            self.tell(path, "A destination needs exactly one of Modality, Peer, DicomWeb, Folder.")
        if shape.modality is not None:
            self.modality(name, shape, shape.modality, path)

    def modality(self, name: str, shape: DestinationSection, modality: str, path: str) -> None:
        if modality not in self.known.modalities:
            hint = nearest(modality, self.known.modalities)
            self.tell(f"{path}.Modality", f'"{modality}" is not one of Orthanc\'s DicomModalities.{hint}')
            return
        plain = Destination(name, modality, self.known.modalities[modality], retry=self.retry)
        self.destinations[name] = self.with_options(plain, shape, path)

    def with_options(self, destination: Destination, shape: OptionsSection, path: str) -> Destination:
        """The destination, with what `shape` says differently."""
        values: dict[str, Any] = {
            key: value
            for key in ("enabled", "associations", "timeout", "local_aet", "move_originator")
            if (value := getattr(shape, key)) is not None
        }
        values |= {
            key: kind(value)
            for key, kind in (("priority", Priority), ("verify", Verify), ("late", Late))
            if (value := getattr(shape, key)) is not None
        }
        if shape.retry is not None:
            values["retry"] = shape.retry.over(destination.retry)
        if shape.schedule is not None:
            values["schedule"] = self.schedule(shape.schedule, f"{path}.Schedule")
        return replace(destination, **values)

    def unsupported_options(self, shape: OptionsSection, path: str) -> None:
        if shape.bandwidth is not None:
            self.not_yet(f"{path}.Bandwidth", "A limit of the bandwidth")

    def schedule(self, spec: object, path: str) -> Schedule:
        schedule, problems = parse_schedule(spec, path)
        self.problems += problems
        return schedule or Always()

    # Rules

    def rules(self, entries: object, destination_names: Sequence[str]) -> tuple[Rule, ...]:
        found: list[Rule] = []
        names: set[str] = set()
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            path = f"Router.Rules[{index}]"
            name = entry.get("Name") if isinstance(entry, dict) else None
            if isinstance(name, str) and name in names:
                self.tell(f"{path}.Name", f'There is a rule "{name}" already.')
            names.add(str(name))
            rule = self.rule(entry, path, Origin.CONFIG, 1, destination_names)
            if rule is not None:
                found.append(rule)
        return tuple(found)

    def rule(
        self, entry: object, path: str, origin: Origin, version: int, destination_names: Sequence[str] = ()
    ) -> Rule | None:
        """A rule as a user wrote it; None when it has problems, which are collected."""
        before = len(self.problems)
        shape = self.model(RuleSection, entry, path)
        raw = _mapping(entry)
        match = self.match(raw.get("Match", {}), f"{path}.Match")
        names = {*destination_names, *self.destinations}
        sends = [
            self.send(each, f"{path}.Send[{index}]", names)
            for index, each in enumerate(raw["Send"] if isinstance(raw.get("Send"), list) else [])
        ]
        if shape is None:
            return None
        if not sends:
            self.tell(f"{path}.Send", "A rule needs at least one destination.")
        schedule = self.schedule(shape.schedule, f"{path}.Schedule") if shape.schedule else None
        instances = self.instances(shape.instances, f"{path}.Instances")
        self.unsupported_in_rule(shape, path)
        if match is not None:
            self.problems += run_tests(match, shape.tests, f"{path}.Tests", datetime.now(self.zone))
        if len(self.problems) > before or match is None:
            return None
        return Rule(
            name=shape.name,
            match=match,
            sends=tuple(send for send in sends if send is not None),
            source=raw,
            origin=origin,
            version=version,
            enabled=shape.enabled,
            schedule=schedule,
            delay=shape.delay,
            priority=Priority(shape.priority) if shape.priority else None,
            stop=shape.stop,
            trigger=shape.trigger,
            level=shape.level or OWN_LEVEL[shape.trigger],
            instances=instances,
            sample_every=shape.sample == "Every",
            delete_after_send=shape.delete_after_send,
        )

    def match(self, spec: object, path: str) -> Match | None:
        match, problems = compile_match(spec, path)
        self.problems += problems
        return match

    def instances(self, spec: object, path: str) -> Match | None:
        """Which instances are sent; None for all of them."""
        return self.match(spec, path) if spec else None

    def unsupported_in_rule(self, shape: RuleSection, path: str) -> None:
        for key in ("modify", "anonymize", "process", "reroute"):
            if getattr(shape, key):
                self.not_yet(f"{path}.{to_pascal(key)}", to_pascal(key))
        if shape.delete_after_send and shape.trigger in {"StablePatient", "NewInstance"}:
            # A patient's other studies may be under way, and so may the rest of the instance's study.
            self.tell(f"{path}.DeleteAfterSend", "goes with the triggers StableStudy and StableSeries only.")

    def send(self, entry: object, path: str, names: set[str]) -> Send | None:
        if isinstance(entry, str):
            return Send((entry,)) if self.target(entry, path, names) else None
        shape = self.model(SendSection, entry, path)
        if shape is None:
            return None
        for key in ("transcode", "when", "from_"):
            if getattr(shape, key) is not None:
                alias = to_pascal(key.rstrip("_"))
                self.not_yet(f"{path}.{alias}", alias)
        self.unsupported_options(shape, path)
        if shape.schedule is not None:
            self.schedule(shape.schedule, f"{path}.Schedule")
        members = self.members(shape, path, names)
        if members is None:
            return None
        options = {key: value for key, value in _mapping(entry).items() if key not in CHOICE_KEYS}
        return Send(
            members[1],
            options,
            choice=members[0],
            by_patient=shape.by == "Patient",
            after=DEFAULT_AFTER if shape.after is None else shape.after,
            and_when_back=bool(shape.and_when_back),
            instances=self.instances(shape.instances, f"{path}.Instances"),
        )

    def members(self, shape: SendSection, path: str, names: set[str]) -> tuple[Choice, tuple[str, ...]] | None:
        """Whom an entry of Send names, and how it chooses among them."""
        said: dict[Choice, list[str]] = {
            choice: [value] if isinstance(value, str) else value
            for choice, value in (
                (Choice.ONLY, shape.to),
                (Choice.FIRST_OF, shape.first_of),
                (Choice.ONE_OF, shape.one_of),
            )
            if value is not None
        }
        if len(said) != 1:
            self.tell(path, 'needs exactly one of "To", "FirstOf", "OneOf".')
            return None
        ((choice, members),) = said.items()
        for key, needs in (("after", Choice.FIRST_OF), ("and_when_back", Choice.FIRST_OF), ("by", Choice.ONE_OF)):
            if getattr(shape, key) is not None and choice is not needs:
                self.tell(f"{path}.{to_pascal(key)}", f'goes with "{needs}" only.')
        if choice is not Choice.ONLY and (len(members) < LEAST_MEMBERS or len(set(members)) < len(members)):
            self.tell(f"{path}.{choice}", "needs at least two different destinations.")
        place = f"{path}.{choice}"
        known = [
            self.target(name, place if choice is Choice.ONLY else f"{place}[{index}]", names)
            for index, name in enumerate(members)
        ]
        return (choice, tuple(members)) if all(known) else None

    def target(self, name: str, path: str, names: set[str]) -> bool:
        """Whether a rule may send there; a modality of Orthanc needs no entry in Destinations."""
        if name in names:
            return True
        if name in self.known.modalities:
            aet = self.known.modalities[name]
            self.destinations[name] = Destination(name, name, aet, retry=self.retry)
            return True
        if name in self.known.peers or name in self.known.dicom_web:
            self.not_yet(path, "A destination other than a modality")
            return False
        every = {*names, *self.known.modalities}
        self.tell(path, f'There is no destination "{name}".{nearest(name, every)}')
        return False


def effective(destination: Destination, options: Mapping[str, Any], rule_schedule: object = None) -> Destination:
    """The destination with the options of one `Send` and the schedule of its rule, both checked before."""
    parser = _Parser(Neighbours())
    own = {key: value for key, value in options.items() if key not in SEND_KEYS}
    shape = parser.model(OptionsSection, own, "")
    changed = parser.with_options(destination, shape, "") if shape else destination
    if rule_schedule:
        changed = replace(changed, schedule=both(changed.schedule, parser.schedule(rule_schedule, "")))
    return changed


def _time_zone(name: str) -> tzinfo:
    """The zone of that name, or the machine's; UTC for one that there is not."""
    if not name:
        return tzlocal.get_localzone()
    return zoneinfo.ZoneInfo(name) if name in zoneinfo.available_timezones() else UTC


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _path(base: str, location: tuple[int | str, ...]) -> str:
    return base + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)


def _sentence(error: Mapping[str, Any], kind: type[BaseModel]) -> str:
    """pydantic's error in the words of the contract."""
    if error["type"] == "extra_forbidden":
        legal = [str(each.alias) for each in kind.model_fields.values()]
        unknown = str(error["loc"][-1])
        return f'Unknown key "{unknown}".{nearest(unknown, legal) or " Legal are: " + ", ".join(legal) + "."}'
    if error["type"] == "missing":
        return "is required."
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "literal_error":
        return f"must be one of {error['ctx']['expected']}, not {error['input']!r}."
    return f"{error['msg']}, not {error['input']!r}." if "input" in error else str(error["msg"])
