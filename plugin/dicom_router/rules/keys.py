# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a key of `Match` may be: a DICOM keyword, `gggg,eeee`, a path into a sequence, or an attribute."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from pydicom.datadict import get_entry, keyword_dict, tag_for_keyword

from dicom_router.problems import nearest

Kind = Literal["tag", "attribute"]
Level = Literal["Patient", "Study", "Series", "Instance"]

# Name -> (VR whose meaning it has, level). SOPClassUID and TransferSyntaxUID are DICOM elements, but Orthanc knows them
# of every instance, without reading a file. ReceptionDate is Orthanc's metadata, UTC, `20261122T010203`.
_ATTRIBUTES: dict[str, tuple[str, Level]] = {
    "RemoteAET": ("AE", "Instance"),
    "CalledAET": ("AE", "Instance"),
    "RemoteIP": ("LO", "Instance"),
    "Origin": ("LO", "Instance"),
    "HttpUsername": ("LO", "Instance"),
    "SOPClassUID": ("UI", "Instance"),
    "TransferSyntaxUID": ("UI", "Instance"),
    "SOPClass": ("CS", "Instance"),
    "InstancesCount": ("IS", "Study"),
    "SeriesCount": ("IS", "Study"),
    "StudyWeekday": ("CS", "Study"),
    "ReceivedWeekday": ("CS", "Instance"),
    "ReceivedTime": ("TM", "Instance"),
    "PatientAgeYears": ("IS", "Study"),
    "ReceptionDate": ("LO", "Instance"),
}
ATTRIBUTE_NAMES = frozenset(_ATTRIBUTES)
_OFFERED = sorted(ATTRIBUTE_NAMES - {"ReceptionDate"})


def _names(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


# The modules of PS3.3 C.7.1 and C.7.2, and the part of C.7.3 and C.7.5 that is the same in a whole series.
_LEVELS: dict[Level, frozenset[str]] = {
    "Patient": _names("IssuerOfPatientID OtherPatientIDs PatientBirthDate PatientID PatientName PatientSex"),
    "Study": _names(
        "AccessionNumber InstitutionName PatientAge PatientSize PatientWeight ReferringPhysicianName",
        "RequestedProcedureDescription RequestingPhysician StudyDate StudyDescription StudyID StudyInstanceUID",
        "StudyTime TimezoneOffsetFromUTC",
    ),
    "Series": _names(
        "BodyPartExamined DeviceSerialNumber InstitutionalDepartmentName Laterality Manufacturer",
        "ManufacturerModelName Modality OperatorsName PerformedProcedureStepDescription ProtocolName",
        "RequestAttributesSequence SequenceName SeriesDate SeriesDescription SeriesInstanceUID SeriesNumber",
        "SeriesTime SeriesType StationName",
    ),
}
_ITEM_GROUP = 0xFFFE
_TAG = re.compile(r"\(?([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Key:
    """What a match asks for; its canonical `name` identifies it.

    `path` holds the tags from the outermost sequence to the element and is empty for an attribute.
    `level` is where the value stands by PS3.3; "Instance" also for what may differ between instances.
    """

    name: str
    path: tuple[int, ...] = field(default=(), compare=False)
    vr: str = field(default="UN", compare=False)
    kind: Kind = field(default="tag", compare=False)
    level: Level = field(default="Instance", compare=False)


@lru_cache(maxsize=4096)
def parse_key(text: str) -> Key:
    """The key for what a user wrote; ValueError with a sentence when it names nothing."""
    if text in _ATTRIBUTES:
        return attribute_key(text)
    elements = [_element(step) for step in text.split(".")]
    if len(elements) == 1 and elements[0][0] in _ATTRIBUTES:  # SOPClassUID written as 0008,0016
        return attribute_key(elements[0][0])
    for name, _tag, vr in elements[:-1]:
        if vr not in ("SQ", "UN"):
            raise ValueError(f'"{name}" is not a sequence, so nothing can follow it after a dot.')
    path = tuple(tag for _name, tag, _vr in elements)
    return Key(".".join(name for name, _tag, _vr in elements), path, elements[-1][2], "tag", _level(elements[0][0]))


def attribute_key(name: str) -> Key:
    """The key of an attribute beside the tags; KeyError for a name that is none."""
    vr, level = _ATTRIBUTES[name]
    return Key(name, (), vr, "attribute", level)


def _element(text: str) -> tuple[str, int, str]:
    """Canonical name, tag and VR of one step of a path."""
    written = _TAG.fullmatch(text)
    tag = int(written[1] + written[2], 16) if written else _known().get(text)
    if tag is None:
        hint = nearest(text, (*_OFFERED, *_known()))
        raise ValueError(
            f'"{text}" is neither a DICOM keyword nor an attribute that can be matched.{hint} '
            'A private tag is written by its number, like "0029,1010".'
        )
    if tag >> 16 == _ITEM_GROUP:
        raise ValueError(f'"{text}" marks an item of a sequence and has no value.')
    try:
        vr, _vm, _description, _retired, keyword = get_entry(tag)
    except KeyError:  # private, or younger than the dictionary
        vr, keyword = "UN", ""
    # A repeating group (60xx,3000) shares its keyword with the others: only its number is its own.
    name = keyword if keyword and tag_for_keyword(keyword) == tag else f"{tag >> 16:04x},{tag & 0xFFFF:04x}"
    return name, tag, vr.split(" ", maxsplit=1)[0]  # "US or SS" has the meaning of its first


@lru_cache(maxsize=1)
def _known() -> dict[str, int]:
    tag_for_keyword("PatientID")  # pydicom fills keyword_dict at the first look-up
    return {keyword: tag for keyword, tag in keyword_dict.items() if keyword}


def _level(name: str) -> Level:
    return next((level for level, names in _LEVELS.items() if name in names), "Instance")
