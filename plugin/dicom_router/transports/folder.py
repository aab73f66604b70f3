# SPDX-License-Identifier: AGPL-3.0-or-later
"""Files in a folder: DICOM files, pictures of each frame, or one ZIP or PDF of a study."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import UID, EncapsulatedPDFStorage

from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError
from dicom_router.destination import Destination, Format
from dicom_router.filing.names import mark_of
from dicom_router.filing.template import Place, parse_template
from dicom_router.orthanc_rest import OrthancError, OrthancRest, OrthancUnreachableError
from dicom_router.rendering.places import texts
from dicom_router.transports import pictures
from dicom_router.transports.folder_files import FolderFiles, LeavesFolderError, Stamp
from dicom_router.transports.own_jobs import OwnJobs
from dicom_router.transports.transport import JobReport, Wait

DEFAULT_FOLDERS = "{PatientID}/{StudyDate}-{AccessionNumber}"
EXTENSIONS = {
    Format.DICOM: "dcm",
    Format.ZIP: "zip",
    Format.DICOMDIR: "zip",
    Format.PNG: "png",
    Format.JPEG: "jpg",
    Format.PDF: "pdf",
}
ARCHIVES = {Format.ZIP: "/tools/create-archive", Format.DICOMDIR: "/tools/create-media"}
DICOMDIR = "DICOMDIR"  # the one file of a medium that is no instance
CANNOT_RENDER = 415  # Orthanc's answer for what is no image, or in a transfer syntax that it cannot decode
SOP_CLASS_UID, NUMBER_OF_FRAMES = "0008,0016", "0028,0008"
PART_BYTES = 8
MOST_FRAMES = 2**31 - 1  # DICOM PS3.5 6.2: IS

Tags = dict[str, Any]


class FolderTransport:
    """Writes files. The ID of what a file holds is in the file itself, so that nothing else needs to be kept."""

    def __init__(self, rest: OrthancRest, jobs: OwnJobs, owner: str) -> None:
        self._rest = rest
        self._jobs = jobs
        self._files = FolderFiles(owner)

    # The Transport

    def submit(self, destination: Destination, instances: Sequence[Instance]) -> str:
        if destination.whole:
            return self._jobs.start_whole(instances, partial(self._try_whole, destination))
        return self._jobs.start(instances, partial(self.try_one, destination))

    def report(self, job_id: str, count: int) -> JobReport:
        return self._jobs.report(job_id, count)

    def pause(self, job_id: str, count: int) -> JobReport | None:
        return self._jobs.pause(job_id, count)

    def cancel(self, job_id: str) -> None:
        self._jobs.cancel(job_id)

    def try_one(self, destination: Destination, instance: Instance) -> SendError | None:
        write = self._write_dicom if destination.format is Format.DICOM else self._write_frames
        return self._guarded(destination, lambda: write(destination, instance))

    def send_file(self, destination: Destination, file: bytes) -> SendError | None:
        if destination.format is not Format.DICOM:
            text = f"An altered copy is a DICOM file; it cannot be written as {destination.format}."
            return SendError.refusal("CannotAlter", text)
        read = dcmread(BytesIO(file), stop_before_pixels=True)
        place = _place(destination, _tags_of(read))
        stamp = Stamp(str(read.SOPInstanceUID), _dicom_stamp)

        def fill(path: Path) -> None:
            path.write_bytes(file)

        return self._guarded(destination, lambda: self._files.write(destination.target, place, stamp, fill))

    def probe(self, destination: Destination) -> SendError | None:
        return self._files.probe(destination.target)

    def find(self, destination: Destination, instances: Sequence[Instance], wait: Wait) -> set[str] | SendError:
        found: set[str] = set()
        try:
            if destination.whole:
                return self._find_whole(destination, instances)
            for instance in instances:
                if wait(0):
                    break
                if self._has(destination, instance):
                    found.add(instance.sop_instance_uid)
        except OSError as problem:
            return self._files.explain(destination.target, problem)
        except OrthancError as problem:
            return _of_orthanc(problem)
        return found

    def commit(self, destination: Destination, instances: Sequence[Instance], wait: Wait) -> set[str] | SendError:  # noqa: ARG002
        return SendError.passing("CommitmentFailed", "A folder cannot commit itself to keep anything.")

    def address(self, destination: Destination) -> tuple[str, int] | None:  # noqa: ARG002 - it has none
        return None

    # Errors

    def _try_whole(self, destination: Destination, instances: Sequence[Instance], stop: Event) -> SendError | None:
        if destination.format is Format.PDF:
            return self._guarded(destination, lambda: self._write_pdf(destination, instances, stop))
        return self._guarded(destination, lambda: self._write_archive(destination, instances))

    def _guarded(self, destination: Destination, write: Callable[[], SendError | None]) -> SendError | None:
        try:
            return write()
        except _StoppedError:
            return SendError.passing("JobCanceled", "The sending was ended.")
        except LeavesFolderError:
            text = f"A symbolic link below {destination.target} leads out of it; nothing is written through it."
            return SendError.refusal("LeavesFolder", text)
        except OSError as problem:
            if problem.errno is None:  # not the system's, but that of the library that draws
                return SendError.refusal("NotRenderable", "What Orthanc rendered is no picture.")
            return self._files.explain(destination.target, problem)
        except OrthancError as problem:
            return _of_orthanc(problem)

    # One file, or some, for each instance

    def _write_dicom(self, destination: Destination, instance: Instance) -> None:
        place = _place(destination, self._tags(instance))
        stamp = Stamp(instance.sop_instance_uid, _dicom_stamp)
        self._files.write(destination.target, place, stamp, partial(self._download, f"/instances/{instance.id}/file"))

    def _download(self, source: str, path: Path, body: object = None) -> None:
        with path.open("wb") as file:
            self._rest.download(source, file, body)

    def _write_frames(self, destination: Destination, instance: Instance) -> None:
        tags = self._tags(instance)
        place, count = _place(destination, tags), _frames(tags)
        save = pictures.write_png if destination.format is Format.PNG else pictures.write_jpeg
        for number, where in enumerate(_frame_places(place, count)):
            rendered = self._rest.get_bytes(f"/instances/{instance.id}/frames/{number}/rendered")
            stamp = _picture_stamp(destination.format, instance)
            self._files.write(destination.target, where, stamp, partial(save, rendered, stamp.text))

    # One file for all

    def _write_archive(self, destination: Destination, instances: Sequence[Instance]) -> SendError | None:
        place = _place(destination, self._tags(instances[0]), _unit_keyword(destination))
        stamp = _unit_stamp(destination, instances, instances, _zip_stamp)
        body = {"Resources": [instance.id for instance in instances]}

        def fill(path: Path) -> None:
            self._download(ARCHIVES[destination.format], path, body)
            held = _count_members(path)
            if held != len(instances):
                raise _ArchiveIncompleteError(f"Of {len(instances)} instances, Orthanc put {held} into the archive.")
            _write_zip_stamp(path, stamp)

        try:
            self._files.write(destination.target, place, stamp, fill)
        except _ArchiveIncompleteError as problem:
            return SendError.passing("ArchiveIncomplete", f"{problem} Its log may say why.")
        return None

    def _write_pdf(self, destination: Destination, instances: Sequence[Instance], stop: Event) -> SendError | None:
        place = _place(destination, self._tags(instances[0]), _unit_keyword(destination))
        shapes = {instance.id: self._shape(instance, stop) for instance in instances}
        documents = [each for each in instances if shapes[each.id].is_document]
        for document in documents:
            self._write_document(destination, place, document)
        others = [each for each in instances if not shapes[each.id].is_document]
        if not others:
            return None
        pages = _Pages(self._rest, others, shapes, stop)
        stamp = _unit_stamp(destination, instances, others, pictures.pdf_stamp)

        def fill(path: Path) -> None:
            pictures.write_pages(pages, stamp.written, path)
            if not pages.shown and not documents:
                raise _NothingToShowError

        try:
            self._files.write(destination.target, place, stamp, fill)
        except _NothingToShowError:
            text = "Orthanc can render none of its instances, and none of them holds a PDF."
            return SendError.refusal("NotRenderable", text)
        return None

    def _shape(self, instance: Instance, stop: Event) -> "_Shape":
        if stop.is_set():
            raise _StoppedError
        tags = self._tags(instance)
        return _Shape(str(tags.get(SOP_CLASS_UID, "")), _frames(tags))

    def _write_document(self, destination: Destination, place: Place, document: Instance) -> None:
        """A PDF that came in DICOM, as it is."""
        beside = place.beside(document.sop_instance_uid)
        stamp = Stamp(document.sop_instance_uid, lambda _: document.sop_instance_uid)  # its name says whose it is
        self._files.write(destination.target, beside, stamp, partial(self._download, f"/instances/{document.id}/pdf"))

    # Looking for it

    def _has(self, destination: Destination, instance: Instance) -> bool:
        tags = self._tags(instance)
        place = _place(destination, tags)
        if destination.format is Format.DICOM:
            path = self._files.find(destination.target, place, Stamp(instance.sop_instance_uid, _dicom_stamp))
            return path is not None and path.stat().st_size == instance.size
        stamp = _picture_stamp(destination.format, instance)
        places = _frame_places(place, _frames(tags))
        return all(self._files.find(destination.target, each, stamp) for each in places)

    def _find_whole(self, destination: Destination, instances: Sequence[Instance]) -> set[str]:
        found: set[str] = set()
        for study_id in {instance.study_id for instance in instances}:
            mine = [instance for instance in instances if instance.study_id == study_id]
            place = _place(destination, self._tags(mine[0]), _unit_keyword(destination))
            documents = [each for each in mine if destination.format is Format.PDF and _is_document(self._tags(each))]
            found |= {each.sop_instance_uid for each in documents if self._has_document(destination, place, each)}
            others = [each for each in mine if each not in documents]
            read = pictures.pdf_stamp if destination.format is Format.PDF else _zip_stamp
            held = self._files.parts(destination.target, place, _unit_stamp(destination, mine, others, read))
            found |= {each.sop_instance_uid for each in others if _part(each) in held}
        return found

    def _has_document(self, destination: Destination, place: Place, each: Instance) -> bool:
        stamp = Stamp(each.sop_instance_uid, lambda _: each.sop_instance_uid)
        return self._files.find(destination.target, place.beside(each.sop_instance_uid), stamp) is not None

    def _tags(self, instance: Instance) -> Tags:
        tags: Tags = self._rest.get(f"/instances/{instance.id}/tags?short")
        return tags


class _NothingToShowError(Exception):
    """No page of a PDF shows anything."""


class _ArchiveIncompleteError(Exception):
    """Orthanc leaves out what it cannot read, and breaks off, without a word."""


class _StoppedError(Exception):
    """The job is to end."""


@dataclass(frozen=True)
class _Shape:
    """What of an instance's tags decides about its pages."""

    sop_class: str
    frames: int

    @property
    def is_document(self) -> bool:
        return self.sop_class == EncapsulatedPDFStorage


