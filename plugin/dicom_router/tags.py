# SPDX-License-Identifier: AGPL-3.0-or-later
"""DICOM tags as Orthanc lets users write them: `PatientID`, `0010,0020`, `0010-0020`, `00100020`. Pure."""

import re

from pydicom.datadict import keyword_dict, tag_for_keyword

from dicom_router.problems import nearest

_NUMBER = re.compile(r"([0-9A-Fa-f]{4})[,-]?([0-9A-Fa-f]{4})", re.ASCII)
# One step of a path: a tag, and which items of a sequence. Orthanc Book, "Anonymization and modification".
_STEP = re.compile(r"(.*?)(\[(?:\d+|\*)\])?", re.ASCII)


def read_tag(text: str) -> int | None:
    """The tag that is named, None for an unknown name."""
    written = _NUMBER.fullmatch(text)
    return int(written[1] + written[2], 16) if written else tag_for_keyword(text)


def tag_path(text: str) -> tuple[int, ...]:
    """The tags of a path such as `RequestAttributesSequence[*].AccessionNumber`; ValueError with a sentence."""
    return tuple(tag for tag, _items in _steps(text))


def by_number(text: str) -> str:
    """A path with its tags as numbers, which every Orthanc understands; ValueError for a name that is none."""
    return ".".join(f"{tag >> 16:04x},{tag & 0xFFFF:04x}{items}" for tag, items in _steps(text))


def _steps(text: str) -> list[tuple[int, str]]:
    found = []
    steps = text.split(".")
    for index, step in enumerate(steps):
        matched = _STEP.fullmatch(step)
        name, items = (matched[1], matched[2] or "") if matched else (step, "")
        tag = read_tag(name)
        if tag is None:
            raise ValueError(f'"{name}" is no DICOM tag.{nearest(name, _keywords())}')
        if bool(items) == (index == len(steps) - 1):
            raise ValueError('a path looks like "RequestAttributesSequence[0].AccessionNumber", or [*] for every item.')
        found.append((tag, items))
    return found


def _keywords() -> list[str]:
    tag_for_keyword("PatientID")  # pydicom fills keyword_dict at the first look-up
    return [keyword for keyword in keyword_dict if keyword]
