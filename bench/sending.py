# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast a study reaches a destination: one Orthanc job, hand-driven parallel jobs, and the router.

    PYTHONPATH=integration .venv/bin/python bench/sending.py [--images 1000] [--associations 8]

All in one run on one machine; compare the ratios, not the seconds. The receivers are DCMTK's storescp, which throws
away what it receives: as it comes (its answers are held back by Nagle's algorithm), with TCP_NODELAY, and behind a link
with 40 ms of round trip.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from support.latency_proxy import LatencyProxy
from support.network import DicomNode, free_port, port_is_free
from support.router import Router
from support.studies import make_study
from support.waiting import wait_until

LIMIT_SECONDS = 900
ROUNDS = 5
LINK_DELAY = 0.02  # seconds in each direction


@contextmanager
def storescp(*, nodelay: bool) -> Iterator[int]:
    """DCMTK's receiver; answers its port."""
    port = free_port()
    environment = {**os.environ, **({"TCP_NODELAY": "1"} if nodelay else {})}
    command = [str(shutil.which("storescp")), "--ignore", "--fork", "--aetitle", "RECEIVER", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: not port_is_free(port), 10, "storescp listens")
        yield port
    finally:
        process.kill()
        process.wait()


def job(router: Router, name: str, resources: list[str]) -> str:
    body = {"Resources": resources, "Asynchronous": True, "Timeout": 60}
    return str(router.post(f"/modalities/{name}/store", body)["ID"])


def wait_for_jobs(router: Router, jobs: list[str]) -> None:
    def ended() -> bool:
        states = {router.get(f"/jobs/{each}")["State"] for each in jobs}
        assert "Failure" not in states
        return states == {"Success"}

    wait_until(ended, LIMIT_SECONDS, "the jobs have ended")


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


def measure(router: Router, study: str, name: str, associations: int) -> dict[str, Any]:
    routed(router, name, study)  # warms the page cache, and proves the destination
    single = seconds(lambda: one_job(router, name, study))
    ours, limit = [], []
    for _ in range(ROUNDS):  # alternating, so that what else the machine does hits both
        ours.append(seconds(lambda: routed(router, name, study)))
        limit.append(seconds(lambda: by_hand(router, name, study, associations)))
    best, mine = median(limit), median(ours)
    return {
        "Receiver": name,
        "OneJob": round(single, 2),
        "ByHand": round(best, 2),
        "Router": round(mine, 2),
        "RouterFasterThanOneJob": round(single / mine, 2),
        "RouterOfByHand": round(best / mine, 3),
    }


def upload(router: Router, folder: Path, images: int) -> str:
    study = make_study(folder, instances=images, pixels=(512, 512))
    for file in study.files:
        router.request("POST", "/instances", file.read_bytes())
    found: list[str] = router.get("/studies")
    return found[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--associations", type=int, default=8)
    parser.add_argument("--receivers", default="NAGLE,LINK,FAST")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, storescp(nodelay=False) as slow, storescp(nodelay=True) as fast:
        link = LatencyProxy(fast, LINK_DELAY)
        ports = {"NAGLE": slow, "LINK": link.port, "FAST": fast}
        nodes = {name: DicomNode("RECEIVER", port, "127.0.0.1") for name, port in ports.items()}
        section = {
            "Destinations": {name: {"Modality": name, "Associations": chosen.associations} for name in nodes},
            "Rules": [],
        }
        router = Router(Path(folder) / "router", nodes, rules=[], section=section, config={"ConcurrentJobs": 32})
        router.start()
        try:
            study = upload(router, Path(folder) / "study", chosen.images)
            for name in chosen.receivers.split(","):
                print(json.dumps(measure(router, study, name, chosen.associations)), flush=True)
        finally:
            router.kill()
            link.close()


if __name__ == "__main__":
    main()
