# SPDX-License-Identifier: AGPL-3.0-or-later
"""Beside what people use today: the Lua script for auto-routing and the Python script of a few lines.

PYTHONPATH=integration:bench .venv/bin/python bench/scripts.py [--images 300]

A study is sent to Orthanc by storescu; the time ends when another Orthanc has all of it, behind 40 ms of round trip or
on the same machine. StableAge is 1 second for all; the Lua script does not wait for it.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from receivers import storescu_to
from sending import LINK_DELAY

from support.latency_proxy import LatencyProxy
from support.network import DicomNode
from support.orthanc import Orthanc, python_plugin
from support.router import Router
from support.studies import make_study
from support.waiting import wait_until

LIMIT_SECONDS = 600
LUA = """
function OnStoredInstance(instance, tags, metadata, origin)
  SendToModality(instance, 'PACS')
end
"""
PYTHON = """
import orthanc

def on_change(change, level, resource):
    if change == orthanc.ChangeType.STABLE_STUDY:
        orthanc.RestApiPost('/modalities/PACS/store', resource)

orthanc.RegisterOnChangeCallback(on_change)
"""


def measure(images: int) -> list[dict[str, Any]]:
    """Seconds from the first image sent to the last one arrived, for each way and place of the PACS."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pacs = Orthanc(folder / "pacs", "PACS")
        pacs.start()
        link = LatencyProxy(pacs.dicom, LINK_DELAY)
        try:
            return [
                row
                for place, port in (("local", pacs.dicom), ("behind 40 ms of round trip", link.port))
                for row in _compared(folder / place, pacs, place, DicomNode("PACS", port, "127.0.0.1"), images)
            ]
        finally:
            pacs.kill()
            link.close()


def _compared(folder: Path, pacs: Orthanc, place: str, node: DicomNode, images: int) -> list[dict[str, Any]]:
    told = {name: _seconds(orthanc, pacs, images) for name, orthanc in _ways(folder, node).items()}
    ours = told["router"]
    return [
        {"Pacs": place, "Images": images, "Way": name, "Seconds": round(took, 2), "Ratio": round(took / ours, 2)}
        for name, took in told.items()
    ]


def _ways(folder: Path, node: DicomNode) -> dict[str, Orthanc]:
    folder.mkdir()
    lua, python = folder / "route.lua", folder / "route.py"
    lua.write_text(LUA)
    python.write_text(PYTHON)
    known = {"DicomModalities": {"PACS": [node.aet, node.host, node.port]}}
    plugin = {"Plugins": [str(python_plugin())], "PythonScript": str(python)}
    return {
        "Lua script": Orthanc(folder / "lua", "LUA", known | {"LuaScripts": [str(lua)]}),
        "Python script": Orthanc(folder / "python", "PYTHON", known | plugin),
        "router": Router(folder / "router", {"PACS": node}, section={"Destinations": {"PACS": {"Associations": 8}}}),
    }


def _seconds(orthanc: Orthanc, pacs: Orthanc, images: int) -> float:
    files = orthanc.folder.parent / f"study of {orthanc.aet}"
    make_study(files, instances=images, pixels=(256, 256))
    wanted = pacs.get("/statistics")["CountInstances"] + images
    orthanc.start()
    try:
        began = time.perf_counter()
        storescu_to(files, orthanc.node)
        wait_until(lambda: pacs.get("/statistics")["CountInstances"] >= wanted, LIMIT_SECONDS, "all has arrived")
        return time.perf_counter() - began
    finally:
        orthanc.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    for each in measure(parser.parse_args().images):
        print(json.dumps(each))
