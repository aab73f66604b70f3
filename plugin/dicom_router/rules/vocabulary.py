# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a rule may ask for: DICOM keywords and attributes, by their names, with the operators that fit each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_description, keyword_for_tag

from dicom_router.rules import index
from dicom_router.rules.attributes import SOP_CLASS_GROUPS, WEEKDAYS, base_keys
from dicom_router.rules.keys import Key, parse_key
from dicom_router.rules.operators import allowed, family_of

# What administrators route by, offered before anything was typed.
COMMON: Final = (
    *("Modality", "StudyDescription", "SeriesDescription", "BodyPartExamined", "RemoteAET", "CalledAET", "RemoteIP"),
    *("InstitutionName", "StationName", "ReferringPhysicianName", "PatientID", "PatientName", "PatientAgeYears"),
    *("AccessionNumber", "RequestedProcedureDescription", "ProtocolName", "ManufacturerModelName", "SOPClass"),
    *("StudyDate", "StudyWeekday", "ReceivedTime", "ReceivedWeekday", "InstancesCount", "SeriesCount", "Origin"),
    *("PatientSex", "PatientBirthDate", "SliceThickness", "SeriesNumber", "StudyInstanceUID", "StudyTime"),
    *("HttpUsername", "SOPClassUID", "TransferSyntaxUID"),
)
_NAMES: Final = {
    "RemoteAET": "AE title of the sender",
    "CalledAET": "AE title that the sender called",
    "RemoteIP": "Address of the sender",
    "Origin": "How it came to Orthanc",
    "HttpUsername": "User who uploaded it",
    "SOPClassUID": "SOP Class UID",
    "TransferSyntaxUID": "Transfer Syntax UID",
    "SOPClass": "Kind of object",
    "InstancesCount": "Number of instances",
    "SeriesCount": "Number of series",
    "StudyWeekday": "Weekday of the study",
    "ReceivedWeekday": "Weekday of the reception",
    "ReceivedTime": "Time of the reception",
    "PatientAgeYears": "Age of the patient in years",
}
# Attributes with few values (for Origin: Orthanc's metadata of that name).
_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "SOPClass": SOP_CLASS_GROUPS,
    "StudyWeekday": WEEKDAYS,
    "ReceivedWeekday": WEEKDAYS,
    "Origin": ("DicomProtocol", "RestApi", "Plugins", "Lua", "WebDav"),
}
_NO_VALUE: Final = "opaque"
_UNFIT: Final = 3
# Commands and file meta information are no part of a data set (PS3.10 7.1), marks of items have no value.
_GROUPS: Final = range(0x0003, 0xFFFE)


@dataclass(frozen=True)
class Term:
    """A key as people pick it. `values` is empty unless there are few. `indexed`: no file is read for it."""

    key: Key
    name: str
    operators: tuple[str, ...]
    values: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """By which meaning its values are compared; see operators.family_of."""
        return family_of(self.key)

    @property
    def tag(self) -> str:
        """`0008,0060`; empty for an attribute, and for a path that of its last element."""
        return index.short(self.key.path[-1]) if self.key.path else ""

    @property
    def indexed(self) -> bool:
        """Orthanc's index tells it of every instance, as far as it can be said beforehand."""
        return all(index.is_indexed(base) for base in base_keys(self.key))


def term(text: str) -> Term:
    """The term for what a user wrote; ValueError with a sentence when it names nothing."""
    key = parse_key(text)
    return Term(key, _name(key), allowed(key), _VALUES.get(key.name, ()))


def search(text: str, limit: int) -> list[Term]:
    """Keys whose keyword, name or number holds all words of the text, the best first; for no text the common ones.

    A key that is not in the dictionary (a private tag, a path into a sequence) is found when it is written in full.
    """
    words = text.lower().split()
    if not words:
        return [term(name) for name in COMMON[:limit]]
    ranked = [(_rank(told, words), place, key) for place, (key, told) in enumerate(_all())]
    names = [key for _, _, key in sorted(each for each in ranked if each[0] < _UNFIT)[:limit]]
    try:
        exact = parse_key(text.strip()).name
    except ValueError:
        return [term(name) for name in names]
    return [term(name) for name in dict.fromkeys([exact, *names])][:limit]


def _rank(told: str, words: list[str]) -> int:
    """The lower, the better."""
    if told.split(" ", maxsplit=1)[0] == "".join(words):
        return 0
    if not all(word in told for word in words):
        return _UNFIT
    return 1 if all(re.search(rf"\b{re.escape(word)}", told) for word in words) else 2


@lru_cache(maxsize=1)
def _all() -> list[tuple[str, str]]:
    """Every key with the text it is searched in, the common ones first, those without a value last."""
    return sorted(_texts(), key=lambda each: _order(each[0]))


def _order(name: str) -> tuple[int, int]:
    if name in COMMON:
        return 0, COMMON.index(name)
    key = parse_key(name)
    return (3 if family_of(key) == _NO_VALUE else 1 if index.is_indexed(key) else 2), 0


def _texts() -> Iterator[tuple[str, str]]:
    for name, told in _NAMES.items():
        yield name, f"{name.lower()} {told.lower()}"
    for tag, (_vr, _vm, description, retired, keyword) in DicomDictionary.items():
        if keyword and not retired and tag >> 16 in _GROUPS and keyword not in _NAMES:
            yield keyword, f"{keyword.lower()} {description.lower()} {index.short(tag)}"


def _name(key: Key) -> str:
    if not key.path:
        return _NAMES.get(key.name, key.name)
    return " > ".join(_description(tag) for tag in key.path)


def _description(tag: int) -> str:
    try:
        return dictionary_description(tag)
    except KeyError:
        return "Private tag" if tag >> 16 & 1 else keyword_for_tag(tag) or "Unknown tag"
