# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Orthanc's profile does not reach: names, IDs and dates in texts and in sequences that are kept. Pure.

Orthanc applies PS3.15 annex E to tags. The name of the patient in a content item of a kept report, in a kept private
element or in a comment it leaves alone (measured with 1.10.1 and 1.12.7).
"""

from collections.abc import Iterable
from typing import Final

from pydicom import Dataset

from dicom_router.alteration import Alteration
from dicom_router.rendering.places import Place, Wishes, places, texts

NOBODY: Final = "Anonymized"
STRUCK_OUT: Final = "***"
# OtherPatientIDs, OtherPatientNames, AccessionNumber, AdmissionID, StudyID and the patient's own name and ID.
IDENTIFYING: Final = frozenset({0x00100010, 0x00100020, 0x00101000, 0x00101001, 0x00080050, 0x00380010, 0x00200010})
SHORTEST: Final = 5  # characters of an ID or of a date; a shorter one comes by chance
SHORTEST_NAME: Final = 4  # characters of one component of a name, in free text
FREE_TEXTS: Final = frozenset({"ST", "LT", "UT", "UC"})
TEXTS: Final = FREE_TEXTS | {"LO", "SH"}
DATES: Final = frozenset({"DA", "DT"})


class StillIdentifyingError(Exception):
    """An original UID is left in a copy that must not have one."""


def strike_out(copy: Dataset, original: Dataset, uids: Iterable[str], alteration: Alteration) -> None:
    """Take out of the copy's texts, names and dates what is not in it any more otherwise; `uids` beside that."""
    wishes = Wishes(alteration)
    gone = [place for place in places(original, None) if _identifies(place) and _is_gone(place, copy)]
    values = {
        value for place in gone if place.tag in IDENTIFYING or place.vr in DATES for value in texts(place.element)
    }
    dates = {value[:8] for place in gone if place.vr in DATES for value in texts(place.element)}
    names = {part for place in gone if place.vr == "PN" for value in texts(place.element) for part in _parts(value)}
    secrets = {*(value for value in values if len(value) >= SHORTEST), *uids}
    for place in places(copy, original):
        if not wishes.replaces(place.path) and not wishes.keeps(place.path):
            _strike(place, secrets, dates, names)


def refuse_leftovers(written: bytes, uids: Iterable[str]) -> None:
    """The last look, at the bytes as they are sent. Raises StillIdentifyingError."""
    if any(uid.encode() in written for uid in uids if len(uid) >= 2 * SHORTEST):
        raise StillIdentifyingError


def _identifies(place: Place) -> bool:
    """Asked before anything is decoded: vendors write numbers of the wrong length, which cannot be."""
    return place.tag in IDENTIFYING or place.vr == "PN" or place.vr in DATES


def _is_gone(place: Place, copy: Dataset) -> bool:
    """The profile has removed, emptied or replaced it in the data set itself."""
    if len(place.path) > 1:
        return False
    return place.tag not in copy or texts(copy[place.tag]) != texts(place.element)


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("=", "^").split("^") if len(part) >= SHORTEST_NAME]


def _strike(place: Place, secrets: set[str], dates: set[str], names: set[str]) -> None:
    if place.vr == "PN":
        if place.is_unchanged:
            place.element.value = NOBODY
    elif place.vr in DATES:
        if any(text[:8] in dates for text in texts(place.element)):
            place.element.value = ""
    elif place.vr in TEXTS:
        wanted = secrets | names if place.vr in FREE_TEXTS else secrets
        before = texts(place.element)
        after = [_without(text, wanted) for text in before]
        if after != before:
            place.element.value = after if len(after) > 1 else after[0]


def _without(text: str, secrets: set[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, STRUCK_OUT)
    return text
