# SPDX-License-Identifier: AGPL-3.0-or-later
"""When something was received last from the AE titles of which an alert should tell that they are silent."""

from collections.abc import Mapping

from peewee import EXCLUDED, Database

from dicom_router.store.database import scalar, session, transaction
from dicom_router.store.schema import Heard


class HeardFrom:
    """By AE title, in seconds since the epoch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hear(self, times: Mapping[str, float]) -> None:
        """Something was received then; what is older than what is known changes nothing."""
        with transaction(self._database):
            for aet, at in sorted(times.items()):
                Heard.insert(aet=aet, at=at).on_conflict(
                    conflict_target=[Heard.aet], update={Heard.at: EXCLUDED.at}, where=(EXCLUDED.at > Heard.at)
                ).execute()

    def last(self, aet: str, now: float) -> float:
        """When something came last; where nothing ever did, when this was asked first."""
        with session(self._database):
            known: float | None = scalar(Heard.select(Heard.at).where(Heard.aet == aet))
        if known is None:
            self.hear({aet: now})
        return now if known is None else known
