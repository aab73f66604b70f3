# SPDX-License-Identifier: AGPL-3.0-or-later
"""Folders as destinations: real files through a real Orthanc, in every format; killed in the middle; hostile tags."""

import io
import random
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from PIL import Image
from PIL.PdfParser import PdfParser
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, generate_uid

from support.router import Router
from support.store_scu import send
from support.studies import bundled_files, data_set_bytes, make_study, same_data_set

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
SEED = 20261122
TRIALS = 10
ENDED = {"Completed", "Warning", "Failed"}

StartRouter = Callable[..., Router]


def folder_router(
    start_router: StartRouter, folder: Path, rule: dict[str, Any] | None = None, **options: Any
) -> Router:
    folder.mkdir(exist_ok=True)
    section = {"Destinations": {"EXPORT": {"Folder": str(folder), **options}}}
    return start_router(rules=[{"Name": "export", "Match": {}, "Send": ["EXPORT"]} | (rule or {})], section=section)


def post(router: Router, paths: list[Path]) -> dict[str, str]:
    """The stored instances: SOP Instance UID to the ID of Orthanc."""
    for path in paths:
        router.post("/instances", path.read_bytes())
    return {each["MainDicomTags"]["SOPInstanceUID"]: each["ID"] for each in router.get("/instances?expand")}


