# SPDX-License-Identifier: AGPL-3.0-or-later
"""Images that Orthanc receives in a second: without the router, with it, and while it is busy sending.

PYTHONPATH=integration:bench .venv/bin/python bench/receiving.py [--images 300] [--rounds 5]

Sent by DCMTK's storescu over one association, by turns, so that what else the machine does hits all alike.
"""

import argparse
import json
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

LINK_DELAY = 0.02  # seconds in each direction
BUSY_IMAGES = 2000  # that the busy router sends all the while, behind a slow link


def measure(images: int, rounds: int) -> list[dict[str, Any]]:
    """Images a second of each case, the median of the rounds, and the ratio to Orthanc without the router."""
    with tempfile.TemporaryDirectory() as folder, storescp(nodelay=True) as port:
        link = LatencyProxy(port, LINK_DELAY)
        plain = Orthanc(Path(folder) / "plain", "PLAIN")
        idle = Router(Path(folder) / "idle", {"PACS": receiver(port)}, rules=[rule("nothing", "NM")])
        busy = Router(Path(folder) / "busy", {"PACS": receiver(link.port)}, rules=[rule("all", "MR")])
        cases = {"without the router": plain, "with the router": idle, "with the router, which is sending": busy}
        try:
            for each in cases.values():
                each.start()
            keep_busy(busy, Path(folder) / "mr")
            told: dict[str, list[float]] = {name: [] for name in cases}
            for number in range(rounds + 1):
                for name, orthanc in cases.items():
                    files = Path(folder) / f"{number} {name}"
                    make_study(files, instances=images, pixels=(128, 128))
                    rate = images / store(files, orthanc)
                    if number:  # the first round warms up
                        told[name].append(rate)
        finally:
            for each in cases.values():
                each.kill()
            link.close()
    base = median(told["without the router"])
    return [
        {"Case": name, "ImagesPerSecond": round(median(rates)), "Ratio": round(median(rates) / base, 3)}
        for name, rates in told.items()
    ]


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
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    for each in measure(chosen.images, chosen.rounds):
        print(json.dumps(each))
