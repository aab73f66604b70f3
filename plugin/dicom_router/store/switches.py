# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was paused by hand; outlives a restart, and holds for every Orthanc that shares the database."""

from peewee import Database

from dicom_router.store.database import replace, session
from dicom_router.store.schema import Meta

ROUTER = "paused"
DESTINATION = "paused destination "


class Switches:
    """The pauses, kept in memory; `read` learns of what another Orthanc has switched."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._on: set[str] = set()
        self.read()

    def read(self) -> bool:
        """Look again. True when something has changed."""
        before = self._on
        with session(self._database):
            self._on = {str(row.key) for row in Meta.select().where(Meta.key.startswith(ROUTER))}
        return self._on != before

    def router_paused(self) -> bool:
        """Nothing is sent anywhere."""
        return ROUTER in self._on

    def destination_paused(self, name: str) -> bool:
        """Nothing is sent to this destination."""
        return DESTINATION + name in self._on

    def pause_router(self, *, paused: bool) -> None:
        """Pause or resume everything."""
        self._set(ROUTER, paused)

    def pause_destination(self, name: str, *, paused: bool) -> None:
        """Pause or resume one destination."""
        self._set(DESTINATION + name, paused)

    def _set(self, key: str, on: bool) -> None:
        with session(self._database):
            if on:
                replace(Meta, key=key, value="1")
                self._on = self._on | {key}
            else:
                Meta.delete().where(Meta.key == key).execute()
                self._on = self._on - {key}
