# SPDX-License-Identifier: AGPL-3.0-or-later
"""Memory and handles of an Orthanc over many small studies: with the router, and without, for what is not ours.

    PYTHONPATH=integration .venv/bin/python bench/memory.py [--studies 5000] [--ways router,down,empty,none]

`router` sends all to a destination; `down` has one that is away the whole time; `empty` has the Python plugin with a
script that does nothing; `none` has no plugin.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from support.network import DicomNode, free_port
from support.orthanc import Orthanc, python_plugin
from support.router import Router
from support.scripted_scp import ScriptedScp
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

BATCHES = 10
INSTANCES = 2
PATIENCE_SECONDS = 1800.0
LOOK_SECONDS = 1.0
EMPTY = "import orthanc\n\northanc.RegisterOnChangeCallback(lambda change, level, resource: None)\n"


@dataclass(frozen=True)
class Sample:
    """Of one process, after so many studies."""

    studies: int
    megabytes: float
    handles: int
    threads: int


def sample(orthanc: Orthanc, studies: int) -> Sample:
    """What the kernel says of it."""
    told = Path(f"/proc/{orthanc.pid}/status").read_text().splitlines()
    kilobytes = next(int(line.split()[1]) for line in told if line.startswith("VmRSS:"))
    threads = next(int(line.split()[1]) for line in told if line.startswith("Threads:"))
    handles = len(list(Path(f"/proc/{orthanc.pid}/fd").iterdir()))
    return Sample(studies, round(kilobytes / 1024, 1), handles, threads)


def over_studies(orthanc: Orthanc, folder: Path, studies: int, settled: Callable[[int], bool]) -> list[Sample]:
    """Send them in batches; a sample when each batch has settled."""
    orthanc.start()
    samples = [sample(orthanc, 0)]
    try:
        for batch in range(1, BATCHES + 1):
            count = batch * studies // BATCHES
            files = [
                path
                for number in range(samples[-1].studies, count)
                for path in make_study(folder / f"study-{number}", instances=INSTANCES, pixels=(16, 16)).files
            ]
            sent = send(files, orthanc.node)
            assert len(sent.acknowledged) == len(files), sent.error
            wait_until(lambda: settled(count), PATIENCE_SECONDS, f"{count} studies have settled", every=LOOK_SECONDS)  # noqa: B023
            samples.append(sample(orthanc, count))
            print(samples[-1], flush=True)
    finally:
        orthanc.kill()
    return samples


def with_router(folder: Path, studies: int, *, up: bool) -> list[Sample]:
    """One delivery for each study."""
    pacs = ScriptedScp("PACS", keep_data=False) if up else None
    router = Router(folder / "router", {"PACS": pacs.node if pacs else DicomNode("PACS", free_port())})

    def settled(count: int) -> bool:
        queue = router.router_get("/status")["Queue"]
        made = router.router_get("/history?limit=1")["Total"]
        return bool(made == count and (not up or not any(queue.values())))

    try:
        return over_studies(router, folder, studies, settled)
    finally:
        if pacs:
            pacs.close()


def without_router(folder: Path, studies: int, *, plugin: bool) -> list[Sample]:
    """The same Orthanc, which only receives."""
    script = folder / "empty.py"
    script.write_text(EMPTY)
    config = {"Plugins": [str(python_plugin())], "PythonScript": str(script)} if plugin else {}
    orthanc = Orthanc(folder / "orthanc", "ROUTER", config)

    def settled(count: int) -> bool:
        """The last of them is stable: a moment later than with the router."""
        found = orthanc.post("/tools/find", {"Level": "Study", "Query": {}, "Limit": 0, "Expand": False})
        last = orthanc.get("/changes?last")["Changes"]
        return len(found) == count and last[0]["ChangeType"].startswith("Stable")

    return over_studies(orthanc, folder, studies, settled)


WAYS: dict[str, Callable[[Path, int], list[Sample]]] = {
    "router": lambda folder, studies: with_router(folder, studies, up=True),
    "down": lambda folder, studies: with_router(folder, studies, up=False),
    "empty": lambda folder, studies: without_router(folder, studies, plugin=True),
    "none": lambda folder, studies: without_router(folder, studies, plugin=False),
}


def growth(samples: list[Sample]) -> float:
    """Kilobytes a study over the second half, when caches are full."""
    half = samples[len(samples) // 2 :]
    steps = [(later.megabytes - before.megabytes) * 1024 for before, later in pairwise(half)]
    return round(sum(steps) / (half[-1].studies - half[0].studies), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=5000)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--results", type=Path, help="append each way to this file, as a line of JSON")
    chosen = parser.parse_args()
    for way in chosen.ways.split(","):
        with tempfile.TemporaryDirectory() as name:
            samples = WAYS[way](Path(name), chosen.studies)
        told = {"Way": way, "KilobytesAStudy": growth(samples), "Samples": [asdict(each) for each in samples]}
        line = json.dumps(told)
        print(line, flush=True)
        if chosen.results:
            with chosen.results.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main()
