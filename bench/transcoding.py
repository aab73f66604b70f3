# SPDX-License-Identifier: AGPL-3.0-or-later
"""CT images sent as JPEG-LS behind a link with 40 ms of round trip, over one association and over four.

    PYTHONPATH=integration .venv/bin/python bench/transcoding.py [--images 500] [--syntax 1.2.840.10008.1.2.4.80]

The receiver is an Orthanc; afterwards it is asked in which transfer syntax it has the images, and whether the pixels of
some of them are the same.
"""

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from support.latency_proxy import LatencyProxy
from support.network import DicomNode
from support.orthanc import Orthanc
from support.router import Router
from support.studies import make_study, texture
from support.waiting import wait_until

LIMIT_SECONDS = 900
LINK_DELAY = 0.02  # seconds in each direction
COMPARED = 10  # images whose pixels are compared
ASSOCIATIONS = (1, 4)


def upload(router: Router, folder: Path, images: int) -> None:
    study = make_study(folder, instances=images, PixelData=texture(512, 512), pixels=(512, 512))
    for file in study.files:
        router.request("POST", "/instances", file.read_bytes())


def seconds_to_send(router: Router, destination: str) -> float:
    """From when the destination is opened."""
    router.router_post(f"/destinations/{destination}/resume")
    began = time.perf_counter()
    ended = {"Completed", "Warning", "Failed"}
    wait_until(lambda: router.history(destination=destination)[0]["Status"] in ended, LIMIT_SECONDS, "all was sent")
    took = time.perf_counter() - began
    assert router.history(destination=destination)[0]["Status"] == "Completed"
    return took


def syntaxes(archive: Orthanc) -> Counter[str]:
    found = (archive.get_bytes(f"/instances/{each}/metadata/TransferSyntax") for each in archive.get("/instances"))
    return Counter(each.decode() for each in found)


def same_pixels(router: Router, archive: Orthanc) -> bool:
    some = random.Random(1).sample(archive.get("/instances"), COMPARED)
    path = "/instances/{}/frames/0/matlab"
    return all(router.get_bytes(path.format(each)) == archive.get_bytes(path.format(each)) for each in some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--syntax", default="1.2.840.10008.1.2.4.80")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        archives = {f"OVER{count}": Orthanc(Path(folder) / str(count), f"OVER{count}") for count in ASSOCIATIONS}
        links = {name: LatencyProxy(archive.dicom, LINK_DELAY) for name, archive in archives.items()}
        nodes = {name: DicomNode(name, link.port) for name, link in links.items()}
        section = {
            "Destinations": {
                name: {"Modality": name, "Associations": count} for name, count in zip(nodes, ASSOCIATIONS, strict=True)
            }
        }
        send = [{"To": name, "Transcode": chosen.syntax} for name in nodes]
        rules = [{"Name": "all", "Match": {}, "Send": send}]
        router = Router(Path(folder) / "router", nodes, rules=rules, section=section)
        try:
            for each in (*archives.values(), router):
                each.start()
            for name in nodes:
                router.router_post(f"/destinations/{name}/pause")
            upload(router, Path(folder) / "study", chosen.images)
            router.wait_for_deliveries(lambda found: len(found) == len(nodes), LIMIT_SECONDS)
            took = {name: seconds_to_send(router, name) for name in nodes}
            one, four = took.values()
            told = {
                "Images": chosen.images,
                "TransferSyntaxes": {name: syntaxes(archive) for name, archive in archives.items()},
                "SamePixels": all(same_pixels(router, archive) for archive in archives.values()),
                **{f"Seconds{name.capitalize()}": round(seconds, 1) for name, seconds in took.items()},
                "Faster": round(one / four, 2),
            }
            print(json.dumps(told))
        finally:
            for each in (*archives.values(), router):
                each.kill()
            for link in links.values():
                link.close()


if __name__ == "__main__":
    main()
