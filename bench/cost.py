# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the router costs inside of Orthanc: processor and memory at rest, and with many deliveries waiting.

PYTHONPATH=integration:bench .venv/bin/python bench/cost.py [--waiting 100000] [--seconds 60]

Beside it the same Orthanc without any plugin, and with a Python plugin that does nothing: our part is the difference.
"""

import argparse
import json
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from support.long_history import write_long_history
from support.network import DicomNode, free_port
from support.orthanc import Orthanc, python_plugin
from support.router import Router

TICKS = os.sysconf("SC_CLK_TCK")


def measure(waiting: int, seconds: float) -> list[dict[str, Any]]:
    """One row for each Orthanc: percent of a core, and megabytes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = folder / "empty.py"
        empty.write_text("import orthanc\n")
        python = {"Plugins": [str(python_plugin())], "PythonScript": str(empty)}
        nodes = {"PACS": DicomNode("PACS", free_port(), "127.0.0.1")}
        cases: dict[str, Orthanc] = {
            "Orthanc alone": Orthanc(folder / "alone", "ALONE"),
            "with an empty Python plugin": Orthanc(folder / "empty", "EMPTY", python),
            "with the router": Router(folder / "idle", nodes),
            f"with the router, {waiting} waiting": Router(folder / "waiting", nodes),
        }
        try:
            for orthanc in cases.values():
                orthanc.start()
            _let_wait(list(cases.values())[-1], waiting)
            return _rows(cases, seconds)
        finally:
            for orthanc in cases.values():
                orthanc.kill()


def _let_wait(router: Orthanc, count: int) -> None:
    """Deliveries for a destination that is paused."""
    router.post("/router/destinations/PACS/pause", {})
    router.stop()
    assert isinstance(router, Router)
    database = router.folder / "storage" / "router.db"
    write_long_history(database, count)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE delivery SET status = 'Scheduled', destination = 'PACS', completed_at = NULL, ready = id % 2, "
            "due_at = CASE id % 2 WHEN 1 THEN due_at ELSE unixepoch() + 36000 END"
        )
    router.start()


def _rows(cases: dict[str, Orthanc], seconds: float) -> list[dict[str, Any]]:
    time.sleep(seconds / 4)  # what follows from the start is over
    before = {name: processor_seconds(orthanc.pid) for name, orthanc in cases.items()}
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    rows = []
    for name, orthanc in cases.items():
        used = processor_seconds(orthanc.pid) - before[name]
        rows.append({"Case": name, "CorePercent": round(100 * used / took, 2), "MB": round(_megabytes(orthanc.pid), 1)})
    alone, empty = rows[0], rows[1]
    for row in rows[2:]:
        row["OurCorePercent"] = round(row["CorePercent"] - alone["CorePercent"], 2)
        row["OurMB"] = round(row["MB"] - empty["MB"], 1)
    return rows


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _megabytes(pid: int) -> float:
    """Memory that is this process's own (PSS would share libraries among the four)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel does not tell")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60)
    chosen = parser.parse_args()
    for each in measure(chosen.waiting, chosen.seconds):
        print(json.dumps(each))
