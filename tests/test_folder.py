# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folder as a destination: whole files only, each in its own place, and errors that say what to do."""

import errno
import io
import os
import queue
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from PIL import Image
from PIL.PdfParser import PdfParser
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from builders import instance
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import Scope, SendError
from dicom_router.destination import Destination, Format, Kind
from dicom_router.filing.template import Place, parse_template
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.transports import folder_files
from dicom_router.transports.folder import FolderTransport
from dicom_router.transports.folder_files import FolderFiles, LeavesFolderError, Stamp
from dicom_router.transports.own_jobs import OwnJobs
from dicom_router.transports.transport import JobReport, JobState

LIMIT = 10.0  # seconds
PLACE = parse_template("{PatientID}/x.dcm", one_file=False).place({0x00100020: "P1"})
NO_PLACE_LEFT = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/srv/DOE^JANE.dcm")


def text_stamp(text: str) -> Stamp:
    """A file whose first word says whose it is."""
    return Stamp(text, lambda path: path.read_text().split(" ")[0])


def write(files: FolderFiles, root: Path, owner: str, place: Place = PLACE, content: str = "") -> None:
    files.write(str(root), place, text_stamp(owner), lambda path: void(path.write_text(f"{owner} {content}")))


def void(_: object) -> None:
    return None


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def files() -> FolderFiles:
    return FolderFiles("here")


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_same_thing_replaces_its_file_and_another_goes_beside(files: FolderFiles, tmp_path: Path) -> None:
    write(files, tmp_path, "a", content="1")
    write(files, tmp_path, "b", content="1")
    write(files, tmp_path, "a", content="2")
    write(files, tmp_path, "b", content="2")
    found = contents(tmp_path)
    assert sorted(found.values()) == ["a 2", "b 2"]
    assert found["P1/x.dcm"] == "a 2"
    assert files.find(str(tmp_path), PLACE, text_stamp("b")) != tmp_path / "P1/x.dcm"
    assert files.find(str(tmp_path), PLACE, text_stamp("c")) is None


def test_a_file_that_somebody_else_put_there_stays(files: FolderFiles, tmp_path: Path) -> None:
    tmp_path.joinpath("P1").mkdir()
    tmp_path.joinpath("P1/x.dcm").write_text("mine")
    write(files, tmp_path, "a")
    assert contents(tmp_path)["P1/x.dcm"] == "mine"
    assert len(contents(tmp_path)) == 2


