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
        self._on: dict[str, str] = {}  # and who switched
        self.read()

    def read(self) -> bool:
        """Look again. True when something has changed."""
        before = self._on
        with session(self._database):
            self._on = {str(row.key): str(row.value) for row in Meta.select().where(Meta.key.startswith(ROUTER))}
        return self._on != before

    def router_paused(self) -> bool:
        """Nothing is sent anywhere."""
        return ROUTER in self._on

    def destination_paused(self, name: str) -> bool:
        """Nothing is sent to this destination."""
        return DESTINATION + name in self._on

    def paused_by(self, destination: str | None = None) -> str:
        """Who paused it, or the router; empty where it is not paused or nobody was named."""
        return self._on.get(ROUTER if destination is None else DESTINATION + destination, "")

    def pause_router(self, *, paused: bool, user: str = "") -> None:
        """Pause or resume everything."""
        self._set(ROUTER, paused, user)

    def pause_destination(self, name: str, *, paused: bool, user: str = "") -> None:
        """Pause or resume one destination."""
        self._set(DESTINATION + name, paused, user)

    def _set(self, key: str, on: bool, user: str) -> None:
        with session(self._database):
            if on:
                replace(Meta, key=key, value=user)
                self._on = self._on | {key: user}
            else:
                Meta.delete().where(Meta.key == key).execute()
                self._on = {other: by for other, by in self._on.items() if other != key}
