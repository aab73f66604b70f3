# SPDX-License-Identifier: AGPL-3.0-or-later
"""Facts about one resource, read from Orthanc in a bounded number of calls.

What Orthanc's index knows comes in one call for the studies, one for the series, one or two for the instances
(`/tools/bulk-content`, Orthanc 1.9.4 and later: the database only, no file is opened; see instances.py). Any other tag
is read from one instance of each series, or, where a rule says so, from all of them.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property

from dicom_router.deliveries.delivery import Subject
from dicom_router.deliveries.instance import Instance
from dicom_router.orthanc_rest import NOT_FOUND, OrthancError, OrthancRest
from dicom_router.rules import index
from dicom_router.rules.facts import Facts
from dicom_router.rules.keys import Key
from dicom_router.studies.instances import Attachments, Row, as_instances, ask_rows, ask_series, in_order

ROUTES = {"Study": "/studies", "Series": "/series", "Patient": "/patients", "Instance": "/instances"}
LEVELS = ("Patient", "Study", "Series", "Instance")
COPIES = frozenset({"ModifiedFrom", "AnonymizedFrom"})
WHOLE_SERIES_SECONDS = 1800.0  # Orthanc reads thousands of files, perhaps of a slow storage, before it answers
# Orthanc: Enumerations.h, InexistentFile, BadFileFormat, CorruptedFile, RegularFileExpected.
UNREADABLE = frozenset({13, 15, 20, 2006})
MOST_TRIED = 5  # instances of a series whose files cannot be read
LONGEST_RAW = 1024  # bytes of a value whose kind Orthanc does not know

Values = tuple[str | None, ...]
Hidden = Callable[[Collection[str]], set[str]]  # of these instances, those that no rule looks at


def nothing(_ids: Collection[str]) -> set[str]:
    """Nothing is hidden."""
    return set()


class ResourceFacts:
    """The facts about a resource as rules ask for them; each call to Orthanc is made once, when first needed."""

    def __init__(self, rest: OrthancRest, resource_id: str, level: str = "Study", hidden: Hidden = nothing) -> None:
        self._rest = rest
        self._hidden = hidden
        self.id = resource_id
        self.level = level
        self._attachments = Attachments(rest, level, resource_id)
        self._files: dict[str, Row] = {}  # what was read of single files
        self._read_whole: set[str] = set()  # series of which every file was read
        self._relatives: dict[str, list[ResourceFacts]] = {}

    # What Orthanc's index knows

    @cached_property
    def studies(self) -> list[Row]:
        """Its study, or its patient's studies, without copies that were made here."""
        if self.level == "Study":
            return [self._rest.get(f"/studies/{self.id}")]
        rows: list[Row] = self._rest.ask(
            "/tools/bulk-content", {"Resources": [self.id], "Level": "Study", "Metadata": True}
        )
        if not rows:
            raise OrthancError(NOT_FOUND, 0, f"There is no {self.level.lower()} {self.id}.")
        if self.level == "Patient":  # a copy is no part of what the patient's modalities sent
            rows = [row for row in rows if not COPIES & row.get("Metadata", {}).keys()] or rows
        return sorted(rows, key=lambda row: str(row["ID"]))

    @property
    def study(self) -> Row:
        """Its study; of a patient, the first one. Raises OrthancError (`not_found` when it is gone)."""
        return self.studies[0]

    @cached_property
    def series(self) -> list[Row]:
        """Its series with their main tags; of an instance, the series that it is in."""
        if not self.hidden_ids:
            return self._all_series
        kept = {row["ParentSeries"] for row in self.rows}
        return [row for row in self._all_series if row["ID"] in kept]

    @cached_property
    def _all_series(self) -> list[Row]:
        rows = ask_series(self._rest, self.level, self.id)
        return sorted(self._without_copies(rows), key=lambda row: str(row["ID"]))

    @cached_property
    def rows(self) -> list[Row]:
        """Its instances as Orthanc tells them."""
        return [row for row in self._all_rows if row["ID"] not in self.hidden_ids]

    @cached_property
    def _all_rows(self) -> list[Row]:
        rows = ask_rows(self._rest, self.level, self.id)
        # A series may have begun since its siblings were asked for; it comes with the next look.
        kept = {row["ID"] for row in self._all_series}
        return [row for row in rows if row["ParentSeries"] in kept]

    @cached_property
    def all_ids(self) -> set[str]:
        """Orthanc's IDs of its instances, also of those that no rule looks at."""
        if self.level == "Instance" or not all("Instances" in row for row in self._all_series):
            return {row["ID"] for row in self._all_rows}
        return {instance_id for row in self._all_series for instance_id in row["Instances"]}

    @cached_property
    def hidden_ids(self) -> set[str]:
        """Those that no rule looks at: results of processes."""
        return self._hidden(self.all_ids)

    @cached_property
    def instance_ids(self) -> set[str]:
        """Orthanc's IDs of its instances. Series tell them, so that thousands need not be asked for to be counted."""
        return self.all_ids - self.hidden_ids

    @cached_property
    def _by_id(self) -> dict[str, Row]:
        return {row["ID"]: row for row in self.rows}

    @cached_property
    def _series_by_id(self) -> dict[str, Row]:
        return {row["ID"]: row for row in self.series}

    def _without_copies(self, rows: list[Row]) -> list[Row]:
        if self.level != "Patient":
            return rows
        kept = {row["ID"] for row in self.studies}
        return [row for row in rows if row["ParentStudy"] in kept]

    @cached_property
    def instances(self) -> list[Instance]:
        """Its instances."""
        rows = self._attachments.complete(self.rows)
        if self.level == "Study":
            return as_instances(rows, defaultdict(lambda: self.id))
        return as_instances(rows, {row["ID"]: row["ParentStudy"] for row in self.series})

    # As rules ask

    def values(self, key: Key) -> Values:
        """The values of `key`: one for the study, each series, or each instance; None where it is missing."""
        found = self._counted_or_metadata(key)
        if found is None and len(key.path) == 1:
            found = self._indexed(key)
        return self.sampled(key) if found is None else found

    def every(self) -> Facts:
        """The same, where tags outside of Orthanc's index are read from every instance."""
        return _EveryInstance(self)

    def _counted_or_metadata(self, key: Key) -> Values | None:
        if key.name == "InstancesCount":
            return (str(len(self.instance_ids)),)
        if key.name == "SeriesCount":
            return (str(len(self.series)),)
        if key.name in index.METADATA:
            return tuple(row["Metadata"].get(index.METADATA[key.name]) for row in self.rows)
        return None

    def _indexed(self, key: Key) -> Values | None:
        """What the index holds; None when it does not hold such a tag."""
        for always, tables in (
            (index.PATIENT, _patients(self.studies)),
            (index.STUDY, _main_tags(self.studies)),
            (index.SERIES, _main_tags(self.series)),
        ):
            if key.name in always or any(key.name in table for table in tables):
                return tuple(table.get(key.name) for table in tables)
        tag = index.short(key.path[0])
        rows = [row["MainDicomTags"] for row in self.rows]
        if key.name in index.INSTANCE or any(tag in row for row in rows):
            return tuple(row.get(tag) for row in rows)
        return None

    def sampled(self, key: Key, *, every: bool = False) -> Values:
        """What one instance of each series says, or every one."""
        if every:
            told = [self.read(instance_id, key) for instance_id in self._every()]
        else:
            told = [self.read_sample(series_id, key) for series_id in self._members]
        return tuple(value for values in told for value in values or [None])

    def read_sample(self, series_id: str, key: Key) -> list[str | None]:
        """What the first instance of a series says whose file can be read.

        Raises OrthancError when that of none can: a storage that is away for an hour must decide nothing.
        """
        *others, last = self._members[series_id][:MOST_TRIED]
        for instance_id in others:
            try:
                return self.read(instance_id, key)
            except OrthancError as problem:
                if problem.code not in UNREADABLE:
                    raise
        return self.read(last, key)

    def _every(self) -> Iterable[str]:
        for series_id in self._members.keys() - self._read_whole:
            self._files |= self._rest.get(f"/series/{series_id}/instances-tags?short", WHOLE_SERIES_SECONDS)
            self._read_whole.add(series_id)
        return (row["ID"] for row in in_order(self.rows))

    @cached_property
    def _members(self) -> dict[str, list[str]]:
        """The instances of each series, in order."""
        found: dict[str, list[str]] = {}
        for row in in_order(self.rows):
            found.setdefault(row["ParentSeries"], []).append(row["ID"])
        return found

    def read(self, instance_id: str, key: Key) -> list[str | None]:
        """What the file of an instance says."""
        if instance_id not in self._files:
            self._files[instance_id] = self._rest.get(f"/instances/{instance_id}/tags?short")
        found = dig(self._files[instance_id], key.path)
        # Orthanc tells no value whose representation it does not know, as of a private tag in implicit VR.
        if found == [None] and len(key.path) == 1 and key.vr == "UN":
            raw = self._rest.get_bytes(f"/instances/{instance_id}/content/{index.short(key.path[0]).replace(',', '-')}")
            return [raw[:LONGEST_RAW].decode("latin-1")]
        return [BINARY if value is None else value for value in found]

    def remote_aets(self) -> set[str]:
        """The AE titles that sent its instances."""
        return {row["Metadata"].get("RemoteAET") or "" for row in self.rows} - {""}

    def received(self) -> dict[str, float]:
        """When the last of its instances came from each AE title, in seconds since the epoch."""
        times: dict[str, float] = {}
        for row in self.rows:
            aet, at = row["Metadata"].get("RemoteAET"), _epoch(row["Metadata"].get("ReceptionDate"))
            if aet and at is not None:
                times[aet] = max(at, times.get(aet, at))
        return times

    def is_copy(self) -> bool:
        """True when its study was made here by modifying or anonymising another one."""
        if self.level == "Study":
            metadata = self._rest.get(f"/studies/{self.id}/metadata?expand")
            return bool(COPIES & metadata.keys())
        return all(COPIES & row.get("Metadata", {}).keys() for row in self.studies)

    @property
    def patient_id(self) -> str:
        """Orthanc's ID of its patient."""
        return str(self.study["ParentPatient"])

    @property
    def owner_id(self) -> str:
        """Under which its decisions and deliveries are kept: its study, or for a patient the patient."""
        return self.id if self.level == "Patient" else str(self.study["ID"])

    def subject(self, *, patient_data: bool) -> Subject:
        """The resource as people know it; without the patient's name and ID unless `patient_data`."""
        tags = {} if len(self.studies) > 1 else self.study["MainDicomTags"]
        patient = self.study.get("PatientMainDicomTags", {})
        modalities = sorted({row["MainDicomTags"].get("Modality", "") for row in self.series} - {""})
        called = {row["Metadata"].get("CalledAET") or "" for row in self.rows} - {""}
        return Subject(
            level=self.level,
            resource_id=self.id,
            study_id=self.owner_id,
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

    def relatives(self, level: str) -> "list[ResourceFacts]":
        """The facts about what it consists of, or about what it belongs to, at another level. Raises OrthancError."""
        if level not in self._relatives:
            self._relatives[level] = self._find_relatives(level)
        return self._relatives[level]

    def _find_relatives(self, level: str) -> "list[ResourceFacts]":
        if level == self.level:
            return [self]
        if level == "Patient":
            return [ResourceFacts(self._rest, self.patient_id, level, self._hidden)]
        if LEVELS.index(level) < LEVELS.index(self.level):
            above = self.studies if level == "Study" else self.series
            return [ResourceFacts(self._rest, above[0]["ID"], level, self._hidden)]
        below = {"Study": self.studies, "Series": self.series, "Instance": self.rows}[level]
        return [self.part(level, row["ID"]) for row in below]

    def part(self, level: str, resource_id: str) -> "ResourceFacts":
        """The facts about one of its studies, series or instances, without asking Orthanc again."""
        made = ResourceFacts(self._rest, resource_id, level)
        made._attachments, made._files, made._read_whole = self._attachments, self._files, self._read_whole
        if level == "Instance":
            row = self._by_id[resource_id]
            made.series = [self._series_by_id[row["ParentSeries"]]]
            made.rows = [row]
        else:
            made.series = [row for row in self.series if resource_id in (row["ID"], row["ParentStudy"])]
            kept = {row["ID"] for row in made.series}
            made.rows = [row for row in self.rows if row["ParentSeries"] in kept]
        studies = {row["ParentStudy"] for row in made.series}
        made.studies = [row for row in self.studies if row["ID"] in studies]
        return made


def _epoch(date: str | None) -> float | None:
    """Orthanc's ReceptionDate (UTC, `20261122T010203`) in seconds since the epoch."""
    try:
        return datetime.strptime(date or "", "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


BINARY = "(binary)"  # stands for a value that is not text: it only exists


class _EveryInstance:
    """Facts that read every file where the index does not know."""

    def __init__(self, facts: ResourceFacts) -> None:
        self._facts = facts

    def values(self, key: Key) -> Values:
        """See ResourceFacts."""
        if index.is_indexed(key):
            return self._facts.values(key)
        return self._facts.sampled(key, every=True)


def _main_tags(rows: list[Row]) -> list[Mapping[str, str]]:
    return [row["MainDicomTags"] for row in rows]


def _patients(studies: list[Row]) -> list[Mapping[str, str]]:
    """Of a patient once, however many studies it has."""
    return [studies[0].get("PatientMainDicomTags", {})]


def dig(tags: Row, path: tuple[int, ...]) -> list[str | None]:
    """The values at `path` in a data set as `/tags?short` tells it; sequences are lists of data sets.

    None stands for a value that Orthanc does not tell.
    """
    tag = index.short(path[0])
    if tag not in tags:
        return []
    value = tags[tag]
    if len(path) == 1:
        if isinstance(value, list):
            return [f"{len(value)} items"] if value else []
        return [value]
    items = value if isinstance(value, list) else []
    return [found for item in items for found in dig(item, path[1:])]


def exists(rest: OrthancRest, level: str, resource_id: str) -> bool:
    """True while Orthanc has the resource. Raises OrthancError when it does not say."""
    try:
        rest.get(f"{ROUTES[level]}/{resource_id}")
    except OrthancError as problem:
        if problem.not_found:
            return False
        raise
    return True
