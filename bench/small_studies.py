# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many studies of one image: how many a second the router sends, and how many jobs driven by hand.

PYTHONPATH=integration:bench .venv/bin/python bench/small_studies.py [--studies 5000]

All studies wait already; by hand, eight threads each send one study after the other, one Orthanc job each.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from receivers import job, receiver, storescp, wait_for_jobs

from support.router import Router
from support.studies import make_study
from support.waiting import wait_until

ASSOCIATIONS = 8
PARTS = 5  # by turns, so that what else the machine does hits both
LIMIT_SECONDS = 3600


def measure(studies: int) -> list[dict[str, Any]]:
    """One row."""
    with tempfile.TemporaryDirectory() as folder, storescp(nodelay=True) as port:
        rule = {"Name": "all", "Match": {"Modality": "CR"}, "Send": ["PACS"]}
        section = {"Destinations": {"PACS": {"Modality": "PACS", "Associations": ASSOCIATIONS}}}
        router = Router(
            Path(folder) / "router",
            {"PACS": receiver(port)},
            rules=[rule],
            section=section,
            config={"ConcurrentJobs": 32, "JobsHistorySize": 1000},
        )
        router.start()
        try:
            ours, limit = [], []
            for part in range(PARTS):
                router.router_post("/pause")
                known = set(router.get("/studies"))
                upload(router, Path(folder) / f"part-{part}", studies // PARTS)
                wait_for_the_queue(router, studies // PARTS)
                ours.append(seconds(lambda: drain(router)))
                new = [each for each in router.get("/studies") if each not in known]
                limit.append(seconds(lambda new=new: by_hand(router, new)))
        finally:
            router.kill()
    mine, best = studies / sum(ours), studies / sum(limit)
    row = {"Studies": studies, "RouterPerSecond": round(mine, 1), "ByHandPerSecond": round(best, 1)}
    return [row | {"RouterOfByHand": round(mine / best, 2)}]


def upload(router: Router, folder: Path, studies: int) -> None:
    files = [make_study(folder / str(number), modality="CR", instances=1).files[0] for number in range(studies)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda file: router.request("POST", "/instances", file.read_bytes()), files))


def wait_for_the_queue(router: Router, studies: int) -> None:
    wait_until(lambda: router.router_get("/status")["Queue"]["Scheduled"] >= studies, LIMIT_SECONDS, "all wait")


def drain(router: Router) -> None:
    router.router_post("/resume")

    def is_empty() -> bool:
        return not any(router.router_get("/status")["Queue"].values())

    wait_until(is_empty, LIMIT_SECONDS, "all is sent", every=0.2)  # to ask costs the router, too


def by_hand(router: Router, studies: list[str]) -> None:
    with ThreadPoolExecutor(ASSOCIATIONS) as pool:
        list(pool.map(lambda study: wait_for_jobs(router, [job(router, "PACS", [study])]), studies))


def seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=5000)
    for each in measure(parser.parse_args().studies):
        print(json.dumps(each))