def test_many_writers_of_one_name_all_keep_their_files(files: FolderFiles, tmp_path: Path) -> None:
    owners = [f"owner{number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda owner: write(files, tmp_path, owner), owners * 2))
    assert {text.split(" ")[0] for text in contents(tmp_path).values()} == set(owners)
    assert len(contents(tmp_path)) == len(owners)


def test_what_a_failed_writing_leaves_is_nothing(files: FolderFiles, tmp_path: Path) -> None:
    write(files, tmp_path, "a", content="before")

    def half(path: Path) -> None:
        path.write_text("a hal")
        raise NO_PLACE_LEFT

    with pytest.raises(OSError, match="No space"):
        files.write(str(tmp_path), PLACE, text_stamp("a"), half)
    assert contents(tmp_path) == {"P1/x.dcm": "a before"}


def test_no_reader_ever_sees_half_a_file(files: FolderFiles, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def slowly(path: Path) -> None:
        path.write_text("a hal")
        seen.append([each.name for each in tmp_path.iterdir()])
        path.write_text("a whole")

    files.write(str(tmp_path), PLACE, text_stamp("a"), slowly)
    ((hidden,),) = seen
    assert hidden.startswith(".")
    assert contents(tmp_path) == {"P1/x.dcm": "a whole"}


def test_what_an_earlier_life_was_killed_over_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    left: list[Path] = []

    def killed(path: Path) -> None:
        left.append(path.with_name(path.name + "2"))
        left[-1].write_text("half")

    write(FolderFiles("there"), tmp_path, "a")
    FolderFiles("there").write(str(tmp_path), PLACE, text_stamp("a"), killed)
    FolderFiles("here").write(str(tmp_path), PLACE, text_stamp("a"), killed)
    assert all(path.exists() for path in left)
    assert FolderFiles("here").probe(str(tmp_path)) is None
    assert [path.exists() for path in left] == [True, False]


@pytest.mark.parametrize("target", ["outside", "outside/deeper"])
def test_a_link_that_leads_out_is_not_followed(files: FolderFiles, tmp_path: Path, target: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.joinpath("deeper").mkdir(parents=True)
    root.joinpath("P1").symlink_to(tmp_path / target)
    with pytest.raises(LeavesFolderError):
        write(files, root, "a")
    assert contents(tmp_path) == {}


def test_a_link_inside_is_followed_and_one_in_the_place_of_a_file_stays(files: FolderFiles, tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other.dcm"
    root.joinpath("real").mkdir(parents=True)
    root.joinpath("P1").symlink_to(root / "real")
    other.write_text("a not ours to change")
    root.joinpath("real/x.dcm").symlink_to(other)
    write(files, root, "a")
    assert other.read_text() == "a not ours to change"
    assert root.joinpath("real/x.dcm").is_symlink()
    assert len(list(root.joinpath("real").iterdir())) == 2


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOSPC, "DiskFull", "Make room"),
        (errno.EDQUOT, "DiskFull", "Make room"),
        (errno.EACCES, "NotWritable", "Give its user the right"),
        (errno.EROFS, "NotWritable", "Give its user the right"),
        (errno.ENOENT, "FolderMissing", "Make or mount it"),
        (errno.EIO, "FolderFailed", "cannot be written"),
        (errno.ESTALE, "FolderFailed", "cannot be written"),
    ],
)
def test_trouble_with_the_folder_passes_and_says_what_to_do(number: int, code: str, words: str) -> None:
    error = folder_files.folder_error("/srv/export", OSError(number, os.strerror(number), "/srv/export/DOE^JANE"))
    assert (error.permanent, error.scope, error.code) == (False, Scope.DESTINATION, code)
    assert words in error.message
    assert "/srv/export" in error.message
    assert "JANE" not in error.message


def test_a_probe_tells_whether_a_file_can_be_written(
    files: FolderFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert files.probe(str(tmp_path)) is None
    missing = files.probe(str(tmp_path / "away"))
    assert missing is not None
    assert missing.code == "FolderMissing"
    monkeypatch.setattr(folder_files, "_sync", raising(NO_PLACE_LEFT))
    full = files.probe(str(tmp_path))
    assert full is not None
    assert full.code == "DiskFull"
    assert contents(tmp_path) == {}


def test_a_file_counts_where_the_system_cannot_be_told_to_keep_folders(
    files: FolderFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        plain(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write(files, tmp_path, "a")
    assert len(contents(tmp_path)) == 1


def raising(problem: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise problem

    return fail


def test_a_place_that_cannot_be_written_blames_the_folder_only_when_nothing_else_can_be(
    files: FolderFiles, tmp_path: Path
) -> None:
    problem = OSError(errno.EACCES, os.strerror(errno.EACCES))
    assert files.explain(str(tmp_path), problem).scope is Scope.INSTANCE
    assert files.explain(str(tmp_path / "away"), problem).scope is Scope.DESTINATION
    assert files.explain(str(tmp_path), NO_PLACE_LEFT).scope is Scope.DESTINATION


def test_a_folder_that_hangs_does_not_hold_up_another(
    files: FolderFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, scandir = threading.Event(), threading.Event(), os.scandir
    hanging, other = tmp_path / "hanging", tmp_path / "other"
    hanging.mkdir()
    other.mkdir()

    def scan(path: str) -> Any:
        if path == str(hanging):
            begun.set()
            go_on.wait()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)

    def use_other() -> SendError | None:
        write(files, other, "a")
        return files.probe(str(other))

    with ThreadPoolExecutor(2) as pool:
        try:
            waits = pool.submit(write, files, hanging, "a")
            assert begun.wait(LIMIT)
            assert pool.submit(use_other).result(LIMIT) is None
            assert not waits.done()
        finally:
            go_on.set()
    assert len(contents(tmp_path)) == 2


# --- the transport ---------------------------------------------------------------------------------------------------


class Rest:
    """Orthanc, as far as a folder asks."""

    holds_interpreter = False
    finds_all = False

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, str]] = {}
        self.gone: set[str] = set()
        self.rendered: Iterator[bytes] = iter(())  # then no instance is a picture
        self.before_download: Callable[[], None] = lambda: None
        self.unreadable: set[str] = set()  # left out of archives, as Orthanc does
        self.cut_to: int | None = None  # bytes of an archive that come, as if that were all

    def get(self, path: str, timeout: float = 60.0) -> Any:
        name = path.split("/")[2]
        if name in self.gone:
            raise OrthancError(404, 17, "Unknown resource")
        return self.tags[name]

    def get_bytes(self, path: str) -> bytes:
        picture = next(self.rendered, None)
        if picture is None:
            raise OrthancError(415, 0, "")
        return picture

    def download(self, path: str, target: BinaryIO, body: object = None) -> None:
        self.before_download()
        if isinstance(body, dict):
            target.write(self._archive(path, body["Resources"])[: self.cut_to])
        else:
            target.write(dicom(self.tags[path.split("/")[2]]["0008,0018"]))

    def _archive(self, path: str, resources: list[str]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            if path == "/tools/create-media":
                archive.writestr("DICOMDIR", b"")
            for number, name in enumerate(each for each in resources if each not in self.unreadable):
                archive.writestr(f"CT/CT{number:06}.dcm", dicom(self.tags[name]["0008,0018"]))
        return buffer.getvalue()


def png(size: int = 1) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (size, size)).save(buffer, "PNG")
    return buffer.getvalue()


def dicom(uid: str, **tags: object) -> bytes:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = uid
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class World:
    def __init__(self, root: Path) -> None:
        self.rest = Rest()
        self.ended: queue.Queue[tuple[str, JobState]] = queue.Queue()
        jobs = OwnJobs(lambda job_id, state: self.ended.put((job_id, state)))
        self.transport = FolderTransport(cast(OrthancRest, self.rest), jobs, "here")
        self.export = Destination("EXPORT", str(root), kind=Kind.FOLDER)

    def instances(self, count: int, **tags: str) -> list[Instance]:
        made = [instance(number, size=len(dicom(f"1.2.{number}"))) for number in range(count)]
        self.rest.tags |= {each.id: {"0008,0018": each.sop_instance_uid, "0010,0020": "P1"} | tags for each in made}
        return made

    def send(self, destination: Destination, instances: list[Instance]) -> JobReport:
        job_id = self.transport.submit(destination, instances)
        assert self.ended.get(timeout=LIMIT)[0] == job_id
        return self.transport.report(job_id, len(instances))


@pytest.fixture(name="at")
def world_at(tmp_path: Path) -> World:
    return World(tmp_path)


def test_instances_become_files_with_their_names(at: World, tmp_path: Path) -> None:
    assert at.send(at.export, at.instances(3)) == JobReport(JobState.SUCCESS, 3)
    assert set(at_files(tmp_path)) == {f"P1/unknown-unknown/1.2.{number}.dcm" for number in range(3)}


def at_files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_what_is_not_there_any_more_or_not_whole_is_found_out(at: World, tmp_path: Path) -> None:
    instances = at.instances(3)
    at.send(at.export, instances)
    tmp_path.joinpath("P1/unknown-unknown/1.2.0.dcm").unlink()
    short = tmp_path.joinpath("P1/unknown-unknown/1.2.1.dcm")
    short.write_bytes(short.read_bytes()[:-1])
    assert at.transport.find(at.export, instances, lambda _: False) == {"1.2.2"}


def test_a_full_disk_blames_the_folder_and_what_was_written_counts(at: World, tmp_path: Path) -> None:
    instances = at.instances(5)
    left = iter([None, None, NO_PLACE_LEFT])

    def fill_up() -> None:
        problem = next(left)
        if problem is not None:
            raise problem

    at.rest.before_download = fill_up
    report = at.send(at.export, instances)
    assert (report.state, report.accepted) == (JobState.FAILURE, 2)
    assert report.error is not None
    assert (report.error.code, report.error.scope) == ("DiskFull", Scope.DESTINATION)
    assert len(at_files(tmp_path)) == 2


def test_an_instance_that_is_gone_or_no_image_is_blamed_alone(at: World) -> None:
    instances = at.instances(2)
    at.rest.gone.add(instances[0].id)
    gone = at.transport.try_one(at.export, instances[0])
    assert isinstance(gone, SendError)
    assert (gone.code, gone.permanent, gone.scope) == ("NotFound", False, Scope.INSTANCE)
    no_image = at.transport.try_one(replace(at.export, format=Format.PNG), instances[1])
    assert isinstance(no_image, SendError)
    assert (no_image.code, no_image.permanent, no_image.scope) == ("NotRenderable", True, Scope.INSTANCE)


def test_a_pdf_of_nothing_that_can_be_shown_is_refused_and_leaves_no_file(at: World, tmp_path: Path) -> None:
    report = at.send(replace(at.export, format=Format.PDF, unit="Study study"), at.instances(2))
    assert report.error is not None
    assert (report.accepted, report.error.code, report.error.permanent) == (0, "NotRenderable", True)
    assert at_files(tmp_path) == []


def test_a_picture_that_claims_to_have_two_billion_frames_is_looked_at_one_by_one(at: World, tmp_path: Path) -> None:
    """Places for all of them do not fit into the memory."""
    pictures = replace(at.export, format=Format.PNG)
    (picture,) = at.instances(1, **{"0028,0008": str(2**31 - 1)})
    at.rest.rendered = iter([png(), png()])
    error = at.transport.try_one(pictures, picture)
    assert isinstance(error, SendError)
    assert (error.code, error.scope) == ("NotRenderable", Scope.INSTANCE)
    assert [name[-15:] for name in at_files(tmp_path)] == ["-0000000001.png", "-0000000002.png"]
    assert at.transport.find(pictures, [picture], lambda _: False) == set()


@pytest.mark.parametrize("frames", [str(2**31), "9" * 4000, "9" * 5000, "-3", "0", "x", "1\\2"])
def test_what_is_no_number_of_frames_is_one(at: World, tmp_path: Path, frames: str) -> None:
    pictures = replace(at.export, format=Format.PNG)
    (picture,) = at.instances(1, **{"0028,0008": frames})
    at.rest.rendered = iter([png()])
    assert at.transport.try_one(pictures, picture) is None
    assert at_files(tmp_path) == ["P1/unknown-unknown/1.2.0.png"]
    assert at.transport.find(pictures, [picture], lambda _: False) == {"1.2.0"}


def test_a_canceled_job_ends_after_the_file_it_is_at(at: World, tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(LIMIT)

    at.rest.before_download = wait
    job_id = at.transport.submit(at.export, at.instances(5))
    assert begun.wait(LIMIT)
    at.transport.cancel(job_id)
    go_on.set()
    at.ended.get(timeout=LIMIT)
    assert at.transport.report(job_id, 5).accepted == 1
    assert len(at_files(tmp_path)) == 1


# --- one file of all -------------------------------------------------------------------------------------------------

ARCHIVES = [Format.ZIP, Format.DICOMDIR]


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_in_which_orthanc_left_an_instance_out_does_not_count(
    at: World, tmp_path: Path, kind: Format
) -> None:
    """It logs what it could not read, and goes on."""
    archives = replace(at.export, format=kind, unit="Study study")
    instances = at.instances(5)
    at.rest.unreadable.add(instances[3].id)
    report = at.send(archives, instances)
    assert report.error is not None
    assert (report.accepted, report.error.code, report.error.permanent) == (0, "ArchiveIncomplete", False)
    assert at_files(tmp_path) == []
    at.rest.unreadable.clear()
    assert at.send(archives, instances) == JobReport(JobState.SUCCESS, 5)
    assert at.transport.find(archives, instances, never) == {each.sop_instance_uid for each in instances}


WHOLES = [*ARCHIVES, Format.PDF]


def held(path: Path) -> int:
    """How many instances a file of many shows or holds."""
    if path.suffix == ".pdf":
        with PdfParser(str(path)) as parser:
            return len(parser.pages)
    with zipfile.ZipFile(path) as archive:
        return len(set(archive.namelist()) - {"DICOMDIR"})


def wholes(root: Path) -> list[int]:
    return sorted(held(root / name) for name in at_files(root))


@pytest.mark.parametrize("kind", WHOLES)
def test_late_instances_make_the_file_of_all_anew(at: World, tmp_path: Path, kind: Format) -> None:
    destination = replace(at.export, format=kind, unit="Study study")
    at.rest.rendered = repeat(png())
    for count in (5, 5, 6):
        instances = at.instances(count)
        assert at.send(destination, instances) == JobReport(JobState.SUCCESS, count)
        assert wholes(tmp_path) == [count]
        assert at.transport.find(destination, instances, never) == {each.sop_instance_uid for each in instances}


def never(_: float) -> bool:
    return False


@pytest.mark.parametrize("kind", WHOLES)
def test_what_is_deleted_in_orthanc_stays_in_its_file_when_others_come_late(
    at: World, tmp_path: Path, kind: Format
) -> None:
    destination = replace(at.export, format=kind, unit="Study study")
    at.rest.rendered = repeat(png())
    instances = at.instances(11)
    at.send(destination, instances[:5])
    (first,) = at_files(tmp_path)
    at.send(destination, instances[5:6])
    assert wholes(tmp_path) == [1, 5]
    assert held(tmp_path / first) == 5
    at.send(destination, instances[5:7])
    assert wholes(tmp_path) == [2, 5]
    for number in range(7, 11):
        at.send(destination, instances[number : number + 1])
    assert wholes(tmp_path) == [1, 1, 1, 1, 2, 5]
    assert at.transport.find(destination, instances, never) == {each.sop_instance_uid for each in instances}
    at.send(destination, instances)
    assert held(tmp_path / first) == 11


@pytest.mark.parametrize("kind", WHOLES)
def test_what_a_file_of_all_does_not_hold_is_not_found_there(at: World, kind: Format) -> None:
    destination = replace(at.export, format=kind, unit="Study study")
    at.rest.rendered = repeat(png())
    instances = at.instances(5)
    at.send(destination, instances[1:])
    missing = instances[0].sop_instance_uid
    assert at.transport.find(destination, instances, never) == {each.sop_instance_uid for each in instances} - {missing}


def test_the_pages_of_a_pdf_are_in_order_and_written_in_one_pass(at: World, tmp_path: Path) -> None:
    """An appended page reads all that are there."""
    at.rest.rendered = iter([png(size) for size in range(1, 101)])
    at.send(replace(at.export, format=Format.PDF, unit="Study study"), at.instances(100))
    (name,) = at_files(tmp_path)
    written = (tmp_path / name).read_bytes()
    assert written.count(b"%%EOF") == 1
    with PdfParser(str(tmp_path / name)) as parser:
        pages = [parser.read_indirect(page) for page in parser.pages]
        pictures = [parser.read_indirect(page[b"Resources"][b"XObject"][b"image"]).buf for page in pages]
    sizes = [tuple(Image.open(io.BytesIO(picture)).size) for picture in pictures]
    assert sizes == [(size, size) for size in range(1, 101)]
    assert [page[b"MediaBox"][2] for page in pages] == pytest.approx([size * 0.75 for size in range(1, 101)])


@pytest.mark.parametrize("of_all", [True, False])
def test_a_pdf_of_many_pages_ends_at_the_page_at_which_it_is_stopped(at: World, tmp_path: Path, of_all: bool) -> None:
    destination = replace(at.export, format=Format.PDF, unit="Study study")
    instances = at.instances(50 if of_all else 1, **({} if of_all else {"0028,0008": "50"}))
    begun, go_on, rendered = threading.Event(), threading.Event(), list[bytes]()

    def render() -> Iterator[bytes]:
        while True:
            rendered.append(png())
            if len(rendered) == 3:
                begun.set()
                assert go_on.wait(LIMIT)
            yield rendered[-1]

    at.rest.rendered = render()
    job_id = at.transport.submit(destination, instances)
    assert begun.wait(LIMIT)
    at.transport.cancel(job_id)
    go_on.set()
    at.ended.get(timeout=LIMIT)
    report = at.transport.report(job_id, len(instances))
    assert report.error is not None
    assert (report.accepted, report.error.code, len(rendered)) == (0, "JobCanceled", 3)
    assert at_files(tmp_path) == []


@pytest.mark.parametrize("cut_to", [0, 200, -10])
def test_an_archive_that_breaks_off_does_not_count(at: World, tmp_path: Path, cut_to: int) -> None:
    """Orthanc tells no length beforehand, so that its end looks like any other."""
    archives = replace(at.export, format=Format.ZIP, unit="Study study")
    at.rest.cut_to = cut_to
    report = at.send(archives, at.instances(5))
    assert report.error is not None
    assert (report.accepted, report.error.code, report.error.permanent) == (0, "ArchiveIncomplete", False)
    assert at_files(tmp_path) == []


# --- altered copies --------------------------------------------------------------------------------------------------


def test_an_altered_copy_lies_where_its_own_tags_say(at: World, tmp_path: Path) -> None:
    """Not where those of the original do, which would tell whose it is."""
    assert at.transport.send_file(at.export, dicom("2.25.7", PatientID="S^1", OtherPatientIDs=["a", "b"])) is None
    assert at_files(tmp_path) == ["S^1/unknown-unknown/2.25.7.dcm"]


def test_an_altered_copy_with_a_number_of_the_wrong_length_is_written_as_it_is(at: World, tmp_path: Path) -> None:
    file = dicom("2.25.7", PatientID="S^1") + b"\x28\x00\x06\x01US\x03\x00abc"
    destination = replace(at.export, path="{PatientID}/{SmallestImagePixelValue}.dcm")
    assert at.transport.send_file(destination, file) is None
    assert tmp_path.joinpath("S^1/unknown.dcm").read_bytes() == file


def test_an_altered_copy_is_not_rendered(at: World, tmp_path: Path) -> None:
    refused = at.transport.send_file(replace(at.export, format=Format.PNG), dicom("2.25.7"))
    assert refused is not None
    assert (refused.code, refused.permanent, at_files(tmp_path)) == ("CannotAlter", True, [])
