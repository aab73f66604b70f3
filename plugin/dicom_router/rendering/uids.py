# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the UID in an element names: a study, a series, an instance, a frame of reference, or nobody's. Pure."""

from enum import Enum
from functools import lru_cache

from pydicom.datadict import keyword_for_tag

from dicom_router.tags import read_tag


class Kind(Enum):
    """What a UID names."""

    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"
    FRAME = "frame of reference"
    OTHER = "other"


_OWN = {"StudyInstanceUID": Kind.STUDY, "SeriesInstanceUID": Kind.SERIES, "UID": Kind.INSTANCE}
# A class, a coding scheme, a transfer syntax: the same for all patients.
_CLASSES = ("SOPClass", "TransferSyntax", "CodingScheme", "ContextUID", "ContextGroup", "MappingResource", "ClassUID")
_CREATORS = frozenset({"PrivateInformationCreatorUID", "TemplateExtensionCreatorUID"})


@lru_cache(maxsize=1024)
def kind_of_tag(tag: int) -> Kind | None:
    """What the UID in this element names; None where it names nothing of a patient or a study."""
    keyword = keyword_for_tag(tag)
    if keyword in _CREATORS or any(part in keyword for part in _CLASSES):
        return None
    if "SOPInstanceUID" in keyword:
        return Kind.INSTANCE
    if "FrameOfReferenceUID" in keyword:
        return Kind.FRAME
    return _OWN.get(keyword, Kind.OTHER)


@lru_cache(maxsize=1024)
def kind_of(name: str) -> Kind | None:
    """As `kind_of_tag`, for what a user wrote in `Keep`; None too for a tag that holds no such UID."""
    tag = read_tag(name)
    return None if tag is None else _LEADERS.get(tag)


# Who keeps one of these keeps all that names the same: a reference must lead somewhere.
_LEADERS = {0x0020000D: Kind.STUDY, 0x0020000E: Kind.SERIES, 0x00080018: Kind.INSTANCE, 0x00200052: Kind.FRAME}
