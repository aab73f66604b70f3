# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who sends and receives in the benchmarks: DCMTK's tools, and Orthanc's own jobs asked for by hand."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.network import DicomNode, free_port, port_is_free
from support.orthanc import Orthanc
from support.waiting import wait_until

LIMIT_SECONDS = 3600


def dcmtk(name: str) -> str:
    """A program of DCMTK; one of the same name comes with pynetdicom, and is several times slower."""
    found = shutil.which(name, path="/usr/bin:/usr/local/bin:/bin")
    assert found is not None, f"{name} is missing (Debian's package is dcmtk)"
    return found


@contextmanager
def storescp(*, nodelay: bool, folder: Path | None = None) -> Iterator[int]:
    """DCMTK's receiver, which writes what it gets into `folder`, or throws it away; answers its port."""
    port = free_port()
    environment = {**os.environ, **({"TCP_NODELAY": "1"} if nodelay else {})}
    keep = ["--output-directory", str(folder)] if folder else ["--ignore"]
    command = [dcmtk("storescp"), *keep, "--fork", "--aetitle", "RECEIVER", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: not port_is_free(port), 30, "storescp listens")
        yield port
    finally:
        process.kill()
        process.wait()


def receiver(port: int) -> DicomNode:
    """As Orthanc is told of it."""
    return DicomNode("RECEIVER", port, "127.0.0.1")


def storescu_to(files: Path, node: DicomNode) -> None:
    """DCMTK's sender: all files of a folder, over one association."""
    command = [dcmtk("storescu"), "-aec", node.aet, "--scan-directories", "127.0.0.1", str(node.port), str(files)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={"TCP_NODELAY": "1"})


def job(orthanc: Orthanc, name: str, resources: Sequence[str]) -> str:
    """Have Orthanc send these, in one job of its own; its ID."""
    body = {"Resources": list(resources), "Asynchronous": True, "Timeout": 60}
    return str(orthanc.post(f"/modalities/{name}/store", body)["ID"])


def wait_for_jobs(orthanc: Orthanc, jobs: Sequence[str]) -> None:
    """Until all of them have succeeded."""

    def ended() -> bool:
        states = {orthanc.get(f"/jobs/{each}")["State"] for each in jobs}
        assert "Failure" not in states
        return states == {"Success"}

    wait_until(ended, LIMIT_SECONDS, "the jobs have ended")
