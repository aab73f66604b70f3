# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long it takes to learn from Orthanc what rules ask about a large study: keys that its index knows, no files.

PYTHONPATH=plugin:integration:bench .venv/bin/python bench/facts.py [--images 2000] [--series 1,10]

Milliseconds are medians, with the calls to Orthanc and what Python makes of the answers. "sent" is what a rule that
matches needs besides.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from dicom_router.orthanc_rest import HttpRest, extended_find
from dicom_router.rules.keys import parse_key
from dicom_router.studies.study import ResourceFacts
from support.router import Router
from support.studies import make_study

ROUNDS = 25
SMALL = (16, 16)  # pixels; the index does not depend on them
ABOVE = ("StudyDescription", "PatientID", "Modality", "SeriesDescription", "InstancesCount")
EACH = ("SOPClassUID", "TransferSyntaxUID", "RemoteAET", "InstanceNumber")
CASES = {"studies, series": (ABOVE, False), "instances": (ABOVE + EACH, False), "instances, sent": (ABOVE + EACH, True)}


class CountingRest(HttpRest):
    """Counts the calls."""

    calls = 0

    def get(self, path: str, timeout: float = 60.0) -> Any:
        self.calls += 1
        return super().get(path, timeout)

    def ask(self, path: str, body: object) -> Any:
        self.calls += 1
        return super().ask(path, body)


def measure(images: int, series: Sequence[int]) -> list[dict[str, Any]]:
    """One row for each number of series and kind of keys."""
    with tempfile.TemporaryDirectory() as folder:
        router = Router(Path(folder) / "router", {}, rules=[])
        router.start()
        try:
            return [row for count in series for row in _rows(router, Path(folder) / f"study-{count}", images, count)]
        finally:
            router.kill()


def _rows(router: Router, folder: Path, images: int, series: int) -> list[dict[str, Any]]:
    system = router.get("/system")
    for file in make_study(folder, series=series, instances=images // series, pixels=SMALL).files:
        told = router.request("POST", "/instances", file.read_bytes())
    study = told.json["ParentStudy"]
    rest = CountingRest(router.url, "", finds_all=extended_find(system, {}))
    return [
        {"Orthanc": system["Version"], "Images": images, "Series": series, "Keys": name}
        | _measured(rest, study, keys, sent=sent)
        for name, (keys, sent) in CASES.items()
    ]


def _measured(rest: CountingRest, study: str, keys: Sequence[str], *, sent: bool) -> dict[str, float]:
    taken = []
    for _ in range(ROUNDS):
        rest.calls = 0
        began = time.perf_counter()
        facts = ResourceFacts(rest, study)
        for key in keys:
            assert facts.values(parse_key(key))
        assert not sent or facts.instances
        taken.append(1000 * (time.perf_counter() - began))
    return {"Calls": rest.calls, "MedianMs": round(median(taken), 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--series", default="1,10")
    chosen = parser.parse_args()
    for each in measure(chosen.images, [int(count) for count in chosen.series.split(",")]):
        print(json.dumps(each))