class _Pages:
    """The pages of a PDF, each made when it is asked for."""

    def __init__(
        self, rest: OrthancRest, instances: Sequence[Instance], shapes: dict[str, _Shape], stop: Event
    ) -> None:
        self.shown = 0  # how many of them show something
        self._rest = rest
        self._instances = instances
        self._shapes = shapes
        self._stop = stop

    def __iter__(self) -> Iterator[bytes | str]:
        for instance in self._instances:
            shape = self._shapes[instance.id]
            for number in range(shape.frames):
                page = self._page(instance, number)
                if page is None:
                    name = UID(shape.sop_class).name
                    yield f"This cannot be shown as a picture: {name}, {instance.sop_instance_uid}"
                    break
                self.shown += 1
                yield page

    def _page(self, instance: Instance, number: int) -> bytes | None:
        if self._stop.is_set():
            raise _StoppedError
        try:
            return self._rest.get_bytes(f"/instances/{instance.id}/frames/{number}/rendered")
        except OrthancError as problem:
            if problem.status == CANNOT_RENDER:
                return None
            raise


def _of_orthanc(problem: OrthancError) -> SendError:
    if problem.status == CANNOT_RENDER:
        text = "Orthanc cannot render it: it is no image, or in a transfer syntax that needs another plugin."
        return SendError.refusal("NotRenderable", text)
    if problem.not_found:
        return SendError(ErrorClass.TRANSIENT, Scope.INSTANCE, "NotFound", problem.details)
    code = "OrthancUnreachable" if isinstance(problem, OrthancUnreachableError) else "OrthancError"
    return SendError.passing(code, str(problem))


