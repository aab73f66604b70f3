# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading `Modify` and `Anonymize`, in Orthanc's own syntax of /modify and /anonymize, and `Transcode`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from dicom_router.alteration import Method
from dicom_router.problems import Problem, nearest
from dicom_router.tags import read_tag, tag_path
from dicom_router.transfer_syntaxes import SYNTAXES

# Orthanc: DicomModification.cpp, ParseAnonymizationRequest.
PROFILES: Final = ("2008", "2017c", "2021b", "2023b")
# Of how Orthanc runs the job, and what it stores: the router stores nothing and runs no such job.
OF_JOBS: Final = frozenset(
    {"Asynchronous", "Synchronous", "Permissive", "Priority", "KeepLabels", "UserData", "KeepSource"}
)
# Orthanc asks for `Force` before it touches these.
PATIENT_ID: Final = 0x00100020
IDENTIFIERS: Final = frozenset({PATIENT_ID, 0x0020000D, 0x0020000E, 0x00080018})  # and of study, series, instance

Found = Iterator[Problem]


def alteration_problems(method: Method, spec: Mapping[str, Any], path: str) -> list[Problem]:
    """All that is wrong with what a rule says under `Modify` or `Anonymize`."""
    return [*_problems(method, spec, path)]


def transcode_problems(uid: str, path: str) -> list[Problem]:
    """Empty for a transfer syntax that Orthanc can encode."""
    if uid in SYNTAXES:
        return []
    by_name = {syntax.name: each for each, syntax in SYNTAXES.items()}
    if uid in by_name:
        return [Problem(path, f'must be a UID: {uid} is "{by_name[uid]}".')]
    legal = ", ".join(f"{each} ({syntax.name})" for each, syntax in SYNTAXES.items())
    return [Problem(path, f'"{uid}" is not a transfer syntax that Orthanc can encode. Legal are: {legal}.')]


def _problems(method: Method, spec: Mapping[str, Any], path: str) -> Found:
    readers = _READERS | (_OF_ANONYMIZE if method is Method.ANONYMIZE else _OF_MODIFY)
    for key, value in spec.items():
        if key in readers:
            yield from readers[key](value, f"{path}.{key}")
        elif key == "Transcode":
            yield Problem(f"{path}.{key}", 'stands in an entry of "Send": { "To": "ARCHIVE", "Transcode": "…" }.')
        elif key == "KeepSource" and value is not True:
            yield Problem(f"{path}.{key}", "The router never changes or deletes the stored original.")
        elif key not in OF_JOBS:
            hint = nearest(key, readers) or f" Legal are: {', '.join(readers)}."
            yield Problem(f"{path}.{key}", f'Unknown key "{key}".{hint}')
    if spec.get("Force") is not True:
        yield from _needs_force(spec, path)


def _needs_force(spec: Mapping[str, Any], path: str) -> Found:
    for key in ("Replace", "Keep"):
        named = spec.get(key)
        for name in named if isinstance(named, dict | list) else []:
            if isinstance(name, str) and read_tag(name) in IDENTIFIERS:
                yield Problem(f"{path}.{key}", f'{name} needs "Force": true, as in Orthanc.')


def _replace(value: object, path: str) -> Found:
    if not isinstance(value, dict):
        yield Problem(path, 'must be an object such as { "InstitutionName": "Clinic" }.')
        return
    for name, replacement in value.items():
        yield from _name(name, f"{path}.{name}")
        number = isinstance(replacement, int | float) and not isinstance(replacement, bool)
        items = isinstance(replacement, list) and all(isinstance(each, dict) for each in replacement)
        if not (isinstance(replacement, str) or number or items):
            yield Problem(f"{path}.{name}", "must be a text, a number, or a list of objects for a sequence.")
        tag = read_tag(name)
        if tag in IDENTIFIERS and tag != PATIENT_ID:
            text = "would be the same for every study; without it each gets a pseudonym, which stays the same."
            yield Problem(f"{path}.{name}", text)


def _remove(value: object, path: str) -> Found:
    yield from _names(value, path)
    for name in value if isinstance(value, list) else []:
        if isinstance(name, str) and read_tag(name) in IDENTIFIERS:
            yield Problem(path, f"{name} cannot be removed: every instance needs one.")


def _names(value: object, path: str) -> Found:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        yield Problem(path, 'must be a list of tags such as ["StudyDescription", "0008,0080"].')
        return
    for name in value:
        yield from _name(name, path)


def _name(name: str, path: str) -> Found:
    try:
        tag_path(name)
    except ValueError as wrong:
        yield Problem(path, str(wrong))


def _switch(value: object, path: str) -> Found:
    if not isinstance(value, bool):
        yield Problem(path, "must be true or false.")


def _text(value: object, path: str) -> Found:
    if not isinstance(value, str) or not value:
        yield Problem(path, "must be a text.")


def _profile(value: object, path: str) -> Found:
    if value not in PROFILES:
        yield Problem(path, f"must be a version of DICOM that Orthanc knows: {', '.join(PROFILES)}.")


Read = Callable[[Any, str], Found]
_READERS: Final[dict[str, Read]] = {
    "Replace": _replace,
    "Remove": _remove,
    "Keep": _names,
    "Force": _switch,
    "PrivateCreator": _text,
}
_OF_MODIFY: Final[dict[str, Read]] = {"RemovePrivateTags": _switch}
_OF_ANONYMIZE: Final[dict[str, Read]] = {"KeepPrivateTags": _switch, "DicomVersion": _profile}
