# SPDX-License-Identifier: AGPL-3.0-or-later
"""Altered copies: what a destination gets is what the rule says, and what is stored stays as it was."""

from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import JPEGExtended12Bit, JPEGLSLossless

from support.orthanc import Orthanc
from support.referring import IDENTIFYING, make_referring_study
from support.starting import StartOrthanc, StartRouter, StartScp
from support.store_scu import send
from support.studies import data_set_bytes, make_study, texture

# A report's content is kept to see that its references lead somewhere; the profile would empty it.
ANONYMIZE = {"Keep": ["ContentSequence"], "Replace": {"ClinicalTrialSubjectID": "S-17"}}


def rule(send_to: object, **more: Any) -> dict[str, Any]:
    return {"Name": "copies", "Match": {}, "Send": [send_to], **more}


def stored_files(orthanc: Orthanc) -> dict[str, bytes]:
    return {each: orthanc.get_bytes(f"/instances/{each}/file") for each in orthanc.get("/instances")}


def data_sets(orthanc: Orthanc, scratch: Path) -> set[bytes]:
    """What it stores, byte for byte, without the file meta information."""
    found = set()
    for file in stored_files(orthanc).values():
        scratch.write_bytes(file)
        found.add(data_set_bytes(scratch))
    return found


def uids_in(data_set: Dataset, keyword: str) -> set[str]:
    """The values of an element at any depth."""
    return {str(element.value) for element in data_set.iterall() if element.keyword == keyword}


def test_an_anonymised_study_that_comes_in_two_parts_is_one_and_tells_nothing(
    start_router: StartRouter, start_orthanc: StartOrthanc, tmp_path: Path
) -> None:
    research = start_orthanc("RESEARCH", config={"DicomAlwaysAllowFind": True})
    to = {"To": "RESEARCH", "Verify": "Counted"}
    router = start_router({"RESEARCH": research.node}, rules=[rule(to, Anonymize=ANONYMIZE)])
    study = make_referring_study(tmp_path / "study")
    early, late = [*study.images[:2], study.report], [study.images[2], study.state, study.structures]
    send(early, router.node)
    router.wait_until_completed(1)
    send(late, router.node)
    first, second = reversed(router.wait_until_completed(2))
    assert (first["InstancesCount"], second["InstancesCount"]) == (3, 3)
    assert first["Verified"] == "Counted"
    assert router.router_get(f"/history/{first['ID']}")["Alteration"] == {"Anonymize": ANONYMIZE}

    assert data_sets(router, tmp_path / "stored.dcm") == {data_set_bytes(file) for file in study.files}
    received = stored_files(research)
    assert len(received) == len(study.files)
    original_values = {*IDENTIFYING.values(), *IDENTIFYING["PatientName"].split("^"), "PROC-4412", *study.uids}
    left = {value for value in original_values for file in received.values() if value.encode() in file}
    assert left == set()

    copies = [pydicom.dcmread(BytesIO(file)) for file in received.values()]
    assert len({copy.StudyInstanceUID for copy in copies}) == 1
    assert len({(str(copy.PatientID), str(copy.PatientName)) for copy in copies}) == 1
    assert {copy.ClinicalTrialSubjectID for copy in copies} == {"S-17"}
    instances = {str(copy.SOPInstanceUID) for copy in copies}
    series = {str(copy.SeriesInstanceUID) for copy in copies}
    (frame,) = {str(copy.FrameOfReferenceUID) for copy in copies if "FrameOfReferenceUID" in copy}
    (whole,) = {str(copy.StudyInstanceUID) for copy in copies}
    assert all(uid.startswith("2.25.") for uid in {*instances, *series, frame, whole})
    for copy in copies:
        assert uids_in(copy, "ReferencedSOPInstanceUID") <= {*instances, whole}
        assert uids_in(copy, "SeriesInstanceUID") <= series
        assert uids_in(copy, "StudyInstanceUID") | uids_in(copy, "UID") <= {whole}
        assert uids_in(copy, "ReferencedFrameOfReferenceUID") <= {frame}
    referring = [copy for copy in copies if copy.Modality != "CT"]
    assert all(len(uids_in(copy, "ReferencedSOPInstanceUID") & instances) == 3 for copy in referring)
    (explained,) = router.router_get(f"/studies/{first['ResourceID']}/explain")["Stored"][0]["Rules"]
    assert explained["Altered"] == {"RESEARCH": {"Anonymize": ANONYMIZE}}
    assert router.get("/studies") == [first["ResourceID"]], "no copy is stored"


