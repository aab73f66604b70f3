# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which DICOM tags Orthanc's index holds, at which level: what is absent there is absent in the files too."""

from typing import Final

from pydicom.datadict import tag_for_keyword

from dicom_router.rules.keys import Key


def _names(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


# The main DICOM tags of Orthanc 1.10.1 (DicomMap.cpp), which every later version holds too. Those that were added
# since, and ExtraMainDicomTags, are used where an answer has them, but an old study may lack them in the index: where
# they are absent, a file tells. ImageOrientationPatient is at two levels and is left out for that.
PATIENT: Final = _names("PatientName PatientBirthDate PatientSex OtherPatientIDs PatientID")
STUDY: Final = _names(
    "StudyDate StudyTime StudyID StudyDescription AccessionNumber StudyInstanceUID RequestedProcedureDescription",
    "InstitutionName RequestingPhysician ReferringPhysicianName",
)
SERIES: Final = _names(
    "SeriesDate SeriesTime Modality Manufacturer StationName SeriesDescription BodyPartExamined SequenceName",
    "ProtocolName SeriesNumber CardiacNumberOfImages ImagesInAcquisition NumberOfTemporalPositions NumberOfSlices",
    "NumberOfTimeSlices SeriesInstanceUID SeriesType OperatorsName PerformedProcedureStepDescription",
    "AcquisitionDeviceProcessingDescription ContrastBolusAgent",
)
INSTANCE: Final = _names(
    "InstanceCreationDate InstanceCreationTime AcquisitionNumber ImageIndex InstanceNumber NumberOfFrames",
    "TemporalPositionIdentifier SOPInstanceUID ImagePositionPatient ImageComments",
)
# Metadata of each instance that matching can ask for (Orthanc Book, "Metadata").
METADATA: Final = {
    "RemoteAET": "RemoteAET",
    "CalledAET": "CalledAET",
    "RemoteIP": "RemoteIP",
    "Origin": "Origin",
    "HttpUsername": "HttpUsername",
    "SOPClassUID": "SopClassUid",
    "TransferSyntaxUID": "TransferSyntax",
    "ReceptionDate": "ReceptionDate",
}
COUNTS: Final = frozenset({"InstancesCount", "SeriesCount"})
_ALL: Final = PATIENT | STUDY | SERIES | INSTANCE | METADATA.keys() | COUNTS


def is_indexed(key: Key) -> bool:
    """Orthanc tells it without reading a file."""
    return key.name in _ALL


def short(tag: int) -> str:
    """A tag as Orthanc writes it: `0008,0060`."""
    return f"{tag >> 16:04x},{tag & 0xFFFF:04x}"


INSTANCE_TAGS: Final = {name: short(tag) for name in INSTANCE if (tag := tag_for_keyword(name)) is not None}
