# SPDX-License-Identifier: AGPL-3.0-or-later
"""Images that Orthanc receives in a second: without the router, with it, and while it is busy sending.

PYTHONPATH=integration:bench .venv/bin/python bench/receiving.py [--images 200] [--rounds 30]

Sent by DCMTK's storescu over one association, by turns whose order rotates, so that what else the machine does hits all
alike. A second Orthanc without the router shows how far two of the same kind are apart; one with a Python script that
only listens to changes, and does nothing, shows what Orthanc's Python plugin takes of it.
"""

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from cost import processor_seconds
from receivers import receiver, storescp, storescu_to

from support.latency_proxy import LatencyProxy
from support.orthanc import Orthanc, python_plugin
from support.router import Router
from support.studies import make_study

PLAIN = "without the router"
LINK_DELAY = 0.02  # seconds in each direction
EMPTY_CALLBACK = """
import orthanc

def on_change(change, level, resource):
    pass

orthanc.RegisterOnChangeCallback(on_change)
"""
BUSY_IMAGES = 2000  # that the busy router sends all the while, behind a slow link


def measure(images: int, rounds: int) -> list[dict[str, Any]]:
    """Images a second, the ratio to Orthanc without the router, and Orthanc's processor time; medians of the rounds."""
    with tempfile.TemporaryDirectory() as place, storescp(nodelay=True) as port:
        folder = Path(place)
        link = LatencyProxy(port, LINK_DELAY)
        busy = Router(folder / "busy", {"PACS": receiver(link.port)}, rules=[rule("all", "MR")])
        cases = {
            PLAIN: Orthanc(folder / "plain", "PLAIN"),
            "again without": Orthanc(folder / "another", "ANOTHER"),
            "an empty Python callback": Orthanc(folder / "empty", "EMPTY", scripted(folder / "empty.py")),
            "with the router": Router(folder / "idle", {"PACS": receiver(port)}, rules=[rule("nothing", "NM")]),
            "with the router, which is sending": busy,
        }
        try:
            for each in cases.values():
                each.start()
            keep_busy(busy, folder / "mr")
            turns: dict[str, list[Turn]] = {name: [] for name in cases}
            for number in range(rounds + 1):
                for name in rotated(list(cases), number):
                    turn = store(folder / "study", images, cases[name])
                    if number:  # the first round warms up
                        turns[name].append(turn)
        finally:
            for each in cases.values():
                each.kill()
            link.close()
    return [told(name, turns[name], turns[PLAIN]) for name in cases]


@dataclass(frozen=True)
class Turn:
    """What Orthanc received."""

    images: int
    seconds: float
    processor_seconds: float  # of Orthanc's process


def told(name: str, turns: list[Turn], base: list[Turn]) -> dict[str, Any]:
    return {
        "Case": name,
        "ImagesPerSecond": round(median(turn.images / turn.seconds for turn in turns)),
        "Ratio": round(median(plain.seconds / turn.seconds for turn, plain in zip(turns, base, strict=True)), 3),
        "ProcessorMsPerImage": round(1000 * median(turn.processor_seconds / turn.images for turn in turns), 2),
    }


def scripted(script: Path) -> dict[str, Any]:
    script.write_text(EMPTY_CALLBACK)
    return {"Plugins": [str(python_plugin())], "PythonScript": str(script)}


def rotated(names: list[str], number: int) -> list[str]:
    """Each comes first in its turn: the first one waits for what the last one left for the disk to do."""
    first = number % len(names)
    return names[first:] + names[:first]


def rule(name: str, modality: str) -> dict[str, Any]:
    return {"Name": name, "Match": {"Modality": modality}, "Send": ["PACS"]}


def keep_busy(router: Router, folder: Path) -> None:
    for file in make_study(folder, modality="MR", instances=BUSY_IMAGES).files:
        router.request("POST", "/instances", file.read_bytes())
    router.wait_for_deliveries(lambda found: any(each["Status"] == "Sending" for each in found))


def store(folder: Path, images: int, orthanc: Orthanc) -> Turn:
    """Send a new study."""
    make_study(folder, instances=images, pixels=(128, 128))
    used, began = processor_seconds(orthanc.pid), time.perf_counter()
    storescu_to(folder, orthanc.node)
    turn = Turn(images, time.perf_counter() - began, processor_seconds(orthanc.pid) - used)
    shutil.rmtree(folder)
    return turn


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=30)
    chosen = parser.parse_args()
    for each in measure(chosen.images, chosen.rounds):
        print(json.dumps(each))