def files(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def all_ended(router: Router, timeout: float = 60) -> list[dict[str, Any]]:
    return router.wait_for_deliveries(
        lambda found: bool(found) and all(each["Status"] in ENDED for each in found), timeout
    )


def encapsulated_pdf(path: Path, document: bytes, **tags: object) -> Path:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = EncapsulatedPDFStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    made.SeriesInstanceUID = generate_uid()
    made.Modality = "DOC"
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    made.EncapsulatedDocument = document
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    made.save_as(path, enforce_file_format=True)
    return path


def test_every_real_file_is_in_the_folder_as_it_was(start_router: StartRouter, tmp_path: Path) -> None:
    export = tmp_path / "export"
    router = folder_router(start_router, export, Verify="Counted", Associations=4)
    sent = bundled_files(tmp_path / "bundled")
    stored = post(router, sent)
    router.wait_for_deliveries(
        lambda found: (
            sum(each["InstancesSent"] for each in found) == len(stored)
            and all(each["Status"] == "Completed" for each in found)
        ),
        90,
    )
    written = {pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID: path for path in files(export)}
    assert written.keys() == stored.keys()
    for uid, path in written.items():
        assert path.read_bytes() == router.get_bytes(f"/instances/{stored[uid]}/file")
        assert path.name == f"{uid}.dcm"


def test_a_study_is_one_zip_that_late_instances_make_anew(start_router: StartRouter, tmp_path: Path) -> None:
    export = tmp_path / "export"
    router = folder_router(start_router, export, Format="Zip", Verify="Counted")
    study = make_study(tmp_path / "a", series=2, instances=60, pixels=(16, 16), PatientID="P1", AccessionNumber="A1")
    post(router, study.files)
    assert all_ended(router)[0]["InstancesSent"] == 120
    (archive,) = files(export)
    assert archive.relative_to(export) == Path("P1", "20260102-A1", f"{study.uid}.zip")
    assert zip_uids(archive) == set(study.sop_instance_uids)

    late = make_study(tmp_path / "b", StudyInstanceUID=study.uid, PatientID="P1", AccessionNumber="A1", pixels=(16, 16))
    post(router, late.files)
    router.wait_until_completed(2)
    assert files(export) == [archive]
    assert zip_uids(archive) == {*study.sop_instance_uids, *late.sop_instance_uids}


def zip_uids(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        members = [archive.read(name) for name in archive.namelist() if not name.endswith("DICOMDIR")]
    return {str(pydicom.dcmread(io.BytesIO(each)).SOPInstanceUID) for each in members}


def test_two_series_of_one_study_are_two_zips(start_router: StartRouter, tmp_path: Path) -> None:
    export = tmp_path / "export"
    rule = {"Trigger": "StableSeries"}
    router = folder_router(start_router, export, rule, Format="Zip", Path="{PatientID}.zip")
    study = make_study(tmp_path / "a", series=2, instances=3, pixels=(16, 16), PatientID="P1")
    post(router, study.files)
    router.wait_until_completed(2)
    found = files(export)
    assert len(found) == 2
    assert {uid for path in found for uid in zip_uids(path)} == set(study.sop_instance_uids)


def test_a_dicomdir_lists_what_is_beside_it(start_router: StartRouter, tmp_path: Path) -> None:
    export = tmp_path / "export"
    router = folder_router(start_router, export, Format="Dicomdir")
    study = make_study(tmp_path / "a", series=2, instances=3, pixels=(16, 16))
    stored = post(router, study.files)
    all_ended(router)
    (media,) = files(export)
    with zipfile.ZipFile(media) as archive:
        archive.extractall(tmp_path / "media")
    directory = pydicom.dcmread(tmp_path / "media" / "DICOMDIR")
    images = [record for record in directory.DirectoryRecordSequence if record.DirectoryRecordType == "IMAGE"]
    listed = {
        str(record.ReferencedSOPInstanceUIDInFile): tmp_path.joinpath("media", *record.ReferencedFileID)
        for record in images
    }
    assert listed.keys() == stored.keys()
    for uid, path in listed.items():
        assert pydicom.dcmread(path).SOPInstanceUID == uid


@pytest.mark.parametrize("kind", ["Png", "Jpeg"])
def test_each_frame_is_a_picture_of_its_size_and_what_is_no_image_is_named(
    start_router: StartRouter, tmp_path: Path, kind: str
) -> None:
    export = tmp_path / "export"
    router = folder_router(start_router, export, Format=kind, Verify="Counted")
    image, frames, report = (BUNDLED / name for name in ("CT_small.dcm", "SC_rgb_rle_2frame.dcm", "reportsi.dcm"))
    post(router, [image, frames, report])
    ended = router.wait_for_deliveries(
        lambda found: len(found) == 3 and all(each["Status"] in ENDED for each in found), 60
    )
    assert sorted(each["Status"] for each in ended) == ["Completed", "Completed", "Failed"]
    (failed,) = [each for each in ended if each["Status"] == "Failed"]
    assert failed["LastError"]["Code"] == "NotRenderable"
    expected = pydicom.dcmread(frames)
    pictures = files(export)
    assert len(pictures) == 1 + int(expected.NumberOfFrames)
    sizes = []
    for path in pictures:
        assert path.suffix == {"Png": ".png", "Jpeg": ".jpg"}[kind]
        with Image.open(path) as opened:
            opened.load()
            sizes.append(opened.size)
    assert sorted(set(sizes)) == sorted({(128, 128), (int(expected.Columns), int(expected.Rows))})


def test_a_study_is_one_pdf_and_its_documents_stay_as_they_are(start_router: StartRouter, tmp_path: Path) -> None:
    export = tmp_path / "export"
    router = folder_router(start_router, export, Format="Pdf", Verify="Counted")
    study = make_study(tmp_path / "a", instances=40, pixels=(32, 48), PatientID="P1", AccessionNumber="A1")
    document = b"%PDF-1.4\n% a report\n" + bytes(range(256)) + b"\n%%EOF\n"
    of_study = {"StudyInstanceUID": study.uid, "PatientID": "P1", "AccessionNumber": "A1", "StudyDate": "20260102"}
    report = encapsulated_pdf(tmp_path / "report.dcm", document, **of_study)
    post(router, [*study.files, report])
    assert [each["Status"] for each in all_ended(router)] == ["Completed"]
    uid = pydicom.dcmread(report).SOPInstanceUID
    folder = export / "P1" / "20260102-A1"
    assert {path.name for path in files(export)} == {f"{study.uid}.pdf", f"{uid}.pdf"}
    assert (folder / f"{uid}.pdf").read_bytes().rstrip(b"\0") == document
    with PdfParser(str(folder / f"{study.uid}.pdf")) as pages:
        assert len(pages.pages) == 40


def test_hostile_tags_stay_inside_and_nothing_is_overwritten(start_router: StartRouter, tmp_path: Path) -> None:
    export = tmp_path / "export"
    router = folder_router(start_router, export, Path="{PatientID}/{AccessionNumber}.dcm")
    outside = tmp_path / "outside"
    outside.mkdir()
    (export / "linked").symlink_to(outside)
    sent: list[str] = []
    for index, patient in enumerate(("../../etc", "..", "con", "a:b", "a*b", "山田^太郎", "x" * 64, " ")):
        tags = {"PatientID": patient, "AccessionNumber": "../1", "SpecificCharacterSet": "ISO_IR 192"}
        study = make_study(tmp_path / str(index), instances=2, pixels=(16, 16), **tags)
        post(router, study.files)
        sent += study.sop_instance_uids
    linked = make_study(tmp_path / "linked", instances=1, pixels=(16, 16), PatientID="linked")
    post(router, linked.files)
    ended = router.wait_for_deliveries(
        lambda found: len(found) == 9 and all(each["Status"] in ENDED for each in found), 60
    )
    assert [each["LastError"]["Code"] for each in ended if each["Status"] == "Failed"] == ["LeavesFolder"]
    assert not files(outside)
    assert {str(pydicom.dcmread(path).SOPInstanceUID) for path in files(export)} == set(sent)
    assert any("山田^太郎" in str(path) for path in files(export))
    assert {path.name for path in tmp_path.iterdir()} >= {"export", "outside"}
    assert not (tmp_path / "etc").exists()


def test_a_folder_that_comes_back_gets_what_waited(start_router: StartRouter, tmp_path: Path) -> None:
    export = tmp_path / "export"
    router = folder_router(start_router, export)
    export.rename(tmp_path / "away")
    study = make_study(tmp_path / "a", instances=3, pixels=(16, 16))
    post(router, study.files)
    router.wait_for_deliveries(
        lambda found: bool(found) and (found[0]["LastError"] or {}).get("Code") == "FolderMissing"
    )
    assert not router.router_post("/destinations/EXPORT/test")["Ok"]
    (tmp_path / "away").rename(export)
    router.wait_until_completed(1, 60)
    assert len(files(export)) == 3


@pytest.mark.parametrize("kind", ["Dicom", "Zip"])
def test_nothing_is_lost_and_nothing_half_written_whenever_it_is_killed(
    start_router: StartRouter, tmp_path: Path, kind: str
) -> None:
    export = tmp_path / "export"
    router = folder_router(start_router, export, Format=kind, Associations=3)
    chance = random.Random(SEED)
    sent: dict[str, Path] = {}
    for trial in range(TRIALS):
        study = make_study(tmp_path / str(trial), instances=30, pixels=(128, 128))
        assert len(send(study.files, router.node).acknowledged) == 30
        sent |= dict(zip(study.sop_instance_uids, study.files, strict=True))
        threading.Event().wait(chance.uniform(0.9, 2.2))
        router.kill()
        check_whole(export, kind, sent)
        router.start()
    router.wait_for_deliveries(
        lambda found: (
            len({each["StudyInstanceUID"] for each in found if each["Status"] == "Completed"}) == TRIALS
            and all(each["Status"] in ENDED for each in found)
        ),
        120,
    )
    assert check_whole(export, kind, sent) == sent.keys()
    assert not files(export, ".*")


def check_whole(export: Path, kind: str, sent: dict[str, Path]) -> set[str]:
    """What is in the folder under its name is whole. Answers the SOP Instance UIDs."""
    found: set[str] = set()
    for path in files(export, "*.zip" if kind == "Zip" else "*.dcm"):
        if kind == "Zip":
            assert len(zip_uids(path)) == 30
            found |= zip_uids(path)
        else:
            uid = str(pydicom.dcmread(path).SOPInstanceUID)
            assert same_data_set(data_set_bytes(sent[uid]), data_set_bytes(path))
            found.add(uid)
    return found