def test_a_modified_copy_has_new_values_and_is_committed_under_its_own_uid(
    start_router: StartRouter, start_orthanc: StartOrthanc, tmp_path: Path
) -> None:
    archive = start_orthanc("ARCHIVE")
    keep = ["StudyInstanceUID", "SeriesInstanceUID"]
    modify = {"Replace": {"InstitutionName": "Clinic"}, "Remove": ["StudyDescription"], "Keep": keep, "Force": True}
    to = {"To": "ARCHIVE", "Verify": "Committed"}
    router = start_router({"ARCHIVE": archive.node}, rules=[rule(to, Modify=modify)])
    archive.put("/modalities/ROUTER", {"AET": "ROUTER", "Host": "127.0.0.1", "Port": router.dicom})
    study = make_study(tmp_path / "study", instances=3, InstitutionName="Elsewhere")
    send(study.files, router.node)
    (delivery,) = router.wait_until_completed(1)
    assert delivery["Verified"] == "Committed"
    copies = [pydicom.dcmread(BytesIO(file)) for file in stored_files(archive).values()]
    assert {(copy.InstitutionName, copy.StudyInstanceUID, str(copy.PatientName)) for copy in copies} == {
        ("Clinic", study.uid, "Doe^Jane")
    }
    assert not any("StudyDescription" in copy for copy in copies)
    uids = {str(copy.SOPInstanceUID) for copy in copies}
    assert len(uids) == 3
    assert not uids & set(study.sop_instance_uids)


def read(data: bytes, transfer_syntax: str) -> Dataset:
    """The data set of a C-STORE."""
    made = pydicom.dataset.FileMetaDataset()
    made.TransferSyntaxUID = pydicom.uid.UID(transfer_syntax)
    file = BytesIO()
    pydicom.dcmwrite(file, _empty(made), enforce_file_format=True)
    return pydicom.dcmread(BytesIO(file.getvalue() + data))


def _empty(meta: pydicom.dataset.FileMetaDataset) -> Dataset:
    empty = Dataset()
    empty.file_meta = meta
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2.3")
    return empty


@pytest.fixture
def archive(start_orthanc: StartOrthanc) -> Orthanc:
    return start_orthanc("ARCHIVE")


def test_a_transcoded_copy_has_the_same_pixels_and_what_is_no_image_goes_as_it_is(
    start_router: StartRouter, archive: Orthanc, tmp_path: Path
) -> None:
    router = start_router({"ARCHIVE": archive.node}, rules=[rule({"To": "ARCHIVE", "Transcode": JPEGLSLossless})])
    images, others = (
        make_study(tmp_path / "images", instances=12, PixelData=texture(64, 64)),
        make_referring_study(tmp_path / "others"),
    )
    send([*images.files, others.report], router.node)
    router.wait_until_completed(2)
    syntaxes = Counter(
        archive.get_bytes(f"/instances/{each}/metadata/TransferSyntax").decode() for each in archive.get("/instances")
    )
    assert syntaxes == {JPEGLSLossless: 12, pydicom.uid.ExplicitVRLittleEndian: 1}
    assert pixels(archive, JPEGLSLossless) == pixels(router, pydicom.uid.ExplicitVRLittleEndian)


