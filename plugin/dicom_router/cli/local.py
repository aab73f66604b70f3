# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the command line does without a server: checking an orthanc.json, explaining rules on files."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dicom_router.config import Neighbours, Settings, effective, neighbours, parse
from dicom_router.problems import Problem
from dicom_router.routing.outlook import LEVEL_OF, looks, sendings, shortened, verdicts_of
from dicom_router.rules.warnings.checks import Surroundings, rule_warnings
from dicom_router.rules.wording import sentence
from dicom_router.studies.files import FileError, Files
from dicom_router.studies.study import ResourceFacts

_COMMENTS = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
# Orthanc passes over a comma after the last entry, not over one that follows on nothing, which is kept.
_LAST_COMMAS = re.compile(r'("(?:\\.|[^"\\])*"|[{\[,]\s*,)|,(?=\s*[}\]])')
_VARIABLES = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


class UserError(Exception):
    """A mistake of the one who typed; the message says which."""


@dataclass(frozen=True)
class Outcome:
    """What a command found: lines for people, the same for programs, the exit code, and notes on the way there."""

    lines: list[str]
    data: Any
    code: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Checked:
    """A configuration file and what is wrong with it."""

    settings: Settings | None
    problems: list[Problem]
    known: Neighbours = field(default_factory=Neighbours)


def read_configuration(path: Path) -> dict[str, Any]:
    """An orthanc.json, or a folder of such, as Orthanc reads it (OrthancConfiguration.cpp). Raises UserError."""
    if not path.is_dir():
        return _read_file(path)
    files = sorted(each for each in path.iterdir() if each.suffix == ".json" and each.is_file())
    if not files:
        raise UserError(f"{path} holds no file that ends in .json.")
    merged: dict[str, Any] = {}
    origins: dict[str, Path] = {}
    for file in files:
        for section, value in _read_file(file).items():
            if section in merged:
                told = f'"{section}" stands in {origins[section].name} and in {file.name}'
                raise UserError(f"{told}: Orthanc does not start so. Keep it in one of them.")
            merged[section], origins[section] = value, file
    return merged


def _read_file(path: Path) -> dict[str, Any]:
    """One file: with comments, and ${VARIABLE:-default}."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"{path} cannot be read: {getattr(problem, 'strerror', None) or problem}.") from None
    # A comment becomes blanks, so that the line that an error names is the line in the file.
    text = _COMMENTS.sub(lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text)
    text = _LAST_COMMAS.sub(lambda found: found[1] or " ", text)
    text = _VARIABLES.sub(lambda found: os.environ.get(found[1]) or found[2] or "", text)
    try:
        read = json.loads(text)
    except ValueError as problem:
        raise UserError(f"{path} is not JSON: {problem}.") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply.") from None
    if not isinstance(read, dict):
        raise UserError(f'{path} must hold an object, like {{ "Router": {{ … }} }}.')
    return read


def load(path: Path) -> Checked:
    """The router's section of an orthanc.json. Raises UserError."""
    configuration = read_configuration(path)
    if "Router" not in configuration:
        raise UserError(f'{path} has no section "Router".')
    known = neighbours(configuration)
    try:
        settings, problems = parse(configuration["Router"], known)
    except RecursionError:
        raise UserError(f'The section "Router" of {path} is nested too deeply.') from None
    return Checked(None if problems else settings, problems, known)


def check(path: Path) -> Outcome:
    """Problems and warnings of an orthanc.json."""
    checked = load(path)
    warnings = _warnings(checked)
    lines = [f"{each.path}: {each.message}" for each in checked.problems]
    lines += [f"warning: {each.path}: {each.message}" for each in warnings]
    if not checked.problems:
        count = len(checked.settings.rules) if checked.settings else 0
        lines.append(f"{path} holds together: {count} {'rule' if count == 1 else 'rules'}.")
    told = {"Problems": _told(checked.problems), "Warnings": _told(warnings)}
    return Outcome(lines, told, 1 if checked.problems else 0)


def _warnings(checked: Checked) -> list[Problem]:
    if checked.settings is None:
        return []
    settings = checked.settings
    now = datetime.now(settings.time_zone)
    around = Surroundings(settings.destinations, effective, now)
    told = rule_warnings(settings.rules, around)
    return [
        Problem(f"Router.Rules[{index}].{each.path}".rstrip("."), each.message)
        for index, rule in enumerate(settings.rules)
        for each in told[rule.name]
    ]


def _told(problems: Sequence[Problem]) -> list[dict[str, str]]:
    return [{"Path": each.path, "Message": each.message} for each in problems]


def explain(path: Path, files: Sequence[Path]) -> Outcome:
    """Which rules would take these files, and why."""
    checked = load(path)
    if checked.settings is None:
        return check(path)
    found = {path: _below(path) for path in files if path.is_dir()}
    named = {path for path in files if path not in found}
    every = [each for path in files for each in found.get(path, [path])]
    try:
        held = Files(every, optional={*every} - named)
    except FileError as problem:
        raise UserError(str(problem)) from None
    if not held.studies:
        raise UserError(f"There is no DICOM file in {', '.join(map(str, found))}.")
    told = [_explained(checked.settings, held, study_id) for study_id in held.studies]
    lines = [line for study in told for line in _lines(study)]
    return Outcome(lines, told, notes=[f"left out: {each}" for each in held.left_out])


def _below(folder: Path) -> list[Path]:
    """The files in a folder and in those within."""
    return sorted(each for each in folder.rglob("*") if each.is_file())


def _explained(settings: Settings, held: Files, study_id: str) -> dict[str, Any]:
    facts = ResourceFacts(held, study_id)
    now = datetime.now(settings.time_zone)
    found = looks(facts, settings.rules, tuple(LEVEL_OF), now)
    verdicts = shortened(verdicts_of(found, facts, patient_data=settings.patient_data), facts)
    reach: dict[str, set[str]] = {}
    for sending in (each for look in found for each in sendings(look, now)):
        reach.setdefault(sending.target.send.label, set()).update(each.id for each in sending.instances)
    subject = facts.subject(patient_data=settings.patient_data)
    return {
        "StudyInstanceUID": subject.study_instance_uid,
        "PatientName": subject.patient_name,
        "StudyDescription": subject.study_description,
        "Modalities": subject.modalities.split("\\"),
        "InstancesCount": len(facts.instances),
        "Rules": verdicts,
        "Send": [{"Destination": label, "InstancesCount": len(ids)} for label, ids in reach.items() if ids],
    }


def _lines(study: dict[str, Any]) -> list[str]:
    count = study["InstancesCount"]
    what = [study["PatientName"], study["StudyDescription"], "/".join(study["Modalities"]), study["StudyInstanceUID"]]
    lines = [f"{', '.join(filter(None, what))} ({count} {'file' if count == 1 else 'files'})"]
    lines += [f"  {sentence(verdict)}" for verdict in study["Rules"]]
    sent = [f"{each['Destination']} ({each['InstancesCount']} of {count})" for each in study["Send"]]
    return [*lines, f"  Goes to {', '.join(sent)}." if sent else "  Goes nowhere."]
