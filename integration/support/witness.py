# SPDX-License-Identifier: AGPL-3.0-or-later
"""A user's own script around the router, which tells what the router's stopping took and what it left behind."""

import re
from pathlib import Path

from .orthanc import OrthancProcess
from .router import REPOSITORY

SCRIPT = """
import sys, threading, time
sys.path.insert(0, {plugin!r})
import orthanc
import dicom_router

router = dicom_router.install(orthanc, register=False)

def on_change(change, level, resource):
    began = time.monotonic()
    router.on_change(change, level, resource)
    if change == orthanc.ChangeType.ORTHANC_STOPPED:
        threads = [each.name for each in threading.enumerate() if each is not threading.main_thread()]
        left = sorted(name for name in threads if not name.startswith("Dummy"))
        orthanc.LogWarning("witness: stopped in %d ms, left %s" % (1000 * (time.monotonic() - began), left))

orthanc.RegisterOnChangeCallback(on_change)
"""
SAID = re.compile(r"witness: stopped in (\d+) ms, left (\[.*\])")


def write_witness(folder: Path) -> Path:
    """The script, for Orthanc's `PythonScript`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "witness.py"
    path.write_text(SCRIPT.format(plugin=str(REPOSITORY / "plugin")))
    return path


def what_it_said(orthanc: OrthancProcess) -> tuple[float, str]:
    """Of the last stop: the seconds the router took, and the names of the threads it left, as a list in a text."""
    said = SAID.findall(orthanc.log())
    assert said, f"the router was not stopped in order\n{orthanc.log_tail()}"
    return int(said[-1][0]) / 1000, said[-1][1]
