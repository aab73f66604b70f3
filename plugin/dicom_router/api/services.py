# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the routes need of the router; parts are missing while it is suspended."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from threading import RLock

from dicom_router.api.http import HttpError
from dicom_router.config import Neighbours, RuleParser
from dicom_router.destination import Destination, Kind, process_name
from dicom_router.dispatch.dispatcher import Dispatcher
from dicom_router.orthanc_rest import OrthancRest
from dicom_router.problems import Problem
from dicom_router.routing.backfill import Backfill
from dicom_router.routing.routing import Routing
from dicom_router.rules.rule import Rule
from dicom_router.rules.shelf import RuleShelf
from dicom_router.store.rule_book import KeptRule
from dicom_router.store.store import Store
from dicom_router.transports.transport import Transport


@dataclass
class Engine:
    """What runs while routing is not suspended."""

    routing: Routing
    dispatcher: Dispatcher
    transport: Transport


@dataclass
class Services:
    """The router as its routes see it."""

    clock: Callable[[], float]
    zone: tzinfo = UTC
    neighbours: Neighbours = field(default_factory=Neighbours)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    configured_warnings: list[Problem] = field(default_factory=list)
    destinations: dict[str, Destination] = field(default_factory=dict)
    shelf: RuleShelf = field(default_factory=lambda: RuleShelf(()))
    database_name: str = ""
    orthanc_version: str = ""
    live_warning: Callable[[], Problem | None] = lambda: None  # what is wrong just now
    store: Store | None = None
    rest: OrthancRest | None = None
    engine: Engine | None = None
    backfill: Backfill | None = None
    kept_rules: Sequence[KeptRule] = ()  # those made over REST, in their order
    unfit_rules: Mapping[str, list[Problem]] = field(default_factory=dict)  # why some of those are not looked at
    changing_rules: AbstractContextManager[bool] = field(default_factory=RLock)  # one change after the other

    def all_warnings(self) -> list[Problem]:
        """What is probably wrong with the configuration, what is wrong just now, and what became of the database."""
        live = self.live_warning()
        told = self.store.damage_told() if self.store else ""
        damage = [Problem("Router.Database", told)] if told else []
        return [*damage, *self.warnings, *([live] if live else [])]

    def need_store(self) -> Store:
        """The database, or 503."""
        if self.store is None:
            raise HttpError(503, "The router has no database now; see /router/status.", self.problems)
        return self.store

    def need_engine(self) -> Engine:
        """What sends, or 503."""
        if self.engine is None:
            raise HttpError(503, "Routing is suspended; see /router/status.", self.problems)
        return self.engine

    def rule_parser(self) -> RuleParser:
        """What reads a rule that comes over REST."""
        return RuleParser(self.neighbours, self.destinations, self.zone)

    def load_rules(self) -> None:
        """Make the rules of the database the active ones; one that no longer holds together is told in `warnings`."""
        with self.changing_rules:
            parser = self.rule_parser()
            rules: list[Rule] = []
            unfit: dict[str, list[Problem]] = {}
            kept = self.need_store().rule_book.living()
            for each in kept:
                before = len(parser.problems)
                rule = parser.saved_rule(each.body, f"Rules.{each.name}", each.version)
                if self.shelf.is_configured(each.name):
                    parser.tell(f"Rules.{each.name}", "gives way to the rule of this name in orthanc.json.")
                elif rule is None:
                    unfit[each.name] = parser.problems[before:]
                else:
                    rules.append(rule)
            self.warnings = [*self.configured_warnings, *parser.problems, *parser.absences]
            self.add_destinations(parser.destinations)
            self.shelf.replace_kept(rules)
            self.kept_rules, self.unfit_rules = kept, unfit

    def add_destinations(self, named: Mapping[str, Destination]) -> None:
        """Modalities of Orthanc that a rule names without an entry in Destinations."""
        for name, destination in named.items():
            known = self.destinations.get(name)
            if known is None or (known.kind is Kind.PROCESS and known != destination):
                self.destinations[name] = destination
                if self.engine is not None:
                    self.engine.dispatcher.add_destination(destination)

    def nameable(self) -> dict[str, Destination]:
        """The destinations that may be named: all but the processes of rules that are gone."""
        living = {process_name(rule.name) for rule in self.shelf.all() if rule.process}
        return {
            name: each for name, each in self.destinations.items() if each.kind is not Kind.PROCESS or name in living
        }

    def ring(self) -> None:
        """Something may be due."""
        if self.engine is not None:
            self.engine.dispatcher.ring()


def twice(rules: Sequence[Mapping[str, object]]) -> list[int]:
    """Which of these rules have the name of one before them."""
    names = [rule.get("Name") for rule in rules]
    return [index for index, name in enumerate(names) if name in names[:index]]
