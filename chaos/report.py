# SPDX-License-Identifier: AGPL-3.0-or-later
"""The table of a run, and docs/reliability.md. Pure but for `write`."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "## Figures\n", "\n## "
Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """The results of all runs so far, a line each."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def by_fault(results: Iterable[Row]) -> dict[str, list[Row]]:
    """In the order of their first appearance."""
    found: dict[str, list[Row]] = defaultdict(list)
    for each in results:
        found[each["fault"]].append(each)
    return dict(found)


def table(results: Sequence[Row]) -> str:
    """Markdown: a line for each fault, and the sum."""
    lines = [
        '| fault | trials | instances | lost | false "Completed" | doubled | longest recovery |',
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_line(fault, rows) for fault, rows in sorted(by_fault(results).items())]
    return "\n".join([*lines, _line("**all**", results)]) + "\n"


def _line(name: str, rows: Sequence[Row]) -> str:
    total = {key: sum(row[key] for row in rows) for key in ("instances", "lost", "false_completed", "doubled")}
    longest = max((row["recovery"] for row in rows), default=0.0)
    return (
        f"| {name} | {len(rows)} | {total['instances']} | {total['lost']} | {total['false_completed']} "
        f"| {total['doubled']} | {longest:.1f} s |"
    )


def write(results: Sequence[Row], page: Path) -> None:
    """Make the table the chapter "Figures" of the page."""
    head, rest = page.read_text(encoding="utf-8").split(BEGIN)
    tail = rest.partition(END)[2]
    page.write_text(f"{head}{BEGIN}\n{table(results)}{END}{tail}", encoding="utf-8")
