# SPDX-License-Identifier: AGPL-3.0-or-later
"""A command: what it says, how it is run and ended, and the files it leaves."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from dicom_router.processing.command import LONGEST_OUTPUT, end_leftovers, run_command
from dicom_router.processing.folder import make_folder, output_files, read_proc, remove_folder
from dicom_router.processing.outcome import Outcome, read_outcome
from dicom_router.studies.files import Files

LIMIT = 15.0  # seconds; what is waited for takes some tenths of one
LONG = 600.0


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code, "{dir}"]


def waits_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# --- proc.json -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proc", "failed", "words"),
    [
        ([{"success": "success"}], False, "success"),
        ([{"success": "success", "message": "12 ml"}], False, "12 ml"),
        ([{"success": "partial", "message": "one lobe"}], False, "partial"),
        ([{"success": "failed", "message": "no liver"}], True, "no liver"),
        ([{"success": "success"}, {"success": "failed"}], True, "failed"),
        ([{"success": "anything", "message": None, "more": 1}], False, "anything"),
        ([], True, "is not a list"),
        ({"success": "success"}, True, "is not a list"),
        ("success", True, "is not a list"),
        ([5], True, 'without a "success"'),
        ([{"success": True}], True, 'without a "success"'),
        ([{}], True, 'without a "success"'),
    ],
)
def test_what_a_command_says_is_its_outcome(proc: object, failed: bool, words: str) -> None:
    outcome = read_outcome(json.dumps(proc).encode(), 0)
    assert outcome.failed == failed
    assert words in outcome.text()


@given(st.one_of(st.none(), st.binary(max_size=50)), st.integers(-64, 255))
def test_whatever_a_command_leaves_there_is_an_outcome(proc: bytes | None, code: int) -> None:
    outcome = read_outcome(proc, code)
    assert outcome.entries
    assert outcome.failed or code == 0


def test_an_exit_code_goes_before_what_was_said() -> None:
    outcome = read_outcome(b'[{"success": "success", "message": "all done"}]', 3)
    assert outcome.failed
    assert "exit code 3" in outcome.text()
    assert "all done" in outcome.text()
    assert "signal 9" in read_outcome(None, -9).text()


@pytest.mark.parametrize(
    ("pattern", "fits"), [(None, True), ("^success$", False), ("part", True), ("success|partial", True), ("x", False)]
)
def test_when_is_found_anywhere_in_what_was_said(pattern: str | None, fits: bool) -> None:
    outcome = Outcome((("partial", ""), ("done", "success")))
    assert outcome.matches(re.compile(pattern) if pattern else None) == fits


# --- the command -----------------------------------------------------------------------------------------------------


def test_a_command_gets_its_folder_and_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "s3cret")
    tell = "import json,os,sys; json.dump([dict(os.environ), os.getcwd(), sys.argv[1:]], open('told','w'))"
    ended = run_command(python(tell), tmp_path, LONG, threading.Event())
    environment, where, arguments = json.loads(tmp_path.joinpath("told").read_text())
    assert (ended.exit_code, ended.stopped) == (0, False)
    assert environment.keys() <= {"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE"}
    assert "s3cret" not in str(environment)
    assert where == str(tmp_path)
    assert arguments == [str(tmp_path)]


def test_no_shell_reads_its_words(tmp_path: Path) -> None:
    ended = run_command(
        [*python("import sys; print(sys.argv[2:])"), "; touch x", "$HOME"], tmp_path, LONG, threading.Event()
    )
    assert ended.output == "['; touch x', '$HOME']\n"
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_what_it_writes_is_kept_and_it_never_waits_for_that(tmp_path: Path) -> None:
    write = f"import sys; sys.stdout.write('a' * 3_000_000); sys.stderr.write('b' * {LONGEST_OUTPUT - 1} + chr(10))"
    ended = run_command(python(write), tmp_path, LONG, threading.Event())
    assert ended.exit_code == 0
    assert len(ended.output) == LONGEST_OUTPUT
    assert ended.output.endswith("b\n")


CHILDREN = """
import os, subprocess, sys, time
for session in (False, True):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=session)
    open(f"pid{session}", "w").write(str(child.pid))
