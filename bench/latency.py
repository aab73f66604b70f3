# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a stable study to its first C-STORE, and from its last C-STORE to Completed in the history.

PYTHONPATH=integration:bench .venv/bin/python bench/latency.py [--studies 200]

Small studies, one after the other while lanes are free. Orthanc's change log tells dates to the second, so a study is
taken for stable when it is first seen there, asked for every ten milliseconds. An image has arrived when DCMTK's
receiver has written its file. Completed is what the side database says, since the history tells seconds.
"""

import argparse
import json
import sqlite3
import tempfile
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from receivers import receiver, storescp

from support.router import Router
from support.store_scu import send
from support.studies import Study, make_study

INSTANCES = 2
BETWEEN_SECONDS = 0.15  # studies
LOOK_SECONDS = 0.01


class Watcher(threading.Thread):
    """Notes when a study first shows up as stable in Orthanc's change log."""

    def __init__(self, router: Router) -> None:
        super().__init__(daemon=True)
        self.stable: dict[str, float] = {}  # Orthanc's ID of a study -> when
        self.ended = threading.Event()
        self._router = router

    def run(self) -> None:
        since = 0
        while not self.ended.wait(LOOK_SECONDS):
            page = self._router.get(f"/changes?since={since}&limit=100")
            now = time.time()
            for row in page["Changes"]:
                if row["ChangeType"] == "StableStudy":
                    self.stable.setdefault(row["ID"], now)
            since = page["Last"]


def measure(studies: int) -> list[dict[str, Any]]:
    """Milliseconds: median and 99th percentile of both."""
    with tempfile.TemporaryDirectory() as folder:
        arrived = Path(folder) / "arrived"
        arrived.mkdir()
        pacs = ExitStack()
        port = pacs.enter_context(storescp(nodelay=True, folder=arrived))
        router = Router(Path(folder) / "router", {"PACS": receiver(port)})
        router.start()
        watcher = Watcher(router)
        watcher.start()
        try:
            made = [make_study(Path(folder) / str(number), instances=INSTANCES) for number in range(studies)]
            for study in made:
                send(study.files, router.node)
                time.sleep(BETWEEN_SECONDS)
            router.wait_until_completed(studies, 120)
            watcher.ended.set()
            watcher.join()
            ids = {row["MainDicomTags"]["StudyInstanceUID"]: row["ID"] for row in router.get("/studies?expand")}
        finally:
            watcher.ended.set()
            router.kill()
            pacs.close()
        first, last = _arrivals(arrived, made)
        with closing(sqlite3.connect(router.folder / "storage" / "router.db")) as database:
            completed = dict(database.execute("SELECT study_instance_uid, completed_at FROM delivery"))
    begin = [1000 * (first[uid] - watcher.stable[ids[uid]]) for uid in first]
    end = [1000 * (completed[uid] - last[uid]) for uid in last]
    return [_row("stable to the first C-STORE", begin), _row("last C-STORE to Completed", end)]


def _arrivals(folder: Path, studies: list[Study]) -> tuple[dict[str, float], dict[str, float]]:
    """When the first and the last image of each study was written; the files are named `CT.` and the UID."""
    times = {file.name.partition(".")[2]: file.stat().st_mtime for file in folder.iterdir()}
    found = {study.uid: sorted(times[uid] for uid in study.sop_instance_uids) for study in studies}
    return {uid: each[0] for uid, each in found.items()}, {uid: each[-1] for uid, each in found.items()}


def _row(case: str, milliseconds: list[float]) -> dict[str, Any]:
    percentile = quantiles(milliseconds, n=100)[98]
    told = {"Studies": len(milliseconds), "MedianMs": round(median(milliseconds)), "Percentile99Ms": round(percentile)}
    return {"Case": case} | told


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    for each in measure(parser.parse_args().studies):
        print(json.dumps(each))
