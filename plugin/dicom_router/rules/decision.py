# SPDX-License-Identifier: AGPL-3.0-or-later
"""All rules on one resource: which match, why, and which destinations follow. Pure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

from dicom_router.rules.facts import Facts
from dicom_router.rules.match import Verdict
from dicom_router.rules.nodes import Seen
from dicom_router.rules.rule import Rule, Send


@runtime_checkable
class HasEvery(Protocol):
    """Facts that read a sample, unless a rule says `"Sample": "Every"`."""

    def every(self) -> Facts:
        """The same facts, read from every instance."""
        ...


class RuleVerdict(NamedTuple):
    """What one rule said. `skipped` tells why it was not looked at, else it is empty."""

    rule: Rule
    verdict: Verdict | None
    skipped: str = ""

    @property
    def matched(self) -> bool:
        """The rule applies."""
        return self.verdict is not None and self.verdict.matched

    def to_json(self) -> dict[str, object]:
        """As REST and the stored decisions show it."""
        told: dict[str, object] = {
            "Rule": self.rule.name,
            "Version": self.rule.version,
            "Origin": self.rule.origin,
            "Matched": self.matched,
            "Send": [send.label for send in self.rule.sends] if self.matched else [],
        }
        altered = {send.label: made.told() for send in self.rule.sends if (made := self.rule.alteration(send))}
        if self.matched and altered:
            told["Altered"] = altered
        if self.verdict is None:
            return told | {"Skipped": self.skipped}
        reasons = self.verdict.to_json()
        return told | {"Failed": reasons["Failed"], "Entries": reasons["Entries"]}


@dataclass(frozen=True)
class Target:
    """A destination that a resource is to be sent to, and the first rule that says so."""

    rule: Rule
    send: Send


@dataclass(frozen=True)
class Decision:
    """What follows for one resource."""

    verdicts: tuple[RuleVerdict, ...]
    targets: tuple[Target, ...]


def decide(rules: Iterable[Rule], facts: Facts, now: datetime) -> Decision:
    """Look at the rules in order; `now` is aware, in the router's time zone. Whatever `facts` raises passes through."""
    verdicts: list[RuleVerdict] = []
    stopped_by = ""
    seen = Seen(facts)
    every = Seen(facts.every()) if isinstance(facts, HasEvery) else seen
    for rule in rules:
        verdict = _look(rule, every if rule.sample_every else seen, now, stopped_by)
        verdicts.append(verdict)
        if verdict.matched and rule.stop:
            stopped_by = rule.name
    return Decision(tuple(verdicts), _targets(verdicts))


def _look(rule: Rule, facts: Seen, now: datetime, stopped_by: str) -> RuleVerdict:
    if not rule.enabled:
        return RuleVerdict(rule, None, "The rule is switched off.")
    if stopped_by:
        return RuleVerdict(rule, None, f'The rule "{stopped_by}" before it says Stop.')
    return RuleVerdict(rule, rule.match.evaluate(facts, now))


def _targets(verdicts: Sequence[RuleVerdict]) -> tuple[Target, ...]:
    """Each destination (or choice among some) once, by the first rule that names it for the same instances."""
    targets: dict[tuple[str, ...], Target] = {}
    for each in verdicts:
        if each.matched:
            for send in each.rule.sends:
                chosen = (each.rule.source.get("Instances"), send.options.get("Instances"))
                made = each.rule.alteration(send)
                anonymous = "anonymous" if made and made.anonymous else ""  # see routing/outlook.py
                key = (send.label, each.rule.level, json.dumps(chosen) if any(chosen) else "", anonymous)
                targets.setdefault(key, Target(each.rule, send))
    return tuple(targets.values())
