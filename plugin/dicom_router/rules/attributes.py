# SPDX-License-Identifier: AGPL-3.0-or-later
"""Attributes that are worked out from others: weekday and time of reception, age in years, SOP class."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache

from pydicom._uid_dict import UID_dictionary

from dicom_router.problems import nearest
from dicom_router.rules.facts import Facts, TagFacts
from dicom_router.rules.keys import Key, attribute_key, parse_key
from dicom_router.rules.values import parse_date, parts, read_age

Values = tuple[str | None, ...]

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_WEEKDAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_BY_NAME = {name.lower(): day for day, name in enumerate(WEEKDAYS)} | {
    name.lower(): day for day, name in enumerate(_WEEKDAY_NAMES)
}

_STUDY_DATE, _AGE, _BIRTH = (parse_key(name) for name in ("StudyDate", "PatientAge", "PatientBirthDate"))
_RECEPTION, _SOP_CLASS_UID = attribute_key("ReceptionDate"), attribute_key("SOPClassUID")


def weekday(name: str) -> int:
    """0 for Monday to 6 for Sunday, by the short or the full English name; ValueError with a sentence for another."""
    day = _BY_NAME.get(name.strip().lower())
    if day is None:
        raise ValueError(f'"{name}" is not a weekday: write one of {", ".join(WEEKDAYS)}.')
    return day


# --- SOP classes -----------------------------------------------------------------------------------------------------

_STORAGE = {
    uid: keyword
    for uid, (_name, kind, _info, _retired, keyword) in UID_dictionary.items()
    if kind == "SOP Class" and uid.startswith("1.2.840.10008.5.1.4.") and "Storage" in keyword
}


def _classes(*roots: str) -> frozenset[str]:
    """Keywords of the storage classes at or below these UIDs."""
    return frozenset(
        keyword for uid, keyword in _STORAGE.items() if any(uid == root or uid.startswith(f"{root}.") for root in roots)
    )


def _named(*words: str) -> frozenset[str]:
    return frozenset(keyword for keyword in _STORAGE.values() if any(word in keyword for word in words))


_COMPOSITE = "1.2.840.10008.5.1.4.1.1"
# By the IODs of PS3.3 Annex A. An image is what a viewer shows as one; what was made from images has its own group.
_GROUPS: dict[str, frozenset[str]] = {
    "Image": _named("ImageStorage", "EnhancedUSVolume", "BscanVolumeAnalysis", "ThicknessMap", "TopographyMap"),
    "StructuredReport": _classes(f"{_COMPOSITE}.88", f"{_COMPOSITE}.78.6", f"{_COMPOSITE}.79.1"),  # A.35
    "PresentationState": _classes(f"{_COMPOSITE}.11"),
    "EncapsulatedDocument": _classes(f"{_COMPOSITE}.104"),
    "Waveform": _classes(f"{_COMPOSITE}.9") - _named("Standalone"),
    "Radiotherapy": _classes(f"{_COMPOSITE}.481", "1.2.840.10008.5.1.4.34.1", "1.2.840.10008.5.1.4.34.7")
    | _classes("1.2.840.10008.5.1.4.34.10"),
    "SecondaryCapture": _named("SecondaryCapture"),
    "Segmentation": _named("SegmentationStorage"),
    "Registration": _named("SpatialRegistration"),
    "Video": _named("VideoEndoscopic", "VideoMicroscopic", "VideoPhotographic"),
}
SOP_CLASS_GROUPS = tuple(_GROUPS)
# Also without "Storage": CTImage, EncapsulatedPDF, RTPlan.
_SINGLE = {keyword: keyword for keyword in _STORAGE.values()} | {
    keyword.replace("Storage", ""): keyword for keyword in _STORAGE.values()
}


@lru_cache(maxsize=256)
def sop_class_names(name: str) -> frozenset[str]:
    """What SOPClass may be where a rule says `name`: a group, a class or a UID; ValueError for anything else."""
    if name in _GROUPS or name in _SINGLE:
        return _GROUPS.get(name, frozenset()) | {name, _SINGLE.get(name, name)}
    if name.replace(".", "").isdigit():
        return frozenset({name, _STORAGE.get(name, name)})
    raise ValueError(
        f'"{name}" is neither a SOP class nor a group of them.{nearest(name, (*_GROUPS, *_SINGLE))} '
        f"The groups are {', '.join(_GROUPS)}."
    )


def sop_class_keyword(name: str | None) -> str | None:
    """The class whose short name it is (`CTImage` is `CTImageStorage`), else the name itself."""
    return None if name is None else _SINGLE.get(name, name)


# --- derivation ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Derivation:
    """From which keys an attribute is worked out, and how."""

    bases: tuple[Key, ...]
    work_out: Callable[[Facts, tzinfo], Values]


def derived_values(key: Key, facts: Facts, now: datetime) -> Values:
    """The values of a key: worked out for a derived attribute, unless a test or a preview gave them."""
    derivation = DERIVED.get(key.name)
    if derivation is None:
        return facts.values(key)
    if isinstance(facts, TagFacts) and (given := facts.values(key)):
        return tuple(map(sop_class_keyword, given)) if key.name == "SOPClass" else given
    return derivation.work_out(facts, now.tzinfo or UTC)


def base_keys(key: Key) -> tuple[Key, ...]:
    """The keys whose facts are asked for when this one is matched."""
    derivation = DERIVED.get(key.name)
    return (key,) if derivation is None else derivation.bases


def _distinct(raw: Iterable[str | None]) -> Iterable[str | None]:
    """The same values once, so that a study of thousands of instances is worked out in a few steps."""
    return dict.fromkeys(raw)


def _study_weekday(facts: Facts, _zone: tzinfo) -> Values:
    return tuple(_weekday_of(_day(raw)) for raw in facts.values(_STUDY_DATE))


def _received_weekday(facts: Facts, zone: tzinfo) -> Values:
    return tuple(
        None if (at := _received(raw, zone)) is None else WEEKDAYS[at.weekday()]
        for raw in _distinct(facts.values(_RECEPTION))
    )


def _received_time(facts: Facts, zone: tzinfo) -> Values:
    return tuple(
        None if (at := _received(raw, zone)) is None else at.strftime("%H%M%S")
        for raw in _distinct(facts.values(_RECEPTION))
    )


@lru_cache(maxsize=4096)
def _received(raw: str | None, zone: tzinfo) -> datetime | None:
    try:
        at = datetime.fromisoformat((raw or "").strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(zone)
    except (ValueError, OverflowError):
        return None


def _age_in_years(facts: Facts, _zone: tzinfo) -> Values:
    """Completed years: by PatientAge as the modality sent it, else from the dates of birth and of the study."""
    sent = tuple(_years_sent(raw) for raw in facts.values(_AGE))
    if any(sent):
        return sent
    born, studied = (_first_day(facts.values(key)) for key in (_BIRTH, _STUDY_DATE))
    if born is None or studied is None or studied < born:
        return (None,)
    return (str(studied.year - born.year - ((studied.month, studied.day) < (born.month, born.day))),)


def _years_sent(raw: str | None) -> str | None:
    days = read_age((raw or "").strip(" \0"))
    return None if days is None else str(int(days / 365.25 + 1e-9))


def _sop_class(facts: Facts, _zone: tzinfo) -> Values:
    return tuple(
        None if raw is None else _STORAGE.get(uid := raw.strip(" \0"), uid)
        for raw in _distinct(facts.values(_SOP_CLASS_UID))
    )


def _first_day(raws: Values) -> date | None:
    return next((day for raw in raws if (day := _day(raw)) is not None), None)


def _day(raw: str | None) -> date | None:
    return next((day for text in parts("DA", raw or "") if (day := parse_date(text)) is not None), None)


def _weekday_of(day: date | None) -> str | None:
    return None if day is None else WEEKDAYS[day.weekday()]


DERIVED: dict[str, Derivation] = {
    "StudyWeekday": Derivation((_STUDY_DATE,), _study_weekday),
    "ReceivedWeekday": Derivation((_RECEPTION,), _received_weekday),
    "ReceivedTime": Derivation((_RECEPTION,), _received_time),
    "PatientAgeYears": Derivation((_AGE, _BIRTH, _STUDY_DATE), _age_in_years),
    "SOPClass": Derivation((_SOP_CLASS_UID,), _sop_class),
}