def _place(destination: Destination, tags: Tags, file: str = "SOPInstanceUID") -> Place:
    kind = destination.format
    text = destination.path or f"{DEFAULT_FOLDERS}/{{{file}}}.{EXTENSIONS[kind]}"
    values = {int(tag.replace(",", ""), 16): value for tag, value in tags.items() if isinstance(value, str)}
    template = parse_template(text, one_file=kind.one_file and bool(destination.path))
    return template.place(values)


def _tags_of(read: Dataset) -> Tags:
    """In the form of Orthanc's `/tags?short`, without sequences and without what cannot be decoded."""
    told: Tags = {}
    for tag in [*read.keys()]:
        with suppress(Exception):  # whatever is wrong with it; a number of the wrong length is common
            if read[tag].VR != "SQ":
                told[f"{tag.group:04x},{tag.element:04x}"] = "\\".join(texts(read[tag]))
    return told


def _unit_keyword(destination: Destination) -> str:
    """What names a file of many instances where the destination has no Path."""
    level = destination.unit.split(" ", 1)[0]
    return {"Series": "SeriesInstanceUID", "Instance": "SOPInstanceUID"}.get(level, "StudyInstanceUID")


def _unit_stamp(
    destination: Destination, of: Sequence[Instance], held: Sequence[Instance], read: Callable[[Path], str | None]
) -> Stamp:
    return Stamp(f"{destination.unit} {of[0].study_id}", read, frozenset(map(_part, held)))


