# SPDX-License-Identifier: AGPL-3.0-or-later
"""The warnings about rules, as REST shows them: worked out when the rules change, and now and then."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from dicom_router.api.services import Services
from dicom_router.config import effective
from dicom_router.destination import Kind
from dicom_router.orthanc_rest import OrthancError
from dicom_router.problems import Problem
from dicom_router.rules.rule import Origin, Rule
from dicom_router.rules.warnings.checks import Surroundings, rule_warnings

KEPT_SECONDS = 600.0  # reasoning about a thousand rules takes a second
ASKED_SECONDS = 5.0  # what Orthanc knows changes rarely

Known = dict[Kind, frozenset[str]]  # the names that Orthanc knows now, of each kind that it was asked for


@dataclass(frozen=True)
class _Kept:
    rules: tuple[Rule, ...]
    known: Known
    at: float
    told: dict[str, list[Problem]]


class RuleWarnings:
    """The warnings of the active rules, and of rules that might become active."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._kept: _Kept | None = None
        self._loaded: frozenset[str] | None = None
        self._asked: tuple[float, Known] | None = None

    def active(self) -> dict[str, list[Problem]]:
        """By the names of the active rules; paths are below the rule."""
        rules, known, now = tuple(self._services.shelf.all()), self._known(), self._services.clock()
        kept = self._kept
        if kept is None or (kept.rules, kept.known) != (rules, known) or abs(now - kept.at) > KEPT_SECONDS:
            kept = self._kept = _Kept(rules, known, now, self.of(rules))
        return kept.told

    def of(self, rules: Sequence[Rule]) -> dict[str, list[Problem]]:
        """Of any rules, in the order in which they would be looked at."""
        zone: tzinfo = self._services.zone
        now = datetime.fromtimestamp(self._services.clock(), UTC).astimezone(zone)
        around = Surroundings(self._services.destinations, effective, now, self._known(), self._plugins())
        return rule_warnings(rules, around)

    def all(self) -> list[Problem]:
        """Of all active rules, each with its whole path."""
        told = self.active()
        return [
            Problem(f"{place(rule, index)}.{each.path}".rstrip("."), each.message)
            for index, rule in enumerate(self._services.shelf.all())
            for each in told.get(rule.name, [])
        ]

    def _known(self) -> Known:
        """What Orthanc knows now, which may be less than what its configuration said; asked for now and then."""
        now = self._services.clock()
        if self._asked is None or abs(now - self._asked[0]) > ASKED_SECONDS:
            used = {each.kind for each in self._services.destinations.values()}
            told = {kind: self._ask(path) for kind, path in self._lists().items() if kind in used}
            self._asked = now, {kind: names for kind, names in told.items() if names is not None}
        return self._asked[1]

    def _plugins(self) -> frozenset[str] | None:
        """Those that Orthanc has loaded; they stay the same while it runs."""
        if self._loaded is None and self._services.rest is not None:
            with suppress(OrthancError):
                self._loaded = frozenset(self._services.rest.get("/plugins"))
        return self._loaded

    def _lists(self) -> dict[Kind, str]:
        """Orthanc's routes that list the systems of a kind."""
        root = self._services.neighbours.dicom_web_root.strip("/")
        return {Kind.MODALITY: "/modalities", Kind.PEER: "/peers", Kind.DICOM_WEB: f"/{root}/servers"}

    def _ask(self, path: str) -> frozenset[str] | None:
        if self._services.rest is None:
            return None
        try:
            return frozenset(self._services.rest.get(path))
        except OrthancError as problem:
            return frozenset() if problem.not_found else None  # without the DICOMweb plugin there are no servers


def place(rule: Rule, index: int) -> str:
    """Where people find the rule: rules of orthanc.json come first, in its order."""
    return f"Router.Rules[{index}]" if rule.origin is Origin.CONFIG else f"Rules.{rule.name}"


def among(active: Sequence[Rule], fresh: Mapping[str, Rule]) -> list[Rule]:
    """The active rules with the fresh ones in the place of their namesakes, and the new ones at the end."""
    known = {rule.name for rule in active}
    replaced = [fresh.get(rule.name, rule) for rule in active]
    return replaced + [rule for name, rule in fresh.items() if name not in known]
