# SPDX-License-Identifier: AGPL-3.0-or-later
"""A rule's verdict in a sentence for people who do not read JSON."""

from collections.abc import Iterator, Mapping
from typing import Any

from dicom_router.alteration import words

OPERATORS = {
    "Equals": "must be {}",
    "In": "must be one of {}",
    "NotEquals": "must not be {}",
    "NotIn": "must be none of {}",
    "Contains": "must contain {}",
    "NotContains": "must not contain {}",
    "StartsWith": "must start with {}",
    "EndsWith": "must end with {}",
    "Wildcard": "must be like {}",
    "Regex": "must match {}",
    "Lt": "must be below {}",
    "Le": "must be at most {}",
    "Gt": "must be above {}",
    "Ge": "must be at least {}",
    "Between": "must lie between {}",
    "NewerThan": "must be newer than {}",
    "OlderThan": "must be older than {}",
    "Exists": "must be there: {}",
    "Any": "at least one of its conditions must hold",
    "None": "none of its conditions may hold",
}


def sentence(verdict: Mapping[str, Any]) -> str:
    """What a rule said of a study; `verdict` as RuleVerdict.to_json makes it."""
    name = verdict["Rule"]
    if verdict.get("Skipped"):
        return f'Rule "{name}" was not looked at. {verdict["Skipped"]}' if name else str(verdict["Skipped"])
    if not name:
        return f"Sent by hand to {', '.join(verdict['Send'])}."
    version = f" (Version {verdict['Version']} of the rule.)" if _has_versions(verdict) else ""
    if not verdict["Matched"]:
        return f'Rule "{name}" did not match: {failure(verdict["Failed"])}.{version}'
    text = f'Rule "{name}" matched and sends {_where(verdict)}.'
    for each in verdict.get("NotSent", []):
        text += f" Nothing was sent to {each['Destination']}: {each['Why']}"
    return text + version


def _where(verdict: Mapping[str, Any]) -> str:
    return f"to {', '.join(_destinations(verdict))}" if verdict["Send"] else "nothing"


def _destinations(verdict: Mapping[str, Any]) -> Iterator[str]:
    """Where to, and what becomes of the copy on its way."""
    altered = verdict.get("Altered", {})
    for label in verdict["Send"]:
        yield f"{label} ({words(altered[label])})" if label in altered else str(label)


def _has_versions(verdict: Mapping[str, Any]) -> bool:
    """A rule of orthanc.json has none, and one that is only tried has none yet."""
    return verdict.get("Origin") == "Database" and bool(verdict.get("Version"))


def failure(entry: Mapping[str, Any]) -> str:
    """Why an entry of a match does not hold; `entry` as Entry.to_json makes it."""
    key = str(entry["Path"]).removesuffix(f".{entry['Operator']}")
    wanted = OPERATORS.get(str(entry["Operator"]), str(entry["Operator"])).format(_quote(entry["Expected"]))
    seen = [value for value in entry["Seen"] if value is not None]
    if entry.get("Hidden"):
        return f"{key} {wanted}, but it is not (the value is about the patient and is not kept)"
    found = f"it is {_quote(seen[0] if len(seen) == 1 else seen)}" if seen else "it has no value"
    return f"{key} {wanted}, but {found}"


def _quote(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_quote(each) for each in value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
