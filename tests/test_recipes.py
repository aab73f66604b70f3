# SPDX-License-Identifier: AGPL-3.0-or-later
"""Each recipe of the documentation does what its table says."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dicom_router.config import Neighbours, parse
from dicom_router.rules.decision import decide
from dicom_router.rules.facts import TagFacts
from dicom_router.rules.rule import Rule

PAGES = Path(__file__).parents[1] / "docs"
NAMES = (
    *("ARCHIVE", "WORKSTATION", "RESEARCH", "PEDIATRICS", "ONCALL", "REPORTS", "QA", "PLANNING"),
    *("PACS1", "PACS2", "READER1", "READER2"),
)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROW = re.compile(r"^\| `(\{.*\})` \| (.*) \|$", re.MULTILINE)
BLOCK = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Recipe:
    """A heading, the configuration below it, and what the table says."""

    title: str
    configuration: dict[str, Any]
    rows: tuple[tuple[dict[str, object], frozenset[str]], ...]

    def __str__(self) -> str:
        return self.title

    @property
    def rules(self) -> tuple[Rule, ...]:
        section = self.configuration.get("Router", {"Rules": [self.configuration]})
        settings, problems = parse(section, Neighbours({name: name for name in NAMES}))
        assert problems == []
        return settings.rules


def recipes() -> Iterator[Recipe]:
    page = (PAGES / "recipes.md").read_text(encoding="utf-8")
    for part in page.split("\n## ")[1:]:
        (block,) = BLOCK.findall(part)
        rows = tuple(
            (json.loads(given), frozenset(re.findall(r"`(\w+)`", where))) for given, where in ROW.findall(part)
        )
        yield Recipe(part.splitlines()[0], json.loads(block), rows)


RECIPES = [*recipes()]


def destinations(rules: tuple[Rule, ...], tags: dict[str, object]) -> set[str]:
    """Where a study with these tags may go; rules of different triggers are looked at apart."""
    found: set[str] = set()
    for trigger in {rule.trigger for rule in rules}:
        mine = [rule for rule in rules if rule.trigger == trigger]
        targets = decide(mine, TagFacts(tags), NOW).targets
        found |= {name for target in targets for name in target.send.members}
    return found


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_recipe_does_what_its_table_says(recipe: Recipe) -> None:
    assert recipe.rows
    for tags, expected in recipe.rows:
        assert destinations(recipe.rules, tags) == expected, tags


def test_there_are_twenty_recipes_each_with_a_number_of_its_own() -> None:
    assert [int(recipe.title.split(".")[0]) for recipe in RECIPES] == [*range(1, 21)]


def test_every_destination_of_a_recipe_is_in_its_table() -> None:
    for recipe in RECIPES:
        sent = {name for rule in recipe.rules for send in rule.sends for name in send.members}
        assert sent == set().union(*(names for _, names in recipe.rows)), recipe.title
