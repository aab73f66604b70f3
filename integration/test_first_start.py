# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router is put into an Orthanc that is in use already."""

from collections import Counter
from pathlib import Path

from support.orthanc import python_plugin
from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study


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
