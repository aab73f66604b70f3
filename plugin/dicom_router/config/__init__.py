# SPDX-License-Identifier: AGPL-3.0-or-later
"""The section `Router` of orthanc.json: its shape as models, its meaning as settings, all problems at once."""

import zoneinfo
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import Any

import tzlocal

from dicom_router.alerts.settings import AlertSettings
from dicom_router.config.alerts import AlertsReader
from dicom_router.config.reading import mapping
from dicom_router.config.rules import RuleReader
from dicom_router.config.sections import (
    AlertsSection,
    DestinationSection,
    EmailSection,
    OptionsSection,
    RouterSection,
    RuleSection,
)
from dicom_router.config.settings import Neighbours, Settings, neighbours
from dicom_router.destination import Destination
from dicom_router.postgres_address import EXAMPLE, is_postgres, read_address
from dicom_router.problems import Problem, nearest
from dicom_router.rules.rule import Origin, Rule
from dicom_router.rules.schedule import both

__all__ = [
    "AlertsSection",
    "DestinationSection",
    "EmailSection",
    "Neighbours",
    "RouterSection",
    "RuleParser",
    "RuleSection",
    "Settings",
    "alert_settings",
    "effective",
    "neighbours",
    "parse",
]

SEND_KEYS = frozenset({"Instances", "Transcode", "When", "From"})  # of a Send, beside a destination's options


def parse(section: object, known: Neighbours) -> tuple[Settings, list[Problem]]:
    """What is right in the section `Router`, and every problem in it: only without any may it be acted upon."""
    return _SectionReader(known).section(section)


def alert_settings(section: object) -> AlertSettings:
    """Whom to tell that routing is suspended, as far as `Alerts` is right whatever else is wrong in the section."""
    return AlertsReader(Neighbours()).alerts(mapping(section).get("Alerts")) or AlertSettings()


class RuleParser:
    """Reads rules that come over REST, or out of the database; `problems` collects what is wrong with them."""

    def __init__(self, known: Neighbours, destinations: Mapping[str, Destination], zone: tzinfo = UTC) -> None:
        self._reader = RuleReader(known)
        self._reader.zone = zone
        self._reader.destinations = dict(destinations)

    @property
    def problems(self) -> list[Problem]:
        """All of them so far."""
        return self._reader.problems

    @property
    def absences(self) -> list[Problem]:
        """Destinations of saved rules that are gone."""
        return self._reader.absences

    def tell(self, path: str, message: str) -> None:
        """One more of them."""
        self._reader.tell(path, message)

    @property
    def destinations(self) -> Mapping[str, Destination]:
        """Those given, and the modalities of Orthanc that the rules name beside them."""
        return self._reader.destinations

    def rule(self, body: object, path: str, version: int = 0) -> Rule | None:
        """The rule; None when it has problems, a failing one of its Tests among them."""
        return self._reader.rule(body, path, Origin.DATABASE, version)

    def saved_rule(self, body: object, path: str, version: int) -> Rule | None:
        """A rule that was right when it was saved. Its Tests may tell of "now", and a destination may be gone since."""
        self._reader.testing, self._reader.keeping = False, True
        try:
            return self._reader.rule(body, path, Origin.DATABASE, version)
        finally:
            self._reader.testing, self._reader.keeping = True, False


class _SectionReader(RuleReader, AlertsReader):
    """Reads the whole section."""

    def section(self, section: object) -> tuple[Settings, list[Problem]]:
        shape = self.model(RouterSection, section, "Router") or RouterSection()
        raw = mapping(section)
        self.whole(raw)
        self.retry = shape.retry.over(self.retry)
        self.zone = self._time_zone(shape.time_zone)
        destinations = mapping(raw.get("Destinations"))
        for name, entry in destinations.items():
            self.destination(name, entry, f"Router.Destinations.{name}")
        rules = self.rules(raw.get("Rules"), [*destinations])
        settings = Settings(
            shape.enable,
            shape.database,
            self.zone,
            self.destinations,
            rules,
            shape.retention.history,
            shape.patient_data,
            self.alerts(raw.get("Alerts")) or AlertSettings(),
        )
        return settings, self.problems

    def whole(self, raw: Mapping[str, Any]) -> None:
        """What the shape does not tell; also when something else in the section is wrong."""
        zone, database = raw.get("TimeZone"), raw.get("Database")
        if isinstance(zone, str) and zone and zone not in zoneinfo.available_timezones():
            hint = nearest(zone, zoneinfo.available_timezones())
            self.tell("Router.TimeZone", f'"{zone}" is not an IANA time zone such as "Europe/Brussels".{hint}')
        if isinstance(database, str):
            self._database(database)

    def _time_zone(self, name: str) -> tzinfo:
        """The zone of that name, or the machine's; UTC for one that there is not."""
        if name:
            return zoneinfo.ZoneInfo(name) if name in zoneinfo.available_timezones() else UTC
        try:
            return tzlocal.get_localzone()
        except Exception:  # noqa: BLE001 - of TZ tzlocal knows names only, and raises whatever others lead it to
            self.tell("Router.TimeZone", 'The machine\'s time zone cannot be told. Name one, like "Europe/Brussels".')
            return UTC

    def _database(self, told: str) -> None:
        if is_postgres(told):
            try:
                read_address(told)
            except ValueError as problem:
                self.tell("Router.Database", str(problem))
        elif told and not told.startswith("sqlite:///"):
            self.tell("Router.Database", f'must be empty, or like "sqlite:///path/to/router.db" or "{EXAMPLE}".')


def effective(destination: Destination, options: Mapping[str, Any], rule_schedule: object = None) -> Destination:
    """The destination with the options of one `Send` and the schedule of its rule, both checked before."""
    reader = RuleReader(Neighbours())
    own = {key: value for key, value in options.items() if key not in SEND_KEYS}
    shape = reader.model(OptionsSection, own, "")
    changed = reader.with_options(destination, shape, "") if shape else destination
    if rule_schedule:
        changed = replace(changed, schedule=both(changed.schedule, reader.schedule(rule_schedule, "")))
    return changed
