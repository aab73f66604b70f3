# SPDX-License-Identifier: AGPL-3.0-or-later
"""All that is measured, in one run: results in bench/results.json, tables in docs/performance.md.

PYTHONPATH=plugin:integration:bench .venv/bin/python bench/all.py [--quick] [--only sending,cost]
"""

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cost
import facts
import latency
import receiving
import rules
import scale
import scripts
import sending
import small_studies

from support.orthanc import orthanc_binary

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "bench" / "results.json"
PAGE = REPOSITORY / "docs" / "performance.md"
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Part:
    """One measurement: in full, and small enough for a look in between."""

    name: str
    full: Callable[[], Rows]
    quick: Callable[[], Rows]


FAR = ["NAGLE", "LINK"]
PARTS = (
    Part(
        "sending",
        lambda: sending.measure(200, 512, [1, 2, 4, 8, 16], FAR, 1) + sending.measure(1000, 512, [8], ["FAST"], 5),
        lambda: sending.measure(80, 512, [8], ["LINK", "FAST"], 1),
    ),
    Part(
        "small-images",
        lambda: sending.measure(1000, 128, [8, 16], ["LINK", "FAST"], 1),
        lambda: sending.measure(200, 128, [8], ["FAST"], 1),
    ),
    Part("scripts", lambda: scripts.measure(200), lambda: scripts.measure(30)),
    Part("receiving", lambda: receiving.measure(200, 15), lambda: receiving.measure(50, 1)),
    Part("latency", lambda: latency.measure(200), lambda: latency.measure(20)),
    Part("small-studies", lambda: small_studies.measure(1500), lambda: small_studies.measure(100)),
    Part("facts", lambda: facts.measure(2000, [1, 10]), lambda: facts.measure(200, [1])),
    Part("rules", rules.measure, lambda: rules.measure((10, 1000))),
    Part(
        "scale",
        lambda: scale.measure([10_000, 100_000, 1_000_000], postgresql=True),
        lambda: scale.measure([10_000], postgresql=False),
    ),
    Part("cost", lambda: cost.measure(100_000, 40), lambda: cost.measure(2000, 5)),
)


def main() -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller, in under two minutes; only printed")
    parser.add_argument("--only", default="", help="names of parts; the others keep their results")
    chosen = parser.parse_args()
    wanted = [part for part in PARTS if not chosen.only or part.name in chosen.only.split(",")]
    told = json.loads(RESULTS.read_text()) if RESULTS.exists() and not chosen.quick else {"Parts": {}}
    for part in wanted:
        began = time.monotonic()
        rows = part.quick() if chosen.quick else part.full()
        took = round(time.monotonic() - began)
        print(f"\n{part.name} ({took} s)\n\n{table(rows)}", flush=True)
        told["Parts"][part.name] = {"Load": round(os.getloadavg()[0], 1), "Seconds": took, "Rows": rows}
        if not chosen.quick:
            RESULTS.write_text(json.dumps({"Machine": machine(), "Parts": told["Parts"]}, indent=2) + "\n")
            write_page(told["Parts"])


def machine() -> dict[str, Any]:
    """What it was measured on."""
    version = subprocess.run([orthanc_binary(), "--version"], check=True, capture_output=True, text=True).stdout
    return {
        "Cores": os.cpu_count(),
        "Orthanc": version.split()[1],
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "System": platform.freedesktop_os_release()["PRETTY_NAME"],
    }


def table(rows: Rows) -> str:
    """As Markdown; one for each set of columns."""
    lines: list[str] = []
    columns: list[str] = []
    for row in rows:
        wide = list(row) if len(row) >= len(columns) or not set(row) <= set(columns) else columns
        if wide != columns:
            columns = wide
            lines += ([""] if lines else []) + [_line(columns), _line(["---"] * len(columns))]
        lines.append(_line([_text(row.get(name, "")) for name in columns]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def write_page(parts: dict[str, Any]) -> None:
    """Put the tables between their marks."""
    text = PAGE.read_text()
    for name, told in parts.items():
        begin, end = f"[//]: # ({name})\n", f"[//]: # (end of {name})"
        if begin not in text:
            sys.exit(f"docs/performance.md has no place for {name}")
        head, rest = text.split(begin, 1)
        text = f"{head}{begin}\n{table(told['Rows'])}\n\n{end}{rest.split(end, 1)[1]}"
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
