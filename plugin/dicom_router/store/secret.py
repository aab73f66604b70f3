# SPDX-License-Identifier: AGPL-3.0-or-later
"""The key of the pseudonyms: made at random when it is first needed, and kept for ever.

Without it nobody can tell whose a pseudonymous study is; another one would give late instances another study.
"""

import secrets

from peewee import Database

from dicom_router.store.database import scalar, transaction
from dicom_router.store.schema import Meta

NAME = "pseudonym key"
BYTES = 32


class Secret:
    """Read once and kept in memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._key: bytes | None = None

    def key(self) -> bytes:
        """The key; the same at every call, and after a restart."""
        if self._key is None:
            self._key = self._read_or_make()
        return self._key

    def _read_or_make(self) -> bytes:
        with transaction(self._database):
            kept = scalar(Meta.select(Meta.value).where(Meta.key == NAME))
            if kept is None:
                kept = secrets.token_hex(BYTES)
                Meta.insert(key=NAME, value=kept).execute()
            return bytes.fromhex(str(kept))
