# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pseudonyms in a copy that Orthanc has altered. Pure: data sets of pydicom, changed in place.

Orthanc gives random UIDs to each copy, and an instance that comes late would not join its study. So UIDs are taken
from the original, at the same place, and replaced by the keyed hash: in all sequences, so that references lead
somewhere.
"""

from pydicom import Dataset

from dicom_router.rendering.places import Place, Wishes, places, texts
from dicom_router.rendering.pseudonyms import Pseudonyms
from dicom_router.rendering.uids import Kind, kind_of_tag

PATIENT_NAME, PATIENT_ID, STUDY_INSTANCE_UID = 0x00100010, 0x00100020, 0x0020000D


def disguise(copy: Dataset, original: Dataset, pseudonyms: Pseudonyms) -> set[str]:
    """Put pseudonyms into the copy; answers the UIDs that something else stands for now."""
    wishes = Wishes(pseudonyms.alteration)
    kinds = _kinds(original)
    replaced: set[str] = set()
    for place in places(copy, original):
        if wishes.replaces(place.path):
            continue
        if place.vr == "UI":
            replaced |= _replace_uids(place, pseudonyms, kinds, kept=wishes.keeps(place.path))
        elif pseudonyms.alteration.anonymous and place.tag in (PATIENT_ID, PATIENT_NAME):
            _replace_patient(place, pseudonyms, original, kept=wishes.keeps(place.path))
    if pseudonyms.alteration.anonymous:
        for tag, vr in ((PATIENT_ID, "LO"), (PATIENT_NAME, "PN")):
            if tag not in copy and not wishes.replaces((tag,)) and not wishes.keeps((tag,)):
                copy.add_new(tag, vr, _patient(tag, patient_of(original), pseudonyms))
    return replaced


def patient_of(original: Dataset) -> str:
    """Who it is: the PatientID, else the study, since people without an ID are not the same person."""
    for tag in (PATIENT_ID, STUDY_INSTANCE_UID):
        if tag in original and texts(original[tag]):
            return texts(original[tag])[0]
    return ""


def _kinds(original: Dataset) -> dict[str, Kind]:
    """What each UID names, wherever it stands: a reference to a study may be written as one to an instance."""
    found: dict[str, Kind] = {}
    for place in places(original, None):
        kind = kind_of_tag(place.tag) if place.vr == "UI" else None
        if kind in (Kind.STUDY, Kind.SERIES, Kind.FRAME):
            found |= dict.fromkeys(texts(place.element), kind)
    return found


def _replace_uids(place: Place, pseudonyms: Pseudonyms, kinds: dict[str, Kind], *, kept: bool) -> set[str]:
    own, element = kind_of_tag(place.tag), place.element
    if own is None or not texts(element):
        return set()
    uids = texts(place.before or element) or texts(element)
    made = uids if kept else [pseudonyms.uid(uid, kinds.get(uid, own)) for uid in uids]
    element.value = made if len(made) > 1 else made[0]
    return {*uids} - {*made}


def _replace_patient(place: Place, pseudonyms: Pseudonyms, original: Dataset, *, kept: bool) -> None:
    before = place.before
    if kept:
        if before is not None:
            place.element.value = before.value
        return
    here = place.original
    whose = here if here is not None and PATIENT_ID in here and texts(here[PATIENT_ID]) else original
    if len(place.path) == 1 or texts(place.element):
        place.element.value = _patient(place.tag, patient_of(whose), pseudonyms)


def _patient(tag: int, patient: str, pseudonyms: Pseudonyms) -> str:
    return pseudonyms.patient_id(patient) if tag == PATIENT_ID else pseudonyms.patient_name(patient)
