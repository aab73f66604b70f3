# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tools of the other integration tests do what they say, with real Orthancs and real associations."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from support.latency_proxy import LatencyProxy
from support.network import DicomNode
from support.orthanc import Orthanc, read_orthanc_json
from support.plugin_fault import was_the_plugins_fault
from support.scripted_scp import Misbehaviour, Rejection, ScriptedScp
from support.store_scu import send
from support.studies import bundled_files, data_set_bytes, make_study, same_data_set
from support.waiting import NotReachedError, wait_until

StartOrthanc = Callable[..., Orthanc]
StartScp = Callable[..., ScriptedScp]
StartProxy = Callable[..., LatencyProxy]


def send_job(orthanc: Orthanc, modality: str, study: str, **options: Any) -> dict[str, Any]:
    """Let Orthanc send, and wait for the end of its job."""
    body = {"Resources": [study], "Synchronous": False, **options}
    job = orthanc.post(f"/modalities/{modality}/store", body)["ID"]

    def ended() -> dict[str, Any] | None:
        state: dict[str, Any] = orthanc.get(f"/jobs/{job}")
        return state if state["State"] in {"Success", "Failure"} else None

    return wait_until(ended, 30, f"job {job} has ended") or {}


@pytest.fixture
def sender(start_orthanc: StartOrthanc, start_scp: StartScp, tmp_path: Path) -> tuple[Orthanc, ScriptedScp, str]:
    """An Orthanc that holds a study of five instances and knows the scripted SCP as PACS."""
    scp = start_scp("PACS")
    orthanc = start_orthanc("SENDER", config={"DicomModalities": {"PACS": ["PACS", scp.node.host, scp.node.port]}})
    study = make_study(tmp_path / "study", instances=5)
    assert len(send(study.files, orthanc.node).acknowledged) == 5
    return orthanc, scp, orthanc.get("/studies")[0]


def test_wait_until_names_what_and_the_last_value() -> None:
    with pytest.raises(NotReachedError, match=r"the moon.*Last value: \[\]"):
        wait_until(list, 0.01, "the moon")


def test_wait_until_waits_on_while_more_is_reached() -> None:
    began = time.monotonic()

    def reached() -> int:
        return min(int((time.monotonic() - began) / 0.05), 10)

    assert wait_until(lambda: reached() == 10, 0.2, "all ten", reached)
    with pytest.raises(NotReachedError, match="an eleventh"):
        wait_until(lambda: reached() == 11, 0.2, "an eleventh", reached)


def test_runs_that_number_their_processes_alike_take_other_ports() -> None:
    code = "import os; os.getpid = lambda: 7; from support.network import free_port; print(free_port())"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", code]
    first = {subprocess.run(command, env=environment, capture_output=True, check=True).stdout for _ in range(4)}
    assert len(first) > 1


def test_orthanc_keeps_a_study_over_stop_and_kill(start_orthanc: StartOrthanc, tmp_path: Path) -> None:
    orthanc = start_orthanc()
    study = make_study(tmp_path / "study", series=2, instances=3)
    sent = send(study.files, orthanc.node)
    assert (sent.acknowledged, sent.refused, sent.error) == (study.sop_instance_uids, {}, "")
    assert orthanc.stop() < 5
    orthanc.start()
    assert sorted(orthanc.sop_instance_uids()) == sorted(study.sop_instance_uids)
    orthanc.kill()
    assert not orthanc.is_alive
    orthanc.start()
    assert sorted(orthanc.sop_instance_uids()) == sorted(study.sop_instance_uids)
    assert orthanc.crash_signs() == []


def test_orthanc_that_cannot_start_says_why(start_orthanc: StartOrthanc) -> None:
    with pytest.raises(AssertionError, match=r"nowhere\.json"):
        start_orthanc(config={"StorageDirectory": "/dev/null/nowhere.json"})


def test_send_tells_what_was_acknowledged_when_the_peer_dies(start_scp: StartScp, tmp_path: Path) -> None:
    scp = start_scp()
    scp.on_store(Misbehaviour.DROP, at=3)
    study = make_study(tmp_path, instances=5)
    sent = send(study.files, scp.node)
    assert sent.acknowledged == study.sop_instance_uids[:2]
    assert sent.error
    assert scp.received == Counter(study.sop_instance_uids[:2])


def test_send_gives_the_bytes_of_the_file(start_scp: StartScp, tmp_path: Path) -> None:
    scp = start_scp()
    files = bundled_files(tmp_path)
    sent = send(files, scp.node)
    assert (sent.refused, sent.error) == ({}, "")
    assert len(files) == len(scp.received) == len(set(sent.acknowledged)) > 150
    assert [data_set_bytes(path) for path in files] == [request.data for request in scp.requests]


