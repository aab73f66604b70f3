# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose turn it is among the destinations of a `OneOf`; outlives a restart."""

from collections.abc import Sequence

from peewee import Database

from dicom_router.store.database import replace, transaction
from dicom_router.store.schema import Meta


class Turns:
    """One counter for each set of members."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def next(self, members: Sequence[str]) -> str:
        """The member after the one that was named last."""
        key = "turn " + "\\".join(members)
        with transaction(self._database):
            row = Meta.get_or_none(Meta.key == key)
            turn = int(row.value) if row else 0
            replace(Meta, key=key, value=str(turn + 1))
        return members[turn % len(members)]
