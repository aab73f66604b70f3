# SPDX-License-Identifier: AGPL-3.0-or-later
"""A destination that works, alone and beside three that do not.

    PYTHONPATH=integration .venv/bin/python bench/neighbours.py [--images 200]

One of the bad ones refuses connections, one accepts them and never answers, one hangs in the middle of a C-STORE. The
receiver that works is DCMTK's storescp as it comes, about 45 ms an image on one association. Compare the ratios.
"""

import argparse
import json
import socket
import statistics
import tempfile
from pathlib import Path

from receivers import storescp
from sending import routed, seconds, upload

from support.network import DicomNode, free_port
from support.router import Router
from support.scripted_scp import Misbehaviour, ScriptedScp

ROUNDS = 3


def measure(folder: Path, nodes: dict[str, DicomNode], lanes: int, images: int) -> dict[str, float]:
    section = {"Destinations": {name: {"Modality": name, "Associations": 4} for name in nodes}}
    config = {"ConcurrentJobs": lanes, "JobsHistorySize": 1000}
    router = Router(folder / f"router{lanes}", nodes, rules=[], section=section, config=config)
    router.start()
    try:
        study = upload(router, folder / f"study{lanes}", images)
        routed(router, "LIVE", study)
        alone = [seconds(lambda: routed(router, "LIVE", study)) for _ in range(ROUNDS)]
        bad = [name for name in nodes if name != "LIVE"]
        router.router_post(f"/studies/{study}/route", {"Destinations": bad})
        beside = [seconds(lambda: routed(router, "LIVE", study)) for _ in range(ROUNDS)]
        states = {name: router.router_get(f"/destinations/{name}")["State"] for name in nodes}
    finally:
        router.kill()
    ratio = statistics.median(beside) / statistics.median(alone)
    return {
        "ConcurrentJobs": lanes,
        "Alone": round(statistics.median(alone), 2),
        "Beside": round(statistics.median(beside), 2),
        "Ratio": round(ratio, 3),
        "Worst": round(max(beside) / statistics.median(alone), 3),
    } | states


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    images = parser.parse_args().images
    hanging = ScriptedScp("HANGS")
    hanging.on_store(Misbehaviour.HANG)
    silent = socket.create_server(("127.0.0.1", 0), backlog=64)
    with tempfile.TemporaryDirectory() as name, storescp(nodelay=False) as live:
        nodes = {
            "REFUSES": DicomNode("REFUSES", free_port(), "127.0.0.1"),
            "SILENT": DicomNode("SILENT", silent.getsockname()[1], "127.0.0.1"),
            "HANGS": hanging.node,
            "LIVE": DicomNode("RECEIVER", live, "127.0.0.1"),
        }
        for lanes in (2, 8):
            print(json.dumps(measure(Path(name), nodes, lanes, images)), flush=True)
    hanging.close()
    silent.close()


if __name__ == "__main__":
    main()