open("ready", "w").close()
time.sleep(600 if sys.argv[2:] else 0)
"""


def children(folder: Path) -> list[int]:
    return [int(folder.joinpath(f"pid{session}").read_text()) for session in (False, True)]


def lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def test_at_its_timeout_all_that_it_started_is_ended(tmp_path: Path) -> None:
    started = time.monotonic()
    ended = run_command([*python(CHILDREN), "wait"], tmp_path, 1.5, threading.Event())
    assert (ended.exit_code, ended.stopped) == (None, False)
    assert 1.5 <= time.monotonic() - started < LIMIT
    waits_for(lambda: not any(lives(pid) for pid in children(tmp_path)))


def test_a_command_that_ends_leaves_nothing_running(tmp_path: Path) -> None:
    assert run_command(python(CHILDREN), tmp_path, LONG, threading.Event()).exit_code == 0
    waits_for(lambda: not any(lives(pid) for pid in children(tmp_path)))


def test_when_the_router_stops_it_is_ended(tmp_path: Path) -> None:
    stop = threading.Event()

    def stop_it() -> None:
        waits_for(tmp_path.joinpath("ready").exists)
        stop.set()

    thread = threading.Thread(target=stop_it)
    thread.start()
    ended = run_command([*python(CHILDREN), "wait"], tmp_path, LONG, stop)
    thread.join()
    assert (ended.exit_code, ended.stopped) == (None, True)
    waits_for(lambda: not any(lives(pid) for pid in children(tmp_path)))


def test_what_outlived_a_crash_is_ended_and_nothing_else(tmp_path: Path) -> None:
    mine, other = tmp_path / "1", tmp_path / "12"
    mine.mkdir()
    other.mkdir()
    sleepers = [
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], cwd=at) for at in (mine, other)
    ]
    try:
        waits_for(lambda: os.readlink(f"/proc/{sleepers[0].pid}/cwd") == str(mine))
        end_leftovers(mine)
        assert sleepers[0].wait(LIMIT) == -9
        assert sleepers[1].poll() is None
    finally:
        for each in sleepers:
            each.kill()
            each.wait()


def test_a_command_that_is_not_there_raises(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        run_command([str(tmp_path / "absent")], tmp_path, LONG, threading.Event())


# --- its folder ------------------------------------------------------------------------------------------------------


def test_its_folder_is_fresh_and_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "processing" / "7"
    folder.mkdir(parents=True)
    folder.joinpath("left").touch()
    make_folder(folder, {"CallingAET": "CT1", "Tags": {"PatientName": "山田"}})
    assert sorted(each.name for each in folder.iterdir()) == ["INPUT", "OUTPUT", "info.json"]
    assert folder.stat().st_mode & 0o077 == 0
    assert json.loads(folder.joinpath("info.json").read_text(encoding="utf-8"))["Tags"]["PatientName"] == "山田"
    remove_folder(folder)
    assert not folder.exists()


def test_of_its_output_only_plain_dicom_files_are_for_orthanc(tmp_path: Path) -> None:
    make_folder(tmp_path / "1", {})
    output = tmp_path / "1" / "OUTPUT"
    source = Path(str(get_testdata_file("CT_small.dcm")))
    output.joinpath("b").mkdir()
    output.joinpath("b", "ct").write_bytes(source.read_bytes())
    output.joinpath("a.txt").write_text("no DICOM")
    output.joinpath("empty").touch()
    output.joinpath("link").symlink_to(source)
    output.joinpath("linked").symlink_to(source.parent)
    os.mkfifo(output / "pipe")
    found = {each.name: each for each in output_files(tmp_path / "1")}
    assert found.keys() >= {"a.txt", "b/ct", "empty", "link", "pipe"}
    taken = [each for each in found.values() if each.instance_id]
    assert [each.name for each in taken] == ["b/ct"]
    (study,) = Files([source]).studies
    (row,) = Files([source]).ask("/tools/bulk-content", {"Resources": [study], "Level": "Instance"})
    assert taken[0].instance_id == row["ID"]
    assert all(each.problem for each in found.values() if not each.instance_id)


def test_the_word_of_a_command_is_read_from_a_plain_file_only(tmp_path: Path) -> None:
    make_folder(tmp_path / "1", {})
    proc = tmp_path / "1" / "proc.json"
    assert read_proc(tmp_path / "1") is None
    proc.symlink_to("/etc/hostname")
    assert read_proc(tmp_path / "1") is None
    proc.unlink()
    proc.write_bytes(b"x" * 5_000_000)
    assert len(read_proc(tmp_path / "1") or b"") == 1 << 20
