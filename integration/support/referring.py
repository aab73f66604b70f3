# SPDX-License-Identifier: AGPL-3.0-or-later
"""A study whose objects refer to each other: CT images, a structured report, a presentation state, an RT structure set.

Its identifying values are conspicuous, and stand in nested sequences too.
"""

from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    RTStructureSetStorage,
    generate_uid,
)

IDENTIFYING = {
    "PatientName": "Featherstonehaugh^Xanthippe",
    "PatientID": "IDENT-77881",
    "PatientBirthDate": "19610203",
    "OtherPatientIDs": "ELSEWHERE-5512",
    "AccessionNumber": "ACCN-90210",
    "StudyID": "STUDYID-31",
    "StudyDate": "20260117",
    "SeriesDate": "20260118",
    "ContentDate": "20260119",
    "InstitutionName": "Saint Elsewhere",
    "ReferringPhysicianName": "Zhivago^Yuri",
}


@dataclass(frozen=True)
class ReferringStudy:
    """The files by what they are, and every UID of the study's own."""

    images: list[Path]
    report: Path
    state: Path
    structures: Path
    uids: set[str] = field(default_factory=set)

    @property
    def files(self) -> list[Path]:
        return [*self.images, self.report, self.state, self.structures]


def make_referring_study(folder: Path, images: int = 3) -> ReferringStudy:
    """Write it into `folder`, with fresh UIDs."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    pictures = []
    for number in range(1, images + 1):
        picture = _object(CTImageStorage, study, series, "CT")
        picture.FrameOfReferenceUID = frame
        picture.InstanceNumber = str(number)
        _add_pixels(picture)
        pictures.append(picture)
    report = _report(_object(BasicTextSRStorage, study, generate_uid(), "SR"), pictures)
    state = _state(_object(GrayscaleSoftcopyPresentationStateStorage, study, generate_uid(), "PR"), pictures)
    structures = _structures(_object(RTStructureSetStorage, study, generate_uid(), "RTSTRUCT"), pictures)
    every = [*pictures, report, state, structures]
    paths = [folder / f"{index}-{each.Modality}.dcm" for index, each in enumerate(every)]
    for each, path in zip(every, paths, strict=True):
        each.save_as(path, enforce_file_format=True)
    uids = {str(uid) for each in every for uid in (each.SOPInstanceUID, each.SeriesInstanceUID)} | {study, frame}
    return ReferringStudy(paths[:images], *paths[images:], uids={str(uid) for uid in uids})


def _object(sop_class: str, study: UID, series: UID, modality: str) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    for keyword, value in IDENTIFYING.items():
        setattr(made, keyword, value)
    made.SOPClassUID = sop_class
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID = study, series
    made.Modality, made.SeriesNumber = modality, "1"
    request = Dataset()
    request.AccessionNumber = IDENTIFYING["AccessionNumber"]
    request.StudyInstanceUID = study
    request.RequestedProcedureID = "PROC-4412"
    made.RequestAttributesSequence = Sequence([request])
    block = made.private_block(0x0011, "ELSEWHERE", create=True)
    block.add_new(0x01, "LO", f"private {IDENTIFYING['PatientID']}")
    return made


def _add_pixels(picture: Dataset) -> None:
    picture.SamplesPerPixel, picture.PhotometricInterpretation = 1, "MONOCHROME2"
    picture.Rows = picture.Columns = 16
    picture.BitsAllocated, picture.BitsStored, picture.HighBit, picture.PixelRepresentation = 16, 12, 11, 0
    picture.add_new("PixelData", "OW", bytes(range(256)) * 2)


def _reference(to: Dataset) -> Dataset:
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = to.SOPClassUID, to.SOPInstanceUID
    return made


def _series_reference(pictures: list[Dataset], sequence: str) -> Dataset:
    made = Dataset()
    made.SeriesInstanceUID = pictures[0].SeriesInstanceUID
    setattr(made, sequence, Sequence([_reference(each) for each in pictures]))
    return made


def _report(report: Dataset, pictures: list[Dataset]) -> Dataset:
    evidence = Dataset()
    evidence.StudyInstanceUID = pictures[0].StudyInstanceUID
    evidence.ReferencedSeriesSequence = Sequence([_series_reference(pictures, "ReferencedSOPSequence")])
    report.CurrentRequestedProcedureEvidenceSequence = Sequence([evidence])
    report.ValueType = "CONTAINER"
    image = Dataset()
    image.RelationshipType, image.ValueType = "CONTAINS", "IMAGE"
    image.ReferencedSOPSequence = Sequence([_reference(pictures[0])])
    person = Dataset()
    person.RelationshipType, person.ValueType = "HAS OBS CONTEXT", "PNAME"
    person.PersonName = IDENTIFYING["PatientName"]
    uid = Dataset()
    uid.RelationshipType, uid.ValueType = "HAS OBS CONTEXT", "UIDREF"
    uid.UID = pictures[0].StudyInstanceUID
    text = Dataset()
    text.RelationshipType, text.ValueType = "CONTAINS", "TEXT"
    text.TextValue = "No finding."
    report.ContentSequence = Sequence([image, person, uid, text])
    return report


def _state(state: Dataset, pictures: list[Dataset]) -> Dataset:
    state.ReferencedSeriesSequence = Sequence([_series_reference(pictures, "ReferencedImageSequence")])
    state.ContentLabel = "STATE"
    return state


def _structures(structures: Dataset, pictures: list[Dataset]) -> Dataset:
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = pictures[0].SeriesInstanceUID
    series.ContourImageSequence = Sequence([_reference(each) for each in pictures])
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = pictures[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = Sequence([series])
    frame.FrameOfReferenceUID = pictures[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = Sequence([study])
    structures.ReferencedFrameOfReferenceSequence = Sequence([frame])
    region = Dataset()
    region.ROINumber, region.ROIName = "1", "Liver"
    region.ReferencedFrameOfReferenceUID = pictures[0].FrameOfReferenceUID
    structures.StructureSetROISequence = Sequence([region])
    structures.StructureSetLabel = "SET"
    return structures
