# SPDX-License-Identifier: AGPL-3.0-or-later
"""Images that Orthanc receives in a second: without the router, with it, and while it is busy sending.

PYTHONPATH=integration:bench .venv/bin/python bench/receiving.py [--images 200] [--rounds 30]

Sent by DCMTK's storescu over one association, by turns whose order rotates, so that what else the machine does hits all
alike. Each round compares with its own Orthanc without the router; a second one shows how far two of the same kind are
apart.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from receivers import receiver, storescp, storescu_to

from support.latency_proxy import LatencyProxy
from support.orthanc import Orthanc
from support.router import Router
from support.studies import make_study

PLAIN = "without the router"
LINK_DELAY = 0.02  # seconds in each direction
BUSY_IMAGES = 2000  # that the busy router sends all the while, behind a slow link


def measure(images: int, rounds: int) -> list[dict[str, Any]]:
    """Images a second of each case, and the ratio to Orthanc without the router: medians of the rounds."""
    with tempfile.TemporaryDirectory() as folder, storescp(nodelay=True) as port:
        link = LatencyProxy(port, LINK_DELAY)
        plain = Orthanc(Path(folder) / "plain", "PLAIN")
        idle = Router(Path(folder) / "idle", {"PACS": receiver(port)}, rules=[rule("nothing", "NM")])
        busy = Router(Path(folder) / "busy", {"PACS": receiver(link.port)}, rules=[rule("all", "MR")])
        another = Orthanc(Path(folder) / "another", "ANOTHER")
        cases = {
            PLAIN: plain,
            "again without": another,
            "with the router": idle,
            "with the router, which is sending": busy,
        }
        try:
            for each in cases.values():
                each.start()
            keep_busy(busy, Path(folder) / "mr")
            told: dict[str, list[float]] = {name: [] for name in cases}
            for number in range(rounds + 1):
                for name in rotated(list(cases), number):
                    files = Path(folder) / f"{number} {name}"
                    make_study(files, instances=images, pixels=(128, 128))
                    rate = images / store(files, cases[name])
                    shutil.rmtree(files)
                    if number:  # the first round warms up
                        told[name].append(rate)
        finally:
            for each in cases.values():
                each.kill()
            link.close()
    return [
        {"Case": name, "ImagesPerSecond": round(median(rates)), "Ratio": round(median_ratio(rates, told[PLAIN]), 3)}
        for name, rates in told.items()
    ]


def rotated(names: list[str], number: int) -> list[str]:
    """Each comes first in its turn: the first one waits for what the last one left for the disk to do."""
    first = number % len(names)
    return names[first:] + names[:first]


def median_ratio(rates: list[float], base: list[float]) -> float:
    return median(rate / plain for rate, plain in zip(rates, base, strict=True))


def rule(name: str, modality: str) -> dict[str, Any]:
    return {"Name": name, "Match": {"Modality": modality}, "Send": ["PACS"]}


def keep_busy(router: Router, folder: Path) -> None:
    for file in make_study(folder, modality="MR", instances=BUSY_IMAGES).files:
        router.request("POST", "/instances", file.read_bytes())
    router.wait_for_deliveries(lambda found: any(each["Status"] == "Sending" for each in found))


def store(folder: Path, orthanc: Orthanc) -> float:
    """Send all files of a folder; the seconds it took."""
    began = time.perf_counter()
    storescu_to(folder, orthanc.node)
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=30)
    chosen = parser.parse_args()
    for each in measure(chosen.images, chosen.rounds):
        print(json.dumps(each))