def _part(instance: Instance) -> str:
    """What tells an instance apart within a file: its UID alone may be in several series."""
    return mark_of(instance.id, size=PART_BYTES)


def _picture_stamp(kind: Format, instance: Instance) -> Stamp:
    read = pictures.png_stamp if kind is Format.PNG else pictures.jpeg_stamp
    return Stamp(instance.sop_instance_uid, read)


def _frames(tags: Tags) -> int:
    with suppress(ValueError, TypeError):
        count = int(tags.get(NUMBER_OF_FRAMES, 1))
        return count if 1 <= count <= MOST_FRAMES else 1
    return 1


def _frame_places(place: Place, count: int) -> Iterator[Place]:
    """One by one: a file may claim any number of frames."""
    if count == 1:
        yield place
        return
    digits = len(str(count))
    for number in range(1, count + 1):
        yield Place(place.folders, f"{place.stem}-{number:0{digits}}", place.extension)


def _is_document(tags: Tags) -> bool:
    return bool(tags.get(SOP_CLASS_UID) == EncapsulatedPDFStorage)


def _dicom_stamp(path: Path) -> str | None:
    try:
        found = dcmread(path, stop_before_pixels=True, force=True, specific_tags=["SOPInstanceUID"])
        return str(found.get("SOPInstanceUID", "")) or None
    except Exception:  # noqa: BLE001 - whatever is wrong with a file that somebody else put there
        return None


def _count_members(path: Path) -> int:
    """How many instances an archive of Orthanc's holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            return len(_members(archive))
    except zipfile.BadZipFile as problem:
        raise _ArchiveIncompleteError("Orthanc's archive breaks off.") from problem


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [member for member in archive.infolist() if member.filename != DICOMDIR]


def _write_zip_stamp(path: Path, stamp: Stamp) -> None:
    """The comment of the archive has no room for thousands of parts: those are spread over the comments of members."""
    text, *parts = stamp.written.split("\n")
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = text.encode()
        for member, part in zip(_members(archive), parts, strict=True):
            member.comment = part.encode()


def _zip_stamp(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            parts = [member.comment for member in archive.infolist() if member.comment]
            return b"\n".join([archive.comment, *parts]).decode()
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