def pixels(orthanc: Orthanc, transfer_syntax: str) -> dict[str, bytes]:
    """The decoded pixels of the images that an Orthanc holds in a transfer syntax, by SOPInstanceUID."""
    found = {}
    for instance, file in stored_files(orthanc).items():
        image = pydicom.dcmread(BytesIO(file))
        if "PixelData" in image and image.file_meta.TransferSyntaxUID == transfer_syntax:
            found[str(image.SOPInstanceUID)] = orthanc.get_bytes(f"/instances/{instance}/frames/0/matlab")
    return found


def test_a_lossy_copy_is_another_instance_and_says_so(
    start_router: StartRouter, archive: Orthanc, tmp_path: Path
) -> None:
    router = start_router({"ARCHIVE": archive.node}, rules=[rule({"To": "ARCHIVE", "Transcode": JPEGExtended12Bit})])
    study = make_study(tmp_path / "study", instances=3, PixelData=texture(64, 64))
    send(study.files, router.node)
    (first,) = router.wait_until_completed(1)
    router.router_post(f"/history/{first['ID']}/resend", {"Instances": "All"})
    router.wait_until_completed(2)
    copies = [pydicom.dcmread(BytesIO(file)) for file in stored_files(archive).values()]
    assert len(copies) == 3, "sent again it is the same instance again"
    for copy in copies:
        assert copy.file_meta.TransferSyntaxUID == JPEGExtended12Bit
        assert copy.SOPInstanceUID == copy.file_meta.MediaStorageSOPInstanceUID
        assert copy.SOPInstanceUID not in study.sop_instance_uids
        assert copy.SourceImageSequence[0].ReferencedSOPInstanceUID in study.sop_instance_uids
        assert (copy.StudyInstanceUID, copy.LossyImageCompression, copy.ImageType[0]) == (study.uid, "01", "DERIVED")
        assert copy.LossyImageCompressionMethod == "ISO_10918_1"
    assert Counter(router.sop_instance_uids()) == Counter(study.sop_instance_uids)


def test_copies_that_were_being_sent_when_the_router_was_killed_arrive_under_the_same_pseudonyms(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    research = start_scp("RESEARCH")
    research.slow = 0.1
    router = start_router({"RESEARCH": research.node}, rules=[rule("RESEARCH", Anonymize=ANONYMIZE)])
    study = make_study(tmp_path / "study", instances=240)
    send(study.files, router.node)
    for _ in range(10):
        research.wait_for(min(240, len(research.received) + 4))
        router.kill()
        router.start()
    research.slow = 0.0
    router.wait_for_deliveries(lambda found: [each["Status"] for each in found] == ["Completed"], 60)
    assert len(research.received) == 240
    assert all(uid.startswith("2.25.") for uid in research.received)
    assert len({read(each.data, each.transfer_syntax).StudyInstanceUID for each in research.requests}) == 1
    assert sum(research.received.values()) < 240 + 10 * 20, "what is known to have arrived is not sent again"
    assert len(router.get("/studies")) == 1, "no copy is stored"


def test_a_delivery_that_was_anonymised_stays_so_when_it_is_sent_elsewhere(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    research, other = start_scp("RESEARCH"), start_scp("OTHER")
    destinations = {"RESEARCH": research.node, "OTHER": other.node}
    rules = [
        {"Name": "originals", "Match": {}, "Send": ["RESEARCH"]},
        {"Name": "copies", "Match": {}, "Send": ["RESEARCH"], "Anonymize": ANONYMIZE},
    ]
    router = start_router(destinations, rules=rules)
    study = make_study(tmp_path / "study", instances=3)
    send(study.files, router.node)
    (first,) = router.wait_until_completed(1)
    assert first["Rule"] == "copies", "no original goes to where anonymised copies go"
    router.router_post(f"/history/{first['ID']}/resend", {"Destination": "OTHER"})
    router.wait_until_completed(2)
    assert research.received == other.received
    assert not set(other.received) & set(study.sop_instance_uids)
    warnings = router.router_get("/rules")[0]["Warnings"]
    assert any("anonymized" in each["Message"] for each in warnings)
