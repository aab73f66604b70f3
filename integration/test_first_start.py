# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router is put into an Orthanc that is in use already."""

from collections import Counter
from pathlib import Path

import pytest

from support.orthanc import python_plugin
from support.router import REPOSITORY
from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

# A user's own script, which lets the router start when so many instances have arrived.
LATE = """
import sys, threading
sys.path.insert(0, {plugin!r})
import orthanc
import json
import dicom_router

router = dicom_router.install(orthanc, register=False)

def on_change(change, level, resource):
    if change == orthanc.ChangeType.ORTHANC_STARTED:
        while json.loads(orthanc.RestApiGet("/statistics"))["CountInstances"] < {instances}:
            threading.Event().wait(0.05)
    router.on_change(change, level, resource)

orthanc.RegisterOnChangeCallback(on_change)
"""


def test_the_first_start_sends_nothing_that_orthanc_held_before(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    router = start_router({"PACS": pacs.node}, config={"Plugins": []})
    assert router.router_request("GET", "/status").status == 404
    for number in range(3):
        old = make_study(tmp_path / f"old{number}", instances=5)
        assert send(old.files, router.node).acknowledged == old.sop_instance_uids

    router.config["Plugins"] = [str(python_plugin())]
    expected = []
    for number in (1, 2):  # nor does the second start
        router.restart()
        new = make_study(tmp_path / f"new{number}", instances=5)
        send(new.files, router.node)
        expected += new.sop_instance_uids
        pacs.wait_for(len(expected))
        router.wait_until_completed(number)
    assert pacs.received == Counter(expected)


@pytest.mark.parametrize("time_zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_what_arrives_before_the_router_hears_that_orthanc_has_started_is_sent_though_it_is_killed_then(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path, time_zone: str
) -> None:
    pacs = start_scp("PACS")
    router = start_router({"PACS": pacs.node}, config={"Plugins": []})
    old = make_study(tmp_path / "old", instances=2, pixels=(16, 16))
    send(old.files, router.node)
    router.stop()

    script = tmp_path / "late.py"
    script.write_text(LATE.format(plugin=str(REPOSITORY / "plugin"), instances=5))
    router.config |= {"Plugins": [str(python_plugin())], "PythonScript": str(script)}
    router.environment["TZ"] = time_zone
    router.launch()
    new = make_study(tmp_path / "new", instances=3, pixels=(16, 16))
    wait_until(lambda: len(send(new.files, router.node).acknowledged) == 3, 30, "Orthanc's DICOM server runs")
    router.wait_until_ready()
    wait_until(lambda: router.router_get("/status")["State"] == "Running", 30, "the router runs")
    router.kill()
    router.start()
    pacs.wait_for(3)
    router.wait_until_completed(1)
    assert pacs.received == Counter(new.sop_instance_uids)
