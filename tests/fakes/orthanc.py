# SPDX-License-Identifier: AGPL-3.0-or-later
"""A strict fake of Orthanc 1.10.1's REST API: resources and the change log, in the forms that the real one answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dicom_router.orthanc_rest import OrthancError, OrthancUnreachableError

Json = dict[str, Any]
START = datetime(2026, 11, 22, 3, 30, 0, tzinfo=UTC)

STUDY_TAGS = {"StudyInstanceUID", "StudyDate", "StudyDescription", "AccessionNumber", "StudyID"}
PATIENT_TAGS = {"PatientID", "PatientName", "PatientSex", "PatientBirthDate"}
SERIES_TAGS = {"Modality", "SeriesInstanceUID", "SeriesDescription", "ProtocolName", "BodyPartExamined"}


def missing(path: str) -> OrthancError:
    return OrthancError(404, 17, f"Inexistent item: {path}")


@dataclass
class Stored:
    """An instance as the fake keeps it."""

    id: str
    study: str
    series: str
    number: int
    revision: int
    size: int
    tags: Json
    metadata: Json

    def row(self) -> Json:
        """Its row in bulk-content, with Short and Metadata."""
        return {
            "FileSize": self.size,
            "FileUuid": f"d4186-{self.id}-{self.revision}",
            "ID": self.id,
            "IndexInSeries": self.number,
            "MainDicomTags": {"0008,0018": f"1.2.826.{self.id}", "0020,0013": str(self.number)},
            "Metadata": {
                "HttpUsername": "",
                "IndexInSeries": str(self.number),
                "Origin": "DicomProtocol",
                "ReceptionDate": "20261122T033050",
                "RemoteAET": "CT1",
                "CalledAET": "ORTHANC",
                "RemoteIP": "10.0.0.7",
                "SopClassUid": "1.2.840.10008.5.1.4.1.1.2",
                "TransferSyntax": "1.2.840.10008.1.2.1",
                **self.metadata,
            },
            "ParentSeries": self.series,
            "Type": "Instance",
        }


@dataclass
class FakeOrthanc:
    """Holds studies and writes a change log. A failing call is put into `failures` by its path's beginning."""

    holds_interpreter: bool = False
    finds_all: bool = False  # as Orthanc 1.12.5 and later do
    instances: dict[str, Stored] = field(default_factory=dict)
    study_tags: dict[str, Json] = field(default_factory=dict)
    study_metadata: dict[str, Json] = field(default_factory=dict)
    series_tags: dict[str, Json] = field(default_factory=dict)
    unstable: set[str] = field(default_factory=set)
    changes: list[Json] = field(default_factory=list)
    updated: dict[str, str] = field(default_factory=dict)  # study -> when its last instance came
    last: int = 0
    marked: bool = False  # the router's mark in Orthanc's index
    now: datetime = START
    calls: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)  # the parts of answers that /tools/find was asked for
    patience: dict[str, float] = field(default_factory=dict)  # path -> how long the caller would have waited
    failures: dict[str, OrthancError] = field(default_factory=dict)

    # What happens to it

    def receive(
        self,
        study: str,
        *,
        series: str = "a",
        instance: str | None = None,
        size: int = 39278,
        tags: Mapping[str, object] | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> str:
        """One instance arrives (again, when it is there); answers its ID."""
        series_id = f"{study}-{series}"
        number = sum(each.series == series_id for each in self.instances.values()) + 1
        instance_id = instance or f"{series_id}-{number}"
        before = self.instances.get(instance_id)
        self.instances[instance_id] = Stored(
            instance_id,
            study,
            series_id,
            before.number if before else number,
            before.revision + 1 if before else 0,
            size,
            dict(tags or {}),
            dict(metadata or {}),
        )
        self.study_tags.setdefault(study, {"StudyInstanceUID": f"1.2.{study}", "PatientID": f"P{study}"})
        self.series_tags.setdefault(series_id, {"Modality": "CT", "SeriesInstanceUID": f"1.2.{series_id}"})
        for name, value in (tags or {}).items():
            if name in STUDY_TAGS | PATIENT_TAGS:
                self.study_tags[study][name] = value
            elif name in SERIES_TAGS:
                self.series_tags[series_id][name] = value
        self.unstable.add(study)
        self.change("NewInstance", "Instance", instance_id)
        self.updated[study] = self.now.strftime("%Y%m%dT%H%M%S")
        return instance_id

    def stable(self, study: str) -> None:
        """The study was quiet long enough."""
        self.unstable.discard(study)
        for series in sorted({each.series for each in self.instances.values() if each.study == study}):
            self.change("StableSeries", "Series", series)
        self.change("StablePatient", "Patient", f"patient-of-{study}")
        self.change("StableStudy", "Study", study)

    def delete_study(self, study: str) -> None:
        self.instances = {key: each for key, each in self.instances.items() if each.study != study}
        self.study_tags.pop(study, None)
        self.unstable.discard(study)

    def restart(self) -> None:
        """Orthanc keeps in memory which studies are unstable: after a restart none is, and no stable row comes."""
        self.unstable.clear()

    def clear_changes(self) -> None:
        """DELETE /changes: `?last` still answers the old Last."""
        self.changes.clear()

    def change(self, kind: str, level: str, resource: str) -> None:
        self.last += 1
        self.now += timedelta(seconds=1)
        self.changes.append(
            {
                "ChangeType": kind,
                "Date": self.now.strftime("%Y%m%dT%H%M%S"),
                "ID": resource,
                "Path": f"/{level.lower()}s/{resource}",
                "ResourceType": level,
                "Seq": self.last,
            }
        )

    def instances_of(self, study: str) -> set[str]:
        return {key for key, each in self.instances.items() if each.study == study}

    # Its REST API

    def get(self, path: str, timeout: float = 60.0) -> Any:
        self._called("GET", path)
        self.patience[path] = timeout
        url = urlsplit(path)
        parts = url.path.strip("/").split("/")
        if url.path == "/changes":
            return self._changes(url.query)
        if parts[0] == "studies" and len(parts) == 2:
            return self._study(parts[1])
        if parts[0] == "series" and path.endswith(("/" + parts[1], "/instances-tags?short")):
            return self._series(*parts[1:])
        if parts[0] == "patients" and len(parts) == 2:
            return self._patient(parts[1])
        if parts[0] == "studies" and parts[2:] == ["metadata"] and url.query == "expand":
            return self._metadata(parts[1])
        if parts[0] == "instances" and parts[2:] == ["tags"] and url.query == "short":
            if parts[1] not in self.instances:
                raise missing(path)
            return json.loads(json.dumps(self.instances[parts[1]].tags))
        raise AssertionError(f"the fake Orthanc has no GET {path}")

    def post(self, path: str, body: object, timeout: float = 60.0) -> Any:
        self._called("POST", path)
        assert isinstance(body, dict)
        body = json.loads(json.dumps(body))
        if path == "/tools/bulk-content":
            return self._bulk(body)
        if path == "/tools/bulk-delete":
            for each in body["Resources"]:
                self.instances.pop(each, None)
            for study in [each for each in self.study_tags if not self.instances_of(each)]:
                self.delete_study(study)
            return {}
        if path == "/tools/find" and self.finds_all:
            return self._find(body)
        raise AssertionError(f"the fake Orthanc has no POST {path}")

    def _find(self, body: Json) -> list[Json]:
        """The series or instances of a resource, with as much of what bulk-content has as was asked for."""
        assert body["Query"] == {}
        level, asked = body["Level"], body["ResponseContent"]
        (parent,) = [body[name] for name in ("ParentPatient", "ParentStudy", "ParentSeries") if name in body]
        rows = self._bulk({"Resources": [parent], "Level": level, "Metadata": True, "Short": body["Short"]})
        self.found += [f"{level} {name}" for name in asked]
        for row in rows if level == "Instance" else []:
            file = _attachment(row["FileUuid"], row["FileSize"])
            row["Attachments"] = [{"ContentType": 4097, "Uuid": "another", "UncompressedSize": 5}, file]
        told = {"Parent": {"ParentStudy", "ParentSeries"}, "Children": {"Instances"}}
        kept = {"ID", "Type"}.union(*(told.get(name, {name}) for name in asked))
        return [{name: value for name, value in row.items() if name in kept} for row in rows]

    def ask(self, path: str, body: object) -> Any:
        return self.post(path, body)

    def post_bytes(self, path: str, body: bytes, timeout: float) -> Any:
        raise AssertionError(f"the fake Orthanc has no POST {path}")

    def ask_bytes(self, path: str, body: object, timeout: float = 60.0) -> bytes:
        raise AssertionError(f"the fake Orthanc has no POST {path}")

    def get_bytes(self, path: str, timeout: float = 60.0) -> bytes:
        self._called("GET", path)
        found = self.instances.get(path.split("/")[2])
        if found is None or not path.endswith("/file"):
            raise missing(path)
        return f"DICM{found.id}".encode()

    def delete(self, path: str) -> None:
        self._called("DELETE", path)
        study = path.removeprefix("/studies/")
        if study not in self.study_tags:
            raise missing(path)
        self.delete_study(study)

    def _called(self, method: str, path: str) -> None:
        self.calls.append(f"{method} {path}")
        for beginning, error in self.failures.items():
            if path.startswith(beginning):
                raise error

    def _changes(self, query: str) -> Json:
        if query == "last":
            # The last row that still exists: rows go with their resource. Of an empty log, the last there ever was.
            last = self.changes[-1]["Seq"] if self.changes else self.last
            return {"Changes": self.changes[-1:], "Done": True, "Last": last}
        asked = {key: int(value[0]) for key, value in parse_qs(query, strict_parsing=True).items()}
        assert set(asked) <= {"since", "limit"}, query
        found = [row for row in self.changes if row["Seq"] > asked.get("since", 0)]
        page = found[: asked.get("limit", 100)]
        last = page[-1]["Seq"] if page else asked.get("since", 0)
        return {"Changes": [dict(row) for row in page], "Done": len(page) == len(found), "Last": last}

    def _study(self, study: str) -> Json:
        if study not in self.study_tags:
            raise missing(f"/studies/{study}")
        tags = self.study_tags[study]
        return {
            "ID": study,
            "IsStable": study not in self.unstable,
            "LastUpdate": self.updated.get(study, "20260101T000000"),
            "MainDicomTags": {key: value for key, value in tags.items() if key in STUDY_TAGS},
            "ParentPatient": f"patient-of-{study}",
            "PatientMainDicomTags": {key: value for key, value in tags.items() if key in PATIENT_TAGS},
            "Series": sorted({each.series for each in self.instances.values() if each.study == study}),
            "Type": "Study",
        }

    def _metadata(self, study: str) -> Json:
        self._study(study)
        return {"LastUpdate": "20261122T033055", **self.study_metadata.get(study, {})}

    def _patient(self, patient: str) -> Json:
        if patient not in {f"patient-of-{each.study}" for each in self.instances.values()}:
            raise missing(f"/patients/{patient}")
        return {"ID": patient}

    def _series(self, series: str, what: str = "") -> Json:
        inside = [each for each in self.instances.values() if each.series == series]
        if what:
            return {each.id: json.loads(json.dumps(each.tags)) for each in inside}
        if not inside:
            raise missing(f"/series/{series}")
        return {"ID": series, "IsStable": inside[0].study not in self.unstable, "ParentStudy": inside[0].study}

    def _bulk(self, body: Json) -> list[Json]:
        assert set(body) <= {"Resources", "Level", "Metadata", "Short"}, body
        rows: dict[str, Json] = {}
        for each in list(self.instances.values()):
            if not {each.id, each.series, each.study, f"patient-of-{each.study}"} & set(body["Resources"]):
                continue
            if body["Level"] == "Instance":
                assert body["Short"] is True
                rows[each.id] = each.row()
                if not body.get("Metadata"):
                    del rows[each.id]["Metadata"]
            elif body["Level"] == "Series":
                rows[each.series] = {
                    "ExpectedNumberOfInstances": None,
                    "ID": each.series,
                    "MainDicomTags": {} if body.get("Short") else dict(self.series_tags[each.series]),
                    "ParentStudy": each.study,
                    "Status": "Unknown",
                    "Type": "Series",
                }
            elif body["Level"] == "Study":
                rows[each.study] = self._study(each.study) | {"Metadata": self.study_metadata.get(each.study, {})}
            else:
                raise AssertionError(body["Level"])
        return list(rows.values())


def unreachable() -> OrthancError:
    return OrthancUnreachableError("ReadTimeoutError in GET")


def _attachment(uuid: str, size: int) -> Json:
    return {"ContentType": 1, "Uuid": uuid, "CompressedSize": size + 7, "UncompressedSize": size}
