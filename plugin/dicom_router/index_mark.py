# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router's mark in Orthanc's own index, by which it knows the index again."""

from dicom_router.global_properties import INDEX_MARK
from dicom_router.orthanc_host import OrthancHost

TEXT = "dicom-router reads this index"


class IndexMark:
    """A global property: it goes with the index, and comes back with its backup."""

    def __init__(self, host: OrthancHost) -> None:
        self._host = host

    def is_ours(self) -> bool:
        """The router has read this index before."""
        return self._host.global_property(INDEX_MARK) == TEXT

    def write(self) -> None:
        """From now on it has."""
        if not self.is_ours():
            self._host.set_global_property(INDEX_MARK, TEXT)
