# SPDX-License-Identifier: AGPL-3.0-or-later
"""Orthanc stops in time and in order, whatever the router is doing."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from support.network import DicomNode
from support.orthanc import Orthanc, python_plugin
from support.plugin_fault import is_faulty
from support.router import Router
from support.scripted_scp import Misbehaviour, ScriptedScp
from support.starting import StartOrthanc, StartProxy, StartRouter, StartScp
from support.store_scu import BackgroundSend, send
from support.studies import make_study
from support.waiting import wait_until
from support.witness import what_it_said, write_witness

MAX_SECONDS = 5  # Orthanc 1.10.1 alone needs up to 3.5 s, for HTTP connections that are kept alive
ROUTER_SECONDS = 1.5  # the router's own part

# Keeps its callback until the interpreter ends, as the router does (host/kept.py).
LISTENS = """
import orthanc

def on_change(change, level, resource):
    pass

kept = [on_change]
orthanc.RegisterOnChangeCallback(on_change)
"""


@pytest.fixture
def pacs(start_scp: StartScp) -> ScriptedScp:
    return start_scp("PACS")


@pytest.fixture
def router(start_router: StartRouter, pacs: ScriptedScp, tmp_path: Path) -> Router:
    script = str(write_witness(tmp_path / "witness"))
    return start_router({"PACS": pacs.node}, config={"PythonScript": script, "DicomScuTimeout": 30})


def send_study(router: Router, folder: Path, instances: int = 50) -> None:
    study = make_study(folder, instances=instances)
    assert send(study.files, router.node).acknowledged == study.sop_instance_uids


def nothing(router: Router, pacs: ScriptedScp, folder: Path) -> None:
    assert router.router_get("/status")["State"] == "Running"


def all_sent(router: Router, pacs: ScriptedScp, folder: Path) -> None:
    send_study(router, folder)
    router.wait_until_completed(1)


def hanging_in_the_first_store(router: Router, pacs: ScriptedScp, folder: Path) -> None:
    pacs.on_store(Misbehaviour.HANG)
    send_study(router, folder)
    wait_until(lambda: pacs.waiting == 1, 30, "the first C-STORE hangs")


def connecting_to_a_black_hole(router: Router, pacs: ScriptedScp, folder: Path) -> None:
    pacs.black_hole()
    send_study(router, folder)
    wait_until(lambda: pacs.swallowed_connections == 1, 30, "the router has connected")


def held(router: Router, pacs: ScriptedScp, folder: Path) -> None:
    pacs.stop_listening()
    send_study(router, folder)
    wait_until(lambda: router.router_get("/destinations/PACS")["State"] == "Held", 30, "PACS is held")


def probing_a_black_hole(router: Router, pacs: ScriptedScp, folder: Path) -> None:
    held(router, pacs, folder)
    pacs.black_hole()
    wait_until(lambda: pacs.swallowed_connections == 1, 30, "the probe has connected")


def paused(router: Router, pacs: ScriptedScp, folder: Path) -> None:
    router.router_post("/pause")
    send_study(router, folder)
    router.wait_for_deliveries(lambda found: len(found) == 1)


def sending_slowly(router: Router, pacs: ScriptedScp, folder: Path) -> None:
    pacs.slow = 0.3
    send_study(router, folder)
    pacs.wait_for(3)


def hanging_in_the_middle(router: Router, pacs: ScriptedScp, folder: Path) -> None:
    for number in range(10, 60):
        pacs.on_store(Misbehaviour.HANG, at=number)
    send_study(router, folder)
    wait_until(lambda: pacs.waiting == 2, 30, "a C-STORE hangs in both associations")


STATES = (
    nothing,
    all_sent,
    sending_slowly,
    hanging_in_the_middle,
    hanging_in_the_first_store,
    connecting_to_a_black_hole,
    held,
    probing_a_black_hole,
    paused,
)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_orthanc_stops_in_time_and_in_order(
    router: Router, pacs: ScriptedScp, tmp_path: Path, state: Callable[[Router, ScriptedScp, Path], None]
) -> None:
    """`stop` also sees that the exit code is 0."""
    state(router, pacs, tmp_path / "study")
    assert_stops_in_order(router)


def receiving_slowly(orthanc: Orthanc, start_proxy: StartProxy, folder: Path) -> BackgroundSend:
    """From far away: Orthanc 1.10.1 itself goes on until nothing has come for 0.1 s, also without any plugin."""
    study = make_study(folder, instances=100)
    sending = BackgroundSend(study.files, DicomNode(orthanc.aet, start_proxy(orthanc.dicom, delay=0.1).port))
    wait_until(lambda: sending.acknowledged >= 5, 30, "some were acknowledged")
    return sending


@pytest.mark.smoke
def test_orthanc_stops_in_time_while_it_receives_and_what_it_received_is_sent_later(
    router: Router, start_proxy: StartProxy, pacs: ScriptedScp, tmp_path: Path
) -> None:
    sending = receiving_slowly(router, start_proxy, tmp_path / "study")
    assert_stops_in_order(router)
    sent = sending.wait()
    assert sent.error
    router.start()
    wait_until(lambda: set(sent.acknowledged) <= set(pacs.received), 30, "all that was acknowledged has arrived")


def test_a_script_that_only_listens_ends_as_is_known_of_the_python_plugin(
    start_orthanc: StartOrthanc, start_proxy: StartProxy, tmp_path: Path
) -> None:
    """Without the router. When this fails for a plugin that was mended, it leaves `FAULTY`."""
    script = tmp_path / "listens.py"
    script.write_text(LISTENS)
    orthanc = start_orthanc("PLAIN", config={"Plugins": [str(python_plugin())], "PythonScript": str(script)})
    sending = receiving_slowly(orthanc, start_proxy, tmp_path / "study")
    orthanc.stop()
    assert sending.wait().error
    assert orthanc.exit_code in ({-signal.SIGABRT, -signal.SIGSEGV} if is_faulty(orthanc.log()) else {0})


def assert_stops_in_order(router: Router) -> None:
    seconds = router.stop()
    own_seconds, threads_left = what_it_said(router)
    print(f"stopped in {seconds:.2f} s, of which the router took {own_seconds:.3f} s")
    assert threads_left == "[]"
    assert router.crash_signs() == []
    assert own_seconds < ROUTER_SECONDS
    assert seconds < MAX_SECONDS
