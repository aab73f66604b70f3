# SPDX-License-Identifier: AGPL-3.0-or-later
"""DICOM that nobody should send and somebody does: it is routed, and told in the history."""

from collections import Counter
from pathlib import Path

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.tag import Tag

from support.starting import StartOrthanc, StartRouter, StartScp
from support.store_scu import send
from support.studies import Study, make_study

RULE = {
    "Name": "all",
    "Match": {
        "PatientName": {"NotContains": "NOBODY"},
        "0009,1001": {"NotEquals": "x"},
        "StudyDate": {"NotEquals": "20200101"},
        "PatientAgeYears": {"NotEquals": 7},
    },
    "Sample": "Every",
}


def test_the_same_sop_instance_uid_in_two_studies_is_sent_with_each(
    start_router: StartRouter, start_scp: StartScp, start_orthanc: StartOrthanc, tmp_path: Path
) -> None:
    pacs, archive = start_scp("PACS"), start_orthanc("ARCHIVE", config={"DicomAlwaysAllowFind": True})
    section = {"Destinations": {"ARCHIVE": {"Modality": "ARCHIVE", "Verify": "Counted"}}}
    router = start_router({"PACS": pacs.node, "ARCHIVE": archive.node}, section=section)
    first = make_study(tmp_path / "first", instances=3, pixels=(16, 16))
    second = make_study(tmp_path / "second", instances=3, pixels=(16, 16))
    uid = first.sop_instance_uids[0]
    data_set = pydicom.dcmread(second.files[0])
    data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = uid
    dcmwrite(second.files[0], data_set, enforce_file_format=True)
    for study in (first, second):
        assert len(send(study.files, router.node).acknowledged) == 3
    router.wait_until_completed(4, 60)
    assert pacs.received == Counter([*first.sop_instance_uids, uid, *second.sop_instance_uids[1:]])
    assert Counter(archive.sop_instance_uids()) == pacs.received


def odd(folder: Path, name: str) -> Study:
    """A study of one instance, with something that it should not have."""
    study = make_study(folder / name, instances=1, pixels=(16, 16))
    data_set = pydicom.dcmread(study.files[0])
    _change(data_set, name)
    dcmwrite(study.files[0], data_set, enforce_file_format=True)
    return study


def _raw(data_set: Dataset, keyword: str, vr: str, value: bytes) -> None:
    """Bytes as they are, which pydicom would not write."""
    tag = Tag(keyword)
    data_set[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def _change(data_set: Dataset, name: str) -> None:
    private = data_set.private_block(0x0009, "ODD CREATOR", create=True)
    if name == "no patient":
        del data_set.PatientID, data_set.PatientName
    elif name == "empty":
        data_set.PatientID = data_set.StudyDate = data_set.AccessionNumber = data_set.Modality = ""
    elif name == "broken characters":
        data_set.SpecificCharacterSet = "ISO_IR 192"
        _raw(data_set, "PatientName", "PN", b"\xff\xfe\xc3^\x80 ")
    elif name == "unknown character set":
        data_set.SpecificCharacterSet = "ISO 2022 NOTHING"
    elif name == "huge":
        data_set.add_new("PatientComments", "LT", "x" * 60_000)
        private.add_new(0x01, "UN", b"\0\xff" * 200_000)
    elif name == "wrong values":
        _raw(data_set, "StudyDate", "DA", b"99999999")
        _raw(data_set, "PatientAge", "AS", b"-12Y")
        _raw(data_set, "SliceThickness", "DS", b"1e999\\x ")
    elif name == "hostile":
        data_set.PatientID = "../../etc/passwd"
        data_set.StudyDescription = "<script>alert(1)</script>'; DROP TABLE delivery; --"
    else:
        private.add_new(0x01, "SQ", [Dataset()])


NAMES = (
    *("no patient", "empty", "broken characters", "unknown character set", "huge", "wrong values", "hostile"),
    "empty private sequence",
)


def test_odd_values_are_routed_and_told(start_router: StartRouter, start_scp: StartScp, tmp_path: Path) -> None:
    pacs = start_scp("PACS")
    router = start_router({"PACS": pacs.node}, rules=[RULE | {"Send": ["PACS"]}])
    studies = [odd(tmp_path, name) for name in NAMES]
    for study in studies:
        assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    deliveries = router.wait_until_completed(len(studies), 60)
    assert pacs.received == Counter(uid for study in studies for uid in study.sop_instance_uids)
    for delivery in deliveries:
        told = router.router_get(f"/studies/{delivery['ResourceID']}/explain")
        assert told["Stored"]
    assert router.crash_signs() == []
