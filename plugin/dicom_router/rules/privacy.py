# SPDX-License-Identifier: AGPL-3.0-or-later
"""Verdicts without what the patient's own elements hold, for a router that keeps no patient data. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from dicom_router.rules.keys import Key, parse_key

_PATIENT_GROUP: Final = 0x0010  # PS3.6: the patient's name, IDs, birth date, address, and what else tells who it is


def without_patient(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """A rule's verdict (RuleVerdict.to_json) without the values seen in elements about the patient."""
    told = dict(verdict)
    if told.get("Failed"):
        told["Failed"] = _entry(told["Failed"])
    if told.get("Entries"):
        told["Entries"] = [_entry(entry) for entry in told["Entries"]]
    return told


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    about = _is_of_patient(str(entry["Path"])) or _asks_patient(entry["Expected"])
    return dict(entry) | ({"Seen": [], "Hidden": True} if about else {})


def _is_of_patient(path: str) -> bool:
    return any(_is_patient_element(step.split("[")[0]) for step in path.split("."))


def _asks_patient(spec: object) -> bool:
    """Whether the branches of a group ask for such an element."""
    if isinstance(spec, list):
        return any(_asks_patient(each) for each in spec)
    if not isinstance(spec, Mapping):
        return False
    return any(_is_of_patient(str(name)) or _asks_patient(value) for name, value in spec.items())


def _is_patient_element(name: str) -> bool:
    try:
        return is_about_patient(parse_key(name))
    except ValueError:  # an operator, Any, All, None
        return False


def is_about_patient(key: Key) -> bool:
    """Whether its values tell about the patient."""
    return any(tag >> 16 == _PATIENT_GROUP for tag in key.path)
