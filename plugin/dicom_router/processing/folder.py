# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folder of a process: what goes in, and what is found in it afterwards."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

INPUT, OUTPUT, INFO, PROC = "INPUT", "OUTPUT", "info.json", "proc.json"
LARGEST_PROC = 1 << 20  # bytes
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True)
class OutputFile:
    """A file of OUTPUT: the ID that Orthanc gives it, or why it is none for Orthanc."""

    path: Path
    name: str  # below OUTPUT
    instance_id: str = ""
    problem: str = ""


def make_folder(folder: Path, info: Mapping[str, object]) -> None:
    """A fresh folder, for this user alone. Raises OSError."""
    remove_folder(folder)
    folder.mkdir(parents=True, mode=0o700)
    (folder / INPUT).mkdir()
    (folder / OUTPUT).mkdir()
    (folder / INFO).write_text(json.dumps(info, indent=2, ensure_ascii=False), encoding="utf-8")


def remove_folder(folder: Path) -> None:
    """Remove it with all that is in it, as far as that is allowed."""
    shutil.rmtree(folder, ignore_errors=True)


def read_proc(folder: Path) -> bytes | None:
    """What is in `proc.json`; None when it is not there, or no plain file. Raises OSError."""
    path = folder / PROC
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(LARGEST_PROC)


def output_files(folder: Path) -> Iterator[OutputFile]:
    """The files of OUTPUT and its folders, in order. Raises OSError."""
    root = folder / OUTPUT
    if root.is_symlink():
        return
    for place, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(place) / name
            yield _output_file(path, str(path.relative_to(root)))


def _output_file(path: Path, name: str) -> OutputFile:
    if path.is_symlink() or not path.is_file():
        return OutputFile(path, name, problem="is no plain file")
    try:
        found = dcmread(path, stop_before_pixels=True, specific_tags=["PatientID", *UIDS])
    except Exception:  # noqa: BLE001 - whatever a command may write
        return OutputFile(path, name, problem="is no DICOM file")
    if any(not found.get(uid) for uid in UIDS):
        return OutputFile(path, name, problem="lacks one of the UIDs of study, series and instance")
    return OutputFile(path, name, orthanc_id(found))


def orthanc_id(found: Dataset) -> str:
    """As Orthanc makes the IDs of instances (orthanc: DicomInstanceHasher.cpp)."""
    parts = [str(found.get(keyword) or "").strip(" \0") for keyword in ("PatientID", *UIDS)]
    digest = sha1("|".join(parts).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))
