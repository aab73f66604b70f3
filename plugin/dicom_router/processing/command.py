# SPDX-License-Identifier: AGPL-3.0-or-later
"""Running a command: without a shell and without secrets, at low priority, and ended with all that it has started."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

NICE = 10
LOOK_SECONDS = 0.05
LONGEST_OUTPUT = 16 * 1024  # bytes that are kept, the last ones
READ_SECONDS = 1.0  # for the end of the output, once all is over
PLACEHOLDER = "{dir}"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Ended:
    """How a command ended. `exit_code` is None where it was made to end: at its timeout, or as the router stops."""

    exit_code: int | None
    stopped: bool
    output: str


def run_command(command: Sequence[str], folder: Path, timeout: float, stop: threading.Event) -> Ended:
    """Run it in `folder`, for at most `timeout` seconds. Raises OSError when it cannot be started."""
    process = subprocess.Popen(  # noqa: S603 - the administrator's own command, no shell
        [word.replace(PLACEHOLDER, str(folder)) for word in command],
        cwd=folder,
        env=_environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PGRP, process.pid, NICE)
    tail = _Tail(process.stdout)
    deadline = time.monotonic() + timeout
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if stop.wait(LOOK_SECONDS):
                break
        code = process.poll()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        end_leftovers(folder)
        process.wait()
    return Ended(code, stop.is_set() and code is None, tail.text())


def end_leftovers(folder: Path) -> None:
    """End what works in `folder`: what left the command's session, or outlived a crash of Orthanc (Linux only)."""
    for pid in _working_in(folder):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _working_in(folder: Path) -> Iterator[int]:
    place = os.path.realpath(folder)
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            here = os.readlink(entry / "cwd").removesuffix(" (deleted)")
            if here == place or here.startswith(f"{place}/"):
                yield int(entry.name)


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of Orthanc's own: its environment may hold the passwords of its configuration."""
    return {"PATH": PATH, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


class _Tail:
    """The end of what a command writes. Reading goes on to the end, so that the command never waits for it."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._stream = stream
        self._kept = b""
        self._thread = threading.Thread(target=self._read, name="router-output", daemon=True)
        self._thread.start()

    def text(self) -> str:
        self._thread.join(READ_SECONDS)
        return self._kept.decode("utf-8", "replace").replace("\0", "")

    def _read(self) -> None:
        if self._stream is None:
            return
        with self._stream as stream:
            while part := os.read(stream.fileno(), 1 << 16):
                self._kept = (self._kept + part)[-LONGEST_OUTPUT:]
