# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the check scripts share: the containers of one compose file, and Orthanc over HTTP. Standard library only."""

import json
import os
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 180
POLL_SECONDS = 0.5


class CheckError(Exception):
    """What is not as it should be."""


class Containers:
    """The services of a compose file. `COMPOSE` is the command, `docker compose` unless the environment says."""

    def __init__(self, file: Path) -> None:
        compose = shlex.split(os.environ.get("COMPOSE", "docker compose"))
        self._command = [*compose, "-f", str(file)]
        self._folder = file.parent

    def call(self, *arguments: str, **environment: str) -> str:
        """Run the command with these arguments and answer what it printed. Raises CheckError."""
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=self._folder,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CheckError(f"{shlex.join([*self._command, *arguments])} ended with {done.returncode}")
        return done.stdout

    @contextmanager
    def running(self, **environment: str) -> Iterator[None]:
        """Started, and afterwards removed with their volumes."""
        try:
            self.call("up", "-d", **environment)
            yield
        finally:
            self.call("down", "-v", **environment)


class Orthanc:
    """One Orthanc, by the port that it publishes."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        """The decoded answer; raises OSError."""
        with urllib.request.urlopen(self._url + path, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: object) -> Any:
        """The decoded answer; raises OSError."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def wait_until_ready(self) -> None:
        """It answers."""
        wait_until(lambda: self.get("/system"), f"{self._url} answers", START_SECONDS)

    def make_study(self, description: str, modalities: list[str]) -> str:
        """Put a made-up study into it, one instance for each of these modalities; its StudyInstanceUID."""
        study = ""
        for number, modality in enumerate(modalities):
            tags = {"PatientID": "CHECK", "Modality": modality, "StudyDescription": description}
            tags |= {"SOPClassUID": SOP_CLASSES[modality], "InstanceNumber": str(number + 1)}
            place: dict[str, object] = {"Parent": study} if study else {}
            if study:
                tags = {key: value for key, value in tags.items() if key not in {"PatientID", "StudyDescription"}}
            made = self.post("/tools/create-dicom", {"Tags": tags, **place})
            study = study or made["ParentStudy"]
        return str(self.get(f"/studies/{study}")["MainDicomTags"]["StudyInstanceUID"])

    def modalities(self, study_instance_uid: str) -> list[str]:
        """Of the instances that it has of this study."""
        query = {"Level": "Series", "Query": {"StudyInstanceUID": study_instance_uid}, "Expand": True}
        found = self.post("/tools/find", query)
        return sorted(row["MainDicomTags"]["Modality"] for row in found for _ in row["Instances"])

    def status_of(self, study_instance_uid: str, destination: str) -> str:
        """Of the router's latest delivery of this study there; empty when there is none."""
        items = self.get(f"/router/history?study={study_instance_uid}&destination={destination}")["Items"]
        return str(items[0]["Status"]) if items else ""


SOP_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "SR": "1.2.840.10008.5.1.4.1.1.88.11",
}


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Raises CheckError when `condition` is not true in time; what cannot be asked yet is not true."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                print(f"ok    {what}", flush=True)
                return
        except (OSError, KeyError, ValueError):
            pass
        if time.monotonic() > deadline:
            raise CheckError(f"not within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)


def check(condition: bool, what: str) -> None:
    """Raises CheckError unless it is so now."""
    if not condition:
        raise CheckError(what)
    print(f"ok    {what}", flush=True)


def main(checks: Callable[[], None]) -> int:
    """The exit code of a check script."""
    try:
        checks()
    except CheckError as problem:
        print(f"FAILED  {problem}", flush=True)
        return 1
    return 0
