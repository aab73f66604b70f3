# SPDX-License-Identifier: AGPL-3.0-or-later
"""A walk over a copy and its original together: every element of every sequence, and what stood there before. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue

from dicom_router.alteration import Alteration
from dicom_router.tags import tag_path

PIXEL_GROUP = 0x7FE0  # what comes from here on is pixels, signatures and padding


@dataclass(frozen=True)
class Place:
    """An element that is no sequence. `original` is the data set that was here before; None where there was none."""

    data_set: Dataset
    tag: int
    vr: str
    path: tuple[int, ...]
    original: Dataset | None

    @property
    def element(self) -> DataElement:
        """As it is in the copy."""
        return self.data_set[self.tag]

    @property
    def before(self) -> DataElement | None:
        """As it was."""
        return self.original[self.tag] if self.original is not None and self.tag in self.original else None

    @property
    def is_unchanged(self) -> bool:
        """Nobody has altered it yet."""
        before = self.before
        return before is not None and texts(before) == texts(self.element)


class Wishes:
    """What a user has said of single tags."""

    def __init__(self, alteration: Alteration) -> None:
        replaced, kept = alteration.spec.get("Replace"), alteration.spec.get("Keep")
        self._replaced = {tag_path(str(name)) for name in (replaced if isinstance(replaced, dict) else {})}
        self._kept = {tag_path(str(name)) for name in (kept if isinstance(kept, list) else [])}

    def replaces(self, path: tuple[int, ...]) -> bool:
        """The user gives the value of this element, or of a sequence that it is in."""
        return any(path[:length] in self._replaced for length in range(1, len(path) + 1))

    def keeps(self, path: tuple[int, ...]) -> bool:
        """It stays as it is; what is kept by its tag alone is kept in every sequence too."""
        return path in self._kept or path[-1:] in self._kept


def places(data_set: Dataset, original: Dataset | None, path: tuple[int, ...] = ()) -> Iterator[Place]:
    """All of them, before the pixels. The original of a sequence is looked at where it has as many items."""
    for tag in [*data_set.keys()]:
        if tag.group >= PIXEL_GROUP:
            return
        vr = _vr(data_set, tag)
        if vr != "SQ":
            yield Place(data_set, tag, vr, (*path, tag), original)
            continue
        items = [*data_set[tag].value]
        before = items_of(original, tag)
        for index, item in enumerate(items):
            yield from places(item, before[index] if len(before) == len(items) else None, (*path, tag))


def items_of(data_set: Dataset | None, tag: int) -> list[Dataset]:
    """The items of a sequence; none where there is no such sequence."""
    if data_set is None or tag not in data_set or data_set[tag].VR != "SQ":
        return []
    return [*data_set[tag].value]


def texts(element: DataElement) -> list[str]:
    """Its values as text, without padding; none where it is empty."""
    value = element.value
    values = [*value] if isinstance(value, MultiValue | list) else [value]
    return [text for each in values if each is not None and (text := str(each).strip(" \0"))]


def _vr(data_set: Dataset, tag: int) -> str:
    """Without decoding what need not be looked at: a file may hold what its VR does not allow."""
    told: str | None = data_set.get_item(tag).VR
    if told is not None:
        return str(told)
    try:
        return dictionary_VR(tag)
    except KeyError:  # private, in implicit VR
        return "UN"
