# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the routes need of the router; parts are missing while it is suspended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from dicom_router.api.http import HttpError
from dicom_router.backfill import Backfill
from dicom_router.config import Neighbours, RuleParser
from dicom_router.destination import Destination, Kind
from dicom_router.dispatch.dispatcher import Dispatcher
from dicom_router.orthanc_rest import OrthancRest
from dicom_router.problems import Problem
from dicom_router.routing import Routing
from dicom_router.rules.shelf import RuleShelf
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
        parser = self.rule_parser()
        kept = self.need_store().rule_book.living()
        rules = [parser.saved_rule(each.body, f"Rules.{each.name}", each.version) for each in kept]
        self.warnings = [*self.configured_warnings, *parser.problems]
        self.add_destinations(parser.destinations)
        self.shelf.replace_kept(rule for rule in rules if rule is not None)

    def add_destinations(self, named: Mapping[str, Destination]) -> None:
        """Modalities of Orthanc that a rule names without an entry in Destinations."""
        for name, destination in named.items():
            known = self.destinations.get(name)
            if known is None or (known.kind is Kind.PROCESS and known != destination):
                self.destinations[name] = destination
                if self.engine is not None:
                    self.engine.dispatcher.add_destination(destination)

    def ring(self) -> None:
        """Something may be due."""
        if self.engine is not None:
            self.engine.dispatcher.ring()