def test_orthanc_takes_the_bundled_files(start_orthanc: StartOrthanc, tmp_path: Path) -> None:
    orthanc = start_orthanc()
    files = bundled_files(tmp_path / "bundled")
    sent = send(files, orthanc.node)
    assert (sent.refused, sent.error) == ({}, "")
    assert len(sent.acknowledged) == len(files)


def test_scp_records_what_orthanc_sends(sender: tuple[Orthanc, ScriptedScp, str]) -> None:
    orthanc, scp, study = sender
    assert send_job(orthanc, "PACS", study)["State"] == "Success"
    assert scp.received == Counter(orthanc.sop_instance_uids())
    assert {(request.calling_aet, request.association) for request in scp.requests} == {("SENDER", 1)}
    assert scp.peak_associations == 1


def test_scp_answers_a_status(sender: tuple[Orthanc, ScriptedScp, str]) -> None:
    orthanc, scp, study = sender
    scp.on_store(0xA700, at=3)
    job = send_job(orthanc, "PACS", study)
    assert (job["State"], job["Progress"]) == ("Failure", 40)
    assert "0xA700" in job["ErrorDetails"] or "0xa700" in job["ErrorDetails"]
    assert [request.status for request in scp.requests] == [0, 0, 0xA700]
    assert send_job(orthanc, "PACS", study)["State"] == "Success"


def test_scp_refuses_one_instance(sender: tuple[Orthanc, ScriptedScp, str]) -> None:
    orthanc, scp, study = sender
    poisonous = orthanc.sop_instance_uids()[0]
    scp.on_store(0xC000, uid=poisonous, times=1)
    assert send_job(orthanc, "PACS", study)["State"] == "Failure"
    assert poisonous not in scp.received
    assert send_job(orthanc, "PACS", study)["State"] == "Success"
    assert scp.received[poisonous] == 1


def test_orthanc_sends_what_it_stores(start_orthanc: StartOrthanc, start_scp: StartScp, tmp_path: Path) -> None:
    """Orthanc rewrites some data sets when it stores them, so the audit compares with its own files."""
    scp = start_scp("PACS")
    # Since 1.12 it would decompress what follows an uncompressed instance of the same SOP class in one job.
    pacs = {"AET": "PACS", "Host": scp.node.host, "Port": scp.node.port, "AllowTranscoding": False}
    orthanc = start_orthanc("SENDER", config={"DicomModalities": {"PACS": pacs}})
    files = bundled_files(tmp_path / "bundled")
    send(files, orthanc.node)
    orthanc.post("/modalities/PACS/store", orthanc.get("/studies"))
    assert len(scp.received) == len(files)
    stored = tmp_path / "stored.dcm"
    for instance in orthanc.get("/instances?expand"):
        request = next(each for each in scp.requests if each.uid == instance["MainDicomTags"]["SOPInstanceUID"])
        stored.write_bytes(orthanc.get_bytes(f"/instances/{instance['ID']}/file"))
        if request.transfer_syntax != DeflatedExplicitVRLittleEndian:  # it is compressed anew
            assert same_data_set(data_set_bytes(stored), request.data)


@pytest.mark.parametrize("act", [Misbehaviour.ABORT, Misbehaviour.DROP])
def test_scp_aborts_or_drops(sender: tuple[Orthanc, ScriptedScp, str], act: Misbehaviour) -> None:
    orthanc, scp, study = sender
    scp.on_store(act, at=2)
    assert send_job(orthanc, "PACS", study)["State"] == "Failure"
    assert [request.status for request in scp.requests] == [0, None]
    scp.behave()
    assert send_job(orthanc, "PACS", study)["State"] == "Success"


@pytest.mark.parametrize("why", list(Rejection))
def test_scp_rejects(sender: tuple[Orthanc, ScriptedScp, str], why: Rejection) -> None:
    orthanc, scp, study = sender
    scp.reject(why)
    job = send_job(orthanc, "PACS", study)
    assert job["State"] == "Failure"
    assert scp.requests == []
    scp.behave()
    assert send_job(orthanc, "PACS", study)["State"] == "Success"


def test_scp_accepts_no_context(sender: tuple[Orthanc, ScriptedScp, str]) -> None:
    orthanc, scp, study = sender
    scp.no_contexts = True
    assert send_job(orthanc, "PACS", study)["State"] == "Failure"
    scp.behave()
    assert send_job(orthanc, "PACS", study)["State"] == "Success"


def test_scp_stops_and_starts_listening(sender: tuple[Orthanc, ScriptedScp, str]) -> None:
    orthanc, scp, study = sender
    for _ in range(3):
        scp.stop_listening()
        assert send_job(orthanc, "PACS", study)["State"] == "Failure"
        scp.start_listening()
        assert send_job(orthanc, "PACS", study)["State"] == "Success"


