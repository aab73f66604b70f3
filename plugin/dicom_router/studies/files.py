# SPDX-License-Identifier: AGPL-3.0-or-later
"""DICOM files that answer as if Orthanc held them: the code that routes explains rules without a server."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_router.orthanc_rest import NOT_FOUND, OrthancError
from dicom_router.rules import index
from dicom_router.rules.values import OPAQUE
from dicom_router.studies.study import BINARY
from dicom_router.whole_numbers import whole_number

Row = dict[str, Any]
_SHOWN_BYTES = 1024


class FileError(Exception):
    """A file that cannot be used; the message names it."""


@dataclass(frozen=True)
class _File:
    id: str
    series: str
    study: str
    patient: str
    tags: Row
    metadata: Row
    number: int
    size: int


class Files:
    """The part of Orthanc's REST API that reading facts takes (OrthancRest)."""

    holds_interpreter = False
    finds_all = False

    def __init__(self, paths: Sequence[Path], optional: Collection[Path] = ()) -> None:
        """What cannot be used is left out where it is `optional`; else raises FileError."""
        self.left_out: list[str] = []
        self._files: list[_File] = []
        for path in paths:
            try:
                self._files.append(_read(path))
            except FileError as problem:
                if path not in optional:
                    raise
                self.left_out.append(str(problem))

    @property
    def studies(self) -> list[str]:
        """The IDs of the studies, in the order of the files."""
        return list(dict.fromkeys(file.study for file in self._files))

    def get(self, path: str, timeout: float = 60.0) -> Any:  # noqa: ARG002
        """Resources, metadata and tags."""
        parts = path.split("?", maxsplit=1)[0].strip("/").split("/")
        mine = [file for file in self._files if parts[1] in (file.study, file.series, file.id)]
        if not mine:
            raise OrthancError(NOT_FOUND, 0, f"There is no {path}.")
        if parts[0] == "studies":
            return {} if parts[2:] == ["metadata"] else self._study(mine)
        return {file.id: file.tags for file in mine} if parts[0] == "series" else mine[0].tags

    def ask(self, path: str, body: object) -> Any:
        """`/tools/bulk-content`."""
        assert path == "/tools/bulk-content"
        assert isinstance(body, dict)
        wanted = set(body["Resources"])
        mine = [file for file in self._files if wanted & {file.patient, file.study, file.series, file.id}]
        level = body["Level"]
        groups: dict[str, list[_File]] = {}
        for file in mine:
            groups.setdefault({"Study": file.study, "Series": file.series, "Instance": file.id}[level], []).append(file)
        make = {"Study": self._study, "Series": self._series, "Instance": self._instance}[level]
        return [make(files) for files in groups.values()]

    def _study(self, files: Sequence[_File]) -> Row:
        first = files[0]
        return {
            "ID": first.study,
            "MainDicomTags": _main(first.tags, index.STUDY),
            "PatientMainDicomTags": _main(first.tags, index.PATIENT),
            "ParentPatient": first.patient,
            "Metadata": {},
        }

    def _series(self, files: Sequence[_File]) -> Row:
        first = files[0]
        return {"ID": first.series, "MainDicomTags": _main(first.tags, index.SERIES), "ParentStudy": first.study}

    def _instance(self, files: Sequence[_File]) -> Row:
        file = files[0]
        return {
            "ID": file.id,
            "IndexInSeries": file.number,
            "MainDicomTags": {tag: file.tags[tag] for tag in _INSTANCE_TAGS if tag in file.tags},
            "Metadata": file.metadata,
            "ParentSeries": file.series,
            "FileSize": file.size,
        }

    # What facts never need

    def post(self, path: str, body: object, timeout: float = 60.0) -> NoReturn:
        """Nothing can be changed."""
        raise NotImplementedError(path, body, timeout)

    def post_bytes(self, path: str, body: bytes, timeout: float) -> NoReturn:
        """Nothing can be changed."""
        raise NotImplementedError(path, body, timeout)

    def get_bytes(self, path: str, timeout: float = 60.0) -> NoReturn:
        """The tags tell all."""
        raise NotImplementedError(path, timeout)

    def ask_bytes(self, path: str, body: object, timeout: float = 60.0) -> NoReturn:
        """Nothing is altered."""
        raise NotImplementedError(path, body, timeout)

    def download(self, path: str, target: BinaryIO, body: object = None) -> NoReturn:
        """The tags tell all."""
        raise NotImplementedError(path, target, body)

    def delete(self, path: str) -> NoReturn:
        """Nothing can be changed."""
        raise NotImplementedError(path)


_INSTANCE_TAGS = (*index.INSTANCE_TAGS.values(), "0008,0018")
_SHORT = {
    name: index.short(tag)
    for name in index.PATIENT | index.STUDY | index.SERIES
    if (tag := tag_for_keyword(name)) is not None
}


def _main(tags: Mapping[str, Any], names: frozenset[str]) -> dict[str, str]:
    return {name: tags[_SHORT[name]] for name in names if isinstance(tags.get(_SHORT[name]), str)}


def _read(path: Path) -> _File:
    try:
        data_set = pydicom.dcmread(path)
        tags = dict(_tags(data_set))
        size = path.stat().st_size
    except InvalidDicomError:
        raise FileError(f"{path} cannot be read as DICOM: it has no DICOM header.") from None
    except OSError as problem:
        raise FileError(f"{path} cannot be read as DICOM: {problem}") from None
    except Exception as problem:  # noqa: BLE001 (pydicom raises whatever a broken value makes it stumble over)
        raise FileError(f"{path} holds something that cannot be decoded: {problem}") from None
    uids = [_plain(tags, tag) for tag in ("0010,0020", "0020,000d", "0020,000e", "0008,0018")]
    patient, study, series, instance = (_id(*uids[: depth + 1]) for depth in range(4))
    number = whole_number(_plain(tags, "0020,0013")) or 0
    metadata = {
        "SopClassUid": tags.get("0008,0016"),
        "TransferSyntax": str(getattr(data_set.file_meta, "TransferSyntaxUID", "")) or None,
    }
    return _File(instance, series, study, patient, tags, metadata, number, size)


def _plain(tags: Row, tag: str) -> str:
    """Its text; a file may also hold a sequence there."""
    value = tags.get(tag)
    return value if isinstance(value, str) else ""


def _id(*uids: str) -> str:
    """As Orthanc makes its IDs: five groups of the hash of the UIDs from the patient down."""
    digest = sha1("|".join(uids).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


def _tags(data_set: Dataset) -> Iterator[tuple[str, Any]]:
    for element in data_set:
        yield index.short(int(element.tag)), _value(element)


def _value(element: DataElement) -> Any:
    if element.VR == "SQ":
        return [dict(_tags(item)) for item in element.value]
    if element.is_empty:
        return ""
    if element.VR in OPAQUE:
        return BINARY
    values = element.value if element.VM > 1 else [element.value]
    return "\\".join(_text(value) for value in values)


def _text(value: object) -> str:
    if isinstance(value, bytes):  # of a kind that the file does not tell, as a private tag in implicit VR
        return value[:_SHOWN_BYTES].decode("latin-1")
    return "" if value is None else str(value)
