# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router's mark in Orthanc's own index, by which it knows the index again."""

from typing import Protocol

from dicom_router.host.global_properties import INDEX_MARK
from dicom_router.host.sdk import OrthancHost

TEXT = "dicom-router reads this index"


class Marks(Protocol):
    """Whether this Orthanc has left its mark; see store/marks.py."""

    def made(self) -> bool:
        """It has before."""

    def make(self) -> None:
        """It has now."""


class IndexMark:
    """A global property: it goes with the index, and comes back with its backup.

    Each Orthanc has global properties of its own, also over a common index. With `marks` one that has not left its
    mark yet is no sign of a new index.
    """

    def __init__(self, host: OrthancHost, marks: Marks | None = None) -> None:
        self._host = host
        self._marks = marks

    def is_ours(self) -> bool:
        """The router has read this index before."""
        return self._is_there() or (self._marks is not None and not self._marks.made())

    def write(self) -> None:
        """From now on it has."""
        if not self._is_there():
            self._host.set_global_property(INDEX_MARK, TEXT)
        if self._marks is not None and not self._marks.made():
            self._marks.make()

    def _is_there(self) -> bool:
        return self._host.global_property(INDEX_MARK) == TEXT