def test_scp_stops_listening_beside_a_connection_that_has_asked_for_nothing(
    sender: tuple[Orthanc, ScriptedScp, str],
) -> None:
    orthanc, scp, study = sender
    with socket.create_connection((scp.node.host, scp.node.port)) as silent:
        wait_until(lambda: not scp.is_idle, 30, "the connection is taken")
        scp.stop_listening()
        silent.settimeout(10)
        assert silent.recv(1) == b""
    scp.start_listening()
    assert send_job(orthanc, "PACS", study)["State"] == "Success"


def test_scp_hangs_in_a_store_and_answers_echo(sender: tuple[Orthanc, ScriptedScp, str]) -> None:
    orthanc, scp, study = sender
    scp.on_store(Misbehaviour.HANG, at=2)
    job = orthanc.post("/modalities/PACS/store", {"Resources": [study], "Synchronous": False, "Timeout": 60})["ID"]
    wait_until(lambda: scp.waiting == 1, 30, "a store hangs")
    orthanc.post("/modalities/PACS/echo", {})
    assert scp.echoes == 1
    assert orthanc.get(f"/jobs/{job}")["State"] == "Running"
    scp.behave()
    wait_until(lambda: orthanc.get(f"/jobs/{job}")["State"] == "Failure", 30, "the job has failed")
    assert scp.waiting == 0


def test_scp_is_a_black_hole(sender: tuple[Orthanc, ScriptedScp, str]) -> None:
    orthanc, scp, study = sender
    scp.black_hole()
    started = time.monotonic()
    job = send_job(orthanc, "PACS", study, Timeout=1)
    assert job["State"] == "Failure"
    assert time.monotonic() - started > 0.9
    assert scp.swallowed_connections == 1
    scp.behave()
    assert send_job(orthanc, "PACS", study)["State"] == "Success"


def test_scp_is_slow(sender: tuple[Orthanc, ScriptedScp, str]) -> None:
    orthanc, scp, study = sender
    scp.slow = 0.1
    started = time.monotonic()
    assert send_job(orthanc, "PACS", study)["State"] == "Success"
    assert time.monotonic() - started > 0.5


def test_proxy_delays_each_way(start_scp: StartScp, start_proxy: StartProxy, tmp_path: Path) -> None:
    scp = start_scp()
    proxy = start_proxy(scp.node.port, delay=0.02)
    far = DicomNode(scp.node.aet, proxy.port)
    study = make_study(tmp_path, instances=10, pixels=(512, 512))
    started = time.monotonic()
    assert len(send(study.files, far).acknowledged) == 10
    assert time.monotonic() - started > 12 * 0.04  # connection, 10 stores, release


def test_proxy_cuts_refuses_and_swallows(start_orthanc: StartOrthanc, start_proxy: StartProxy) -> None:
    orthanc = start_orthanc()
    proxy = start_proxy(orthanc.dicom)
    far = {"AET": orthanc.aet, "Host": "127.0.0.1", "Port": proxy.port, "Timeout": 1}

    def echo() -> int:
        return orthanc.request("POST", "/tools/dicom-echo", far).status

    assert echo() == 200
    proxy.refuse()
    assert echo() >= 400
    proxy.black_hole()
    assert echo() >= 400
    proxy.forward()
    assert echo() == 200
    assert proxy.connections == 3


def test_configuration_is_read_as_orthanc_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_NAME", "x")
    path = tmp_path / "orthanc.json"
    path.write_text('{ // "a": 1,\n "b": "http://c", /* "d":\n 2, */ "e": "${HARNESS_NAME}", "f": "${HARNESS_NO:-y}" }')
    assert read_orthanc_json(path) == {"b": "http://c", "e": "x", "f": "y"}


FINALIZING = "W MAIN Registering plugin 'python' (version {})\nW MAIN python: Python plugin is finalizing\n"


@pytest.mark.parametrize(
    ("version", "code", "last_words", "expected"),
    [
        ("7.1", -signal.SIGABRT, "free(): invalid pointer\n", True),
        ("7.1", -signal.SIGSEGV, "", True),
        ("7.1", -signal.SIGSEGV, "Fatal Python error: Segmentation fault\n", False),
        ("7.1", -signal.SIGABRT, "", False),
        ("7.1", -signal.SIGTERM, "", False),
        ("7.2", -signal.SIGSEGV, "", False),
        ("7.2", -signal.SIGABRT, "free(): invalid pointer\n", False),
    ],
)
def test_only_the_known_fault_of_the_plugin_is_accepted_at_the_end_of_orthanc(
    version: str, code: int, last_words: str, expected: bool
) -> None:
    assert was_the_plugins_fault(code, FINALIZING.format(version) + last_words) is expected
