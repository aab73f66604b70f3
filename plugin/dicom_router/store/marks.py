# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which Orthancs have marked the index as read: each has global properties of its own, also in a common index."""

from peewee import Database

from dicom_router.store.database import replace, session
from dicom_router.store.schema import Meta


class Marks:
    """The memory of one Orthanc's mark."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._key = f"marked by {owner}"

    def made(self) -> bool:
        """This Orthanc has left its mark before."""
        with session(self._database):
            return Meta.get_or_none(Meta.key == self._key) is not None

    def make(self) -> None:
        """It has now."""
        with session(self._database):
            replace(Meta, key=self._key, value="1")
