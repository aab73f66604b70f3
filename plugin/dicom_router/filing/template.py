# SPDX-License-Identifier: AGPL-3.0-or-later
"""`Path` of a folder: `{PatientID}/{StudyDate}-{AccessionNumber}/{SOPInstanceUID}.dcm`. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.datadict import dictionary_VR, keyword_dict, tag_for_keyword

from dicom_router.filing.names import clean, fit, mark_of, name_of, plain_value
from dicom_router.problems import nearest

MOST_STEPS = 16
LONGEST_TEMPLATE = 512
LONGEST_EXTENSION = 10
FIRST_DATA_SET_GROUP = 0x0008
_KEYWORDS: Final = frozenset(keyword_dict) - {""}
_NO_TEXT: Final = frozenset({"SQ", "OB", "OW", "OD", "OF", "OL", "OV", "UN"})
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
# Of single instances: they say nothing about a file that holds many.
INSTANCE_KEYWORDS: Final = frozenset({"SOPInstanceUID", "SOPClassUID", "InstanceNumber", "InstanceCreationTime"})

Step = tuple[str | int, ...]  # texts, and the tags whose values stand there


@dataclass(frozen=True)
class Place:
    """Where a file goes, below the destination's folder."""

    folders: tuple[str, ...]
    stem: str
    extension: str

    def file_name(self, addition: str = "") -> str:
        """The file's name, with something before its extension."""
        return f"{self.stem}{addition}{self.extension}"

    def marked(self, owner: str, size: int = 4) -> "Place":
        """The place beside, when the name is taken by another one's file."""
        return Place(self.folders, f"{self.stem}-{mark_of(owner, size=size)}", self.extension)

    def beside(self, stem: str) -> "Place":
        """Another file in the same folder; `stem` may be any text."""
        return Place(self.folders, name_of([plain_value(stem)], [plain_value(stem)], self.extension), self.extension)


@dataclass(frozen=True)
class Template:
    """A path that was read; the last of its steps is the file."""

    steps: tuple[Step, ...]

    def place(self, values: Mapping[int, str]) -> Place:
        """The place for these values by tag: always inside, whatever they hold."""
        *folders, file = self.steps
        stem, extension = _split(file)
        return Place(tuple(_name(step, values) for step in folders), _name(stem, values, extension), extension)


def _name(step: Step, values: Mapping[int, str], extension: str = "") -> str:
    texts = [part if isinstance(part, str) else plain_value(values.get(part, "")) for part in step]
    found = [text for part, text in zip(step, texts, strict=True) if isinstance(part, int)]
    return name_of(texts, found, extension)


def _split(step: Step) -> tuple[Step, str]:
    """The step without the extension that the template itself says."""
    last = step[-1]
    if isinstance(last, int) or "." not in last:
        return step, ""
    stem, _, extension = last.rpartition(".")
    if (not stem and len(step) == 1) or not 0 < len(extension) <= LONGEST_EXTENSION:
        return step, ""
    return (*step[:-1], *([stem] if stem else [])), f".{extension}"


def parse_template(text: str, *, one_file: bool) -> Template:
    """Read a template; `one_file`: the file holds many instances. Raises ValueError with what is wrong."""
    if "${" in text:
        raise ValueError("Orthanc itself replaces ${…} by environment variables; write {PatientID}, without the $.")
    if "\\" in text or text.startswith("/") or len(text) > LONGEST_TEMPLATE:
        raise ValueError(f"must be relative to Folder, with / between steps, of at most {LONGEST_TEMPLATE} characters.")
    steps = tuple(_step(part, one_file=one_file) for part in text.split("/"))
    if len(steps) > MOST_STEPS:
        raise ValueError(f"may have at most {MOST_STEPS} steps.")
    return Template(steps)


def _step(text: str, *, one_file: bool) -> Step:
    parts: list[str | int] = []
    for index, part in enumerate(_PLACEHOLDER.split(text)):
        if index % 2:
            parts.append(_tag(part, one_file=one_file))
        elif part:
            parts.append(_literal(part))
    said = _PLACEHOLDER.sub("x", text)
    if not parts or fit(said) != said:
        raise ValueError(f'"{text}" cannot be the name of a file or folder on every system.')
    return tuple(parts)


def _literal(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError(f'"{text}" has a brace without its other one; tags are written {{PatientID}}.')
    if clean(text) != text:
        raise ValueError(f'"{text}" holds a character that no name may have.')
    return text


def _tag(keyword: str, *, one_file: bool) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None or keyword not in _KEYWORDS:
        raise ValueError(f'"{{{keyword}}}" is not a DICOM keyword.{nearest(keyword, _KEYWORDS)}')
    if tag >> 16 < FIRST_DATA_SET_GROUP or _NO_TEXT & set(dictionary_VR(tag).split(" or ")):
        raise ValueError(f'"{{{keyword}}}" has no value that a name could be made of.')
    if one_file and keyword in INSTANCE_KEYWORDS:
        raise ValueError(f'"{{{keyword}}}" differs between the instances of which this format makes one file.')
    return int(tag)
