# SPDX-License-Identifier: AGPL-3.0-or-later
"""Real Orthancs: started, asked, killed, stopped and restarted."""

import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Any

import urllib3

from .network import DicomNode, free_port
from .orthanc_http import OrthancHttp
from .plugin_fault import was_the_plugins_fault
from .waiting import wait_until

# PYTHONFAULTHANDLER: a crash of Python itself is told in the log.
ENVIRONMENT = {"TCP_NODELAY": "1", "PYTHONFAULTHANDLER": "1"}
START_SECONDS = 60
STOP_SECONDS = 30
CRASH_SIGNS = ("terminate called", "Fatal Python error", "Segmentation fault", "core dumped", "Traceback (most recent")


def orthanc_binary() -> str:
    """`ORTHANC_BINARY`, or what is on the PATH, or where Debian puts it (`/usr/sbin` is not on every user's PATH)."""
    return os.environ.get("ORTHANC_BINARY") or shutil.which("Orthanc") or "/usr/sbin/Orthanc"


def plugin_file(name: str) -> Path:
    """A plugin of Orthanc, alone: given a folder, Orthanc would load every plugin in it."""
    return Path(os.environ.get("ORTHANC_PLUGINS") or "/usr/share/orthanc/plugins") / name


def python_plugin() -> Path:
    """Orthanc's Python plugin."""
    return _installed("libOrthancPython.so", "orthanc-python")


def dicom_web_plugin() -> Path:
    """Orthanc's DICOMweb plugin."""
    return _installed("libOrthancDicomWeb.so", "orthanc-dicomweb")


def _installed(name: str, package: str) -> Path:
    plugin = plugin_file(name)
    assert plugin.exists(), f"{plugin} is missing (Debian's package is {package}); Orthanc would start without it"
    return plugin


def read_orthanc_json(path: Path) -> dict[str, Any]:
    """A configuration file as Orthanc reads it: JSON with `//` and `/* */` comments and `${VARIABLE:-default}`."""
    text = re.sub(
        r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', lambda found: found[1] or "", path.read_text(), flags=re.DOTALL
    )
    text = re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda found: os.environ.get(found[1]) or found[2] or "", text)
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def merge(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """`base` with `extra` over it; objects are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in extra.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


class OrthancProcess(OrthancHttp):
    """An Orthanc started from an existing configuration file, in that file's folder."""

    def __init__(self, config_file: Path, log_file: Path) -> None:
        config = read_orthanc_json(config_file)
        super().__init__(config["HttpPort"])
        for user, password in (config.get("RegisteredUsers") or {}).items():
            self.authorization = urllib3.make_headers(basic_auth=f"{user}:{password}")
        self.name: str = config["Name"]
        self.aet: str = config["DicomAet"]
        self.http: int = config["HttpPort"]
        self.dicom: int = config["DicomPort"]
        self.config_file = config_file
        self.log_file = log_file
        self.environment: dict[str, str] = {}
        """More environment variables, read at the next start."""
        self.exit_code: int | None = None
        """That of the last stop."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def node(self) -> DicomNode:
        return DicomNode(self.aet, self.dicom)

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and return once HTTP answers (DICOM does by then: Orthanc opens it first)."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start without waiting."""
        assert not self.is_alive, f"{self.name} runs already"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [orthanc_binary(), self.config_file.name],
                cwd=self.config_file.parent,
                env=os.environ | ENVIRONMENT | {"PYTHONPATH": _python_path()} | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C is for us; we then stop Orthanc in order
            )

    def wait_until_ready(self) -> None:
        wait_until(self._answers, START_SECONDS, f"{self.name} answers on {self.url}")

    def kill(self) -> None:
        """SIGKILL, as a power cut to this process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._ended()

    def stop(self, patience: float = STOP_SECONDS) -> float:
        """SIGTERM; the seconds Orthanc took. It ends by itself, with 0 or by its plugin's known fault."""
        self._running()
        self.ask_to_stop()
        return self.wait_until_stopped(patience)

    def ask_to_stop(self) -> None:
        self._stop_asked = time.monotonic()
        self._running().send_signal(signal.SIGTERM)

    def wait_until_stopped(self, patience: float = STOP_SECONDS) -> float:
        process = self._running()
        try:
            code = process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not stop within {patience:g} s\n{self.log_tail()}") from None
        seconds = time.monotonic() - self._stop_asked
        self._ended()
        self.exit_code = code
        in_order = code == 0 or was_the_plugins_fault(code, self.log())
        assert in_order, f"{self.name} ended with exit code {code}\n{self.log_tail()}"
        return seconds

    def restart(self, patience: float = STOP_SECONDS) -> None:
        """Stop if it runs, and start again with the same folders and ports."""
        if self.is_alive:
            self.stop(patience)
        self.start()

    def log(self) -> str:
        """All that this Orthanc has written since its first start."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    def crash_signs(self) -> list[str]:
        """The lines of the log that tell of a crash or of an uncaught Python exception."""
        return [line for line in self.log().splitlines() if any(sign in line for sign in CRASH_SIGNS)]

    def sop_instance_uids(self) -> list[str]:
        """What it holds, with repetitions if there were any."""
        return [instance["MainDicomTags"]["SOPInstanceUID"] for instance in self.get("/instances?expand")]

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    def _answers(self) -> bool:
        process = self._running()
        assert process.poll() is None, f"{self.name} ended with exit code {process.returncode}\n{self.log_tail()}"
        try:
            return self.request("GET", "/system", timeout=5).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _ended(self) -> None:
        self._process = None
        self.forget_connections()


class Orthanc(OrthancProcess):
    """An Orthanc with a folder, ports and a configuration of its own. Change `config` and restart to reconfigure."""

    def __init__(self, folder: Path, aet: str = "ORTHANC", config: dict[str, Any] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = merge(_plain_config(aet), config or {})
        self._write_config(folder / "orthanc.json")
        super().__init__(folder / "orthanc.json", folder / "orthanc.log")

    def launch(self) -> None:
        self._write_config(self.config_file)
        super().launch()

    def _write_config(self, path: Path) -> None:
        path.write_text(json.dumps(self.config, indent=2))


def _plain_config(aet: str) -> dict[str, Any]:
    return {
        "Name": aet,
        "DicomAet": aet,
        "DicomPort": free_port(),
        "HttpPort": free_port(),
        "StorageDirectory": "storage",
        "IndexDirectory": "storage",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "UnknownSopClassAccepted": True,
        "ConcurrentJobs": 16,
        "JobsHistorySize": 100,
        "SaveJobs": False,
        "StableAge": 1,
        "Plugins": [],
    }


def _python_path() -> str:
    """Where the plugin finds its packages; the interpreter inside Orthanc must be of the version that runs us."""
    return os.environ.get("ORTHANC_PYTHONPATH") or sysconfig.get_path("purelib")
