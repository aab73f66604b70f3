# SPDX-License-Identifier: AGPL-3.0-or-later
"""The series and instances of a resource as Orthanc's index knows them; no file is opened.

`/tools/bulk-content` tells all in one call (Orthanc 1.9.4 and later). From 1.12.5 on it asks the index for each one,
and `/tools/find` asks it once. There the attachments are a quarter of the time, so they are left until something is
sent.
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from dicom_router.deliveries.instance import Instance
from dicom_router.orthanc_rest import NOT_FOUND, OrthancError, OrthancRest
from dicom_router.whole_numbers import whole_number

PARENTS = {"Patient": "ParentPatient", "Study": "ParentStudy", "Series": "ParentSeries"}
INDEXED = ("MainDicomTags", "Metadata", "Parent")
ATTACHMENTS = ("Attachments",)
DICOM_FILE = 1  # Orthanc: Enumerations.h, FileContentType_Dicom

Row = dict[str, Any]


def list_instances(rest: OrthancRest, level: str, resource_id: str) -> list[Instance]:
    """The instances of a resource, in the order of their series and numbers. Empty when it is gone."""
    rows = ask_rows(rest, level, resource_id, INDEXED + ATTACHMENTS)
    if level == "Study":
        return as_instances(rows, defaultdict(lambda: resource_id))
    return as_instances(rows, _studies_of(rest, {row["ParentSeries"] for row in rows}))


def ask_rows(rest: OrthancRest, level: str, resource_id: str, content: tuple[str, ...] = INDEXED) -> list[Row]:
    """What Orthanc's index knows of a resource's instances, at least `content`, as `/tools/bulk-content` tells it."""
    if rest.finds_all and level in PARENTS:
        return [_as_content(row) for row in _find(rest, "Instance", level, resource_id, content, short=True)]
    asked = {"Resources": [resource_id], "Level": "Instance", "Metadata": True, "Short": True}
    rows: list[Row] = rest.ask("/tools/bulk-content", asked)
    return rows


def ask_series(rest: OrthancRest, level: str, resource_id: str) -> list[Row]:
    """Its series with their main tags and instances; of a series or an instance, the one that it is or is in."""
    if rest.finds_all and level in {"Patient", "Study"}:
        return _find(rest, "Series", level, resource_id, ("MainDicomTags", "Children", "Parent"), short=False)
    rows: list[Row] = rest.ask("/tools/bulk-content", {"Resources": [resource_id], "Level": "Series"})
    return rows


def _find(
    rest: OrthancRest, wanted: str, level: str, resource_id: str, content: tuple[str, ...], *, short: bool
) -> list[Row]:
    asked = {"Level": wanted, "Query": {}, PARENTS[level]: resource_id, "ResponseContent": content, "Short": short}
    rows: list[Row] = rest.ask("/tools/find", asked)
    return rows


def as_instances(rows: list[Row], studies: Mapping[str, str]) -> list[Instance]:
    """The instances of rows with their attachments; `studies` has the study of each series."""
    return [
        Instance(
            id=row["ID"],
            revision=row.get("FileUuid", ""),
            series_id=row["ParentSeries"],
            study_id=studies[row["ParentSeries"]],
            sop_instance_uid=row["MainDicomTags"].get("0008,0018", ""),
            size=row.get("FileSize", 0),
            remote_aet=row["Metadata"].get("RemoteAET") or "",
            sop_class_uid=row["Metadata"].get("SopClassUid") or "",
            transfer_syntax=row["Metadata"].get("TransferSyntax") or "",
        )
        for row in in_order(rows)
    ]


def in_order(rows: list[Row]) -> list[Row]:
    """By series and number."""
    return sorted(rows, key=lambda row: (row["ParentSeries"], row.get("IndexInSeries") or 0, row["ID"]))


class Attachments:
    """The files of a resource's instances: asked for once, when something is to be sent."""

    def __init__(self, rest: OrthancRest, level: str, resource_id: str) -> None:
        self._rest = rest
        self._level = level
        self._resource_id = resource_id

    def complete(self, rows: list[Row]) -> list[Row]:
        """The rows with revision and size of their files. Raises OrthancError (`not_found` when one was deleted)."""
        if all("FileUuid" in row for row in rows):
            return rows
        gone = next((row["ID"] for row in rows if row["ID"] not in self._files), None)
        if gone is not None:
            raise OrthancError(NOT_FOUND, 0, f"There is no instance {gone} any more.")
        return [row | self._files[row["ID"]] for row in rows]

    @cached_property
    def _files(self) -> dict[str, Row]:
        return {row["ID"]: row for row in ask_rows(self._rest, self._level, self._resource_id, ATTACHMENTS)}


def _as_content(row: Row) -> Row:
    """As `/tools/bulk-content` tells it, as far as it was asked for."""
    told: Row = {name: row[name] for name in ("ID", "MainDicomTags", "Metadata", "ParentSeries") if name in row}
    if "Metadata" in row:
        told["IndexInSeries"] = whole_number(str(row["Metadata"].get("IndexInSeries") or ""))
    if "Attachments" in row:
        file: Row = next((each for each in row["Attachments"] if each["ContentType"] == DICOM_FILE), {})
        told |= {"FileUuid": file.get("Uuid", ""), "FileSize": file.get("UncompressedSize", 0)}
    return told


def _studies_of(rest: OrthancRest, series: set[str]) -> dict[str, str]:
    rows = rest.ask("/tools/bulk-content", {"Resources": sorted(series), "Level": "Series", "Short": True})
    return {row["ID"]: row["ParentStudy"] for row in rows}
