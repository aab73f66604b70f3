# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast a study reaches a destination: storescu, one Orthanc job, hand-driven parallel jobs, and the router.

PYTHONPATH=integration:bench .venv/bin/python bench/sending.py [--images 1000] [--pixels 512] [--associations 1,8]

All in one run on one machine; compare the ratios, not the seconds. The receivers are DCMTK's storescp, which throws
away what it receives: as it comes (its answers are held back by Nagle's algorithm), with TCP_NODELAY, and behind a link
with 40 ms of round trip.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from receivers import LIMIT_SECONDS, job, receiver, storescp, storescu_to, wait_for_jobs

from support.latency_proxy import LatencyProxy
from support.router import Router
from support.studies import make_study
from support.waiting import wait_until

LINK_DELAY = 0.02  # seconds in each direction
RECEIVERS = {"NAGLE": "Nagle's delay", "LINK": "40 ms of round trip", "FAST": "local, TCP_NODELAY"}


def one_job(router: Router, name: str, study: str) -> None:
    wait_for_jobs(router, [job(router, name, [study])])


def by_hand(router: Router, name: str, study: str, associations: int) -> None:
    """The limit: as many jobs as associations, each with its equal part of the instances."""
    instances = [each["ID"] for each in router.get(f"/studies/{study}/instances")]
    wait_for_jobs(router, [job(router, name, instances[start::associations]) for start in range(associations)])


def routed(router: Router, name: str, study: str) -> None:
    (delivery,) = router.router_post(f"/studies/{study}/route", {"Destinations": [name]})["Deliveries"]
    ended = {"Completed", "Warning", "Failed"}
    wait_until(lambda: router.router_get(f"/history/{delivery}")["Status"] in ended, LIMIT_SECONDS, "delivered")
    assert router.router_get(f"/history/{delivery}")["Status"] == "Completed"


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def upload(router: Router, folder: Path, images: int, pixels: int = 512) -> str:
    study = make_study(folder, instances=images, pixels=(pixels, pixels))
    for file in study.files:
        router.request("POST", "/instances", file.read_bytes())
    found: list[str] = router.get("/studies")
    return found[0]


def measure(
    images: int, pixels: int, associations: Sequence[int], receivers: Sequence[str], rounds: int
) -> list[dict[str, Any]]:
    """For each receiver and number of associations one row, in seconds."""
    with tempfile.TemporaryDirectory() as folder, storescp(nodelay=False) as slow, storescp(nodelay=True) as fast:
        link = LatencyProxy(fast, LINK_DELAY)
        ports = {"NAGLE": slow, "LINK": link.port, "FAST": fast}
        destinations = {
            f"{name} {count}": {"Modality": name, "Associations": count} for name in ports for count in associations
        }
        router = Router(
            Path(folder) / "router",
            {name: receiver(port) for name, port in ports.items()},
            rules=[],
            section={"Destinations": destinations},
            config={"ConcurrentJobs": 32, "JobsHistorySize": 1000},
        )
        router.start()
        try:
            files = Path(folder) / "study"
            study = upload(router, files, images, pixels)
            rows = []
            for name in receivers:
                alone = seconds(lambda port=ports[name]: storescu_to(files, receiver(port)))
                single = seconds(lambda name=name: one_job(router, name, study))
                for count in associations:
                    told = _compared(router, study, name, count, rounds)
                    row = {"Receiver": RECEIVERS[name], "Images": images, "KB": pixels * pixels * 2 // 1024}
                    row |= {"Associations": count, "Storescu": round(alone, 2), "OneJob": round(single, 2)} | told
                    rows.append(row | {"FasterThanOneJob": round(single / told["Router"], 2)})
            return rows
        finally:
            router.kill()
            link.close()


def _compared(router: Router, study: str, modality: str, count: int, rounds: int) -> dict[str, float]:
    name = f"{modality} {count}"
    routed(router, name, study)  # warms the page cache, and proves the destination
    ours, limit = [], []
    for _ in range(rounds):  # by turns, so that what else the machine does hits both
        ours.append(seconds(lambda: routed(router, name, study)))
        limit.append(seconds(lambda: by_hand(router, modality, study, count)))
    best, mine = median(limit), median(ours)
    return {"ByHand": round(best, 2), "Router": round(mine, 2), "RouterOfByHand": round(best / mine, 3)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--pixels", type=int, default=512, help="side of an image, of 16 bits")
    parser.add_argument("--associations", default="8")
    parser.add_argument("--receivers", default="NAGLE,LINK,FAST")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    counts = [int(each) for each in chosen.associations.split(",")]
    for each in measure(chosen.images, chosen.pixels, counts, chosen.receivers.split(","), chosen.rounds):
        print(json.dumps(each), flush=True)
