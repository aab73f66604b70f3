# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules that are looked at: those of orthanc.json first, then those made over REST."""

from collections.abc import Iterable, Sequence

from dicom_router.rules.rule import Origin, Rule


class RuleShelf:
    """The active rules; replaced as a whole, so that a reader on another thread sees the old or the new list."""

    def __init__(self, configured: Sequence[Rule]) -> None:
        self._configured = tuple(configured)
        self._put(self._configured)

    def all(self) -> tuple[Rule, ...]:
        """In the order in which they are looked at."""
        return self._rules

    def triggers(self) -> frozenset[str]:
        """What the rules that are switched on wait for. Asked with each instance that Orthanc receives."""
        return self._triggers

    def get(self, name: str) -> Rule | None:
        """By name."""
        return next((rule for rule in self._rules if rule.name == name), None)

    def is_configured(self, name: str) -> bool:
        """It stands in orthanc.json and cannot be changed over REST."""
        return any(rule.name == name for rule in self._configured)

    def replace_kept(self, rules: Iterable[Rule]) -> None:
        """These are now the rules made over REST. One with the name of a rule of orthanc.json gives way to it."""
        kept = [rule for rule in rules if rule.origin is Origin.DATABASE and not self.is_configured(rule.name)]
        self._put((*self._configured, *kept))

    def _put(self, rules: tuple[Rule, ...]) -> None:
        self._rules = rules
        self._triggers = frozenset(rule.trigger for rule in rules if rule.enabled)
