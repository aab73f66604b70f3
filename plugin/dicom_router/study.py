# SPDX-License-Identifier: AGPL-3.0-or-later
"""Facts about one resource, read from Orthanc in a bounded number of calls.

What Orthanc's index knows of every instance comes in one call (`/tools/bulk-content`, Orthanc 1.9.4 and later: the
database only, no file is opened). Any other tag is read from one instance of each series.
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from dicom_router.deliveries.delivery import Subject
from dicom_router.deliveries.instance import Instance
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.rules.keys import Key

# Metadata of each instance that matching can ask for (Orthanc Book, "Metadata").
METADATA = {
    "RemoteAET": "RemoteAET",
    "CalledAET": "CalledAET",
    "RemoteIP": "RemoteIP",
    "Origin": "Origin",
    "HttpUsername": "HttpUsername",
    "SOPClassUID": "SopClassUid",
    "TransferSyntaxUID": "TransferSyntax",
    "ReceptionDate": "ReceptionDate",
}
PER_INSTANCE = {"Metadata": True, "Short": True}
ROUTES = {"Study": "/studies", "Series": "/series", "Patient": "/patients"}


def list_instances(rest: OrthancRest, level: str, resource_id: str) -> list[Instance]:
    """The instances of a resource, in the order of their series and numbers. Empty when it is gone."""
    rows = rest.post("/tools/bulk-content", {"Resources": [resource_id], "Level": "Instance", **PER_INSTANCE})
    if level == "Study":
        return _instances(rows, defaultdict(lambda: resource_id))
    return _instances(rows, _studies_of(rest, {row["ParentSeries"] for row in rows}))


def _instances(rows: list[dict[str, Any]], studies: Mapping[str, str]) -> list[Instance]:
    rows = sorted(rows, key=lambda row: (row["ParentSeries"], row.get("IndexInSeries") or 0, row["ID"]))
    return [
        Instance(
            id=row["ID"],
            revision=row.get("FileUuid", ""),
            series_id=row["ParentSeries"],
            study_id=studies[row["ParentSeries"]],
            sop_instance_uid=row["MainDicomTags"].get("0008,0018", ""),
            size=row.get("FileSize", 0),
            remote_aet=row["Metadata"].get("RemoteAET") or "",
        )
        for row in rows
    ]


def _studies_of(rest: OrthancRest, series: set[str]) -> dict[str, str]:
    rows = rest.post("/tools/bulk-content", {"Resources": sorted(series), "Level": "Series", "Short": True})
    return {row["ID"]: row["ParentStudy"] for row in rows}


class ResourceFacts:
    """The facts about a study as rules ask for them; each call to Orthanc is made once, when first needed."""

    def __init__(self, rest: OrthancRest, study_id: str) -> None:
        self._rest = rest
        self._id = study_id
        self._representatives: dict[str, dict[str, Any]] = {}

    @cached_property
    def study(self) -> dict[str, Any]:
        """The study as `/studies/{id}` tells it; raises OrthancError (`not_found` when it is gone)."""
        found: dict[str, Any] = self._rest.get(f"/studies/{self._id}")
        return found

    @cached_property
    def series(self) -> list[dict[str, Any]]:
        """The study's series with their main tags."""
        rows: list[dict[str, Any]] = self._rest.post(
            "/tools/bulk-content", {"Resources": [self._id], "Level": "Series"}
        )
        return sorted(rows, key=lambda row: str(row["ID"]))

    @cached_property
    def _instance_rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._rest.post(
            "/tools/bulk-content", {"Resources": [self._id], "Level": "Instance", **PER_INSTANCE}
        )
        return rows

    @cached_property
    def instances(self) -> list[Instance]:
        """The study's instances."""
        return _instances(self._instance_rows, defaultdict(lambda: self._id))

    def values(self, key: Key) -> tuple[str | None, ...]:
        """The values of `key`: one for the study, each series, or each instance; None where it is missing."""
        if key.name == "InstancesCount":
            return (str(len(self._instance_rows)),)
        if key.name == "SeriesCount":
            return (str(len(self.series)),)
        if key.name in METADATA:
            return tuple(row["Metadata"].get(METADATA[key.name]) for row in self._instance_rows)
        return self._tag_values(key)

    def _tag_values(self, key: Key) -> tuple[str | None, ...]:
        if len(key.path) == 1:
            for tags in (self.study["MainDicomTags"], self.study.get("PatientMainDicomTags", {})):
                if key.name in tags:
                    return (tags[key.name],)
            if any(key.name in row["MainDicomTags"] for row in self.series):
                return tuple(row["MainDicomTags"].get(key.name) for row in self.series)
            short = f"{key.path[0] >> 16:04x},{key.path[0] & 0xFFFF:04x}"
            if any(short in row["MainDicomTags"] for row in self._instance_rows):
                return tuple(row["MainDicomTags"].get(short) for row in self._instance_rows)
        found: list[str | None] = []
        for tags in self._sampled_tags():
            found += _dig(tags, key.path) or [None]
        return tuple(found)

    def _sampled_tags(self) -> list[dict[str, Any]]:
        """All tags of one instance of each series: the one with the lowest number."""
        first: dict[str, str] = {}
        for instance in self.instances:
            first.setdefault(instance.series_id, instance.id)
        for instance_id in first.values():
            if instance_id not in self._representatives:
                self._representatives[instance_id] = self._rest.get(f"/instances/{instance_id}/tags?short")
        return [self._representatives[instance_id] for instance_id in first.values()]

    def remote_aets(self) -> set[str]:
        """The AE titles that sent the study's instances."""
        return {row["Metadata"].get("RemoteAET") or "" for row in self._instance_rows} - {""}

    def is_copy(self) -> bool:
        """True when the study was made here by modifying or anonymising another one."""
        metadata = self._rest.get(f"/studies/{self._id}/metadata?expand")
        return bool({"ModifiedFrom", "AnonymizedFrom"} & metadata.keys())

    def subject(self, *, patient_data: bool) -> Subject:
        """The study as people know it; without the patient's name and ID unless `patient_data`."""
        tags, patient = self.study["MainDicomTags"], self.study.get("PatientMainDicomTags", {})
        modalities = sorted({row["MainDicomTags"].get("Modality", "") for row in self.series} - {""})
        called = {row["Metadata"].get("CalledAET") or "" for row in self._instance_rows} - {""}
        return Subject(
            level="Study",
            resource_id=self._id,
            study_id=self._id,
            study_instance_uid=tags.get("StudyInstanceUID", ""),
            patient_id=patient.get("PatientID", "") if patient_data else "",
            patient_name=patient.get("PatientName", "") if patient_data else "",
            accession_number=tags.get("AccessionNumber", ""),
            study_date=tags.get("StudyDate", ""),
            study_description=tags.get("StudyDescription", ""),
            modalities="\\".join(modalities),
            remote_aet="\\".join(sorted(self.remote_aets())),
            called_aet="\\".join(sorted(called)),
        )


def _dig(tags: dict[str, Any], path: tuple[int, ...]) -> list[str | None]:
    """The values at `path` in a data set as `/tags?short` tells it; sequences are lists of data sets."""
    value = tags.get(f"{path[0] >> 16:04x},{path[0] & 0xFFFF:04x}")
    if len(path) == 1:
        return [value] if isinstance(value, str) else []
    items = value if isinstance(value, list) else []
    return [found for item in items for found in _dig(item, path[1:])]


def exists(rest: OrthancRest, level: str, resource_id: str) -> bool:
    """True while Orthanc has the resource. Raises OrthancError when it does not say."""
    try:
        rest.get(f"{ROUTES[level]}/{resource_id}")
    except OrthancError as problem:
        if problem.not_found:
            return False
        raise
    return True
