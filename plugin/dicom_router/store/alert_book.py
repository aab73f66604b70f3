# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was told, and what has yet to be: a restart neither repeats an alert nor forgets one."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from peewee import Database, fn

from dicom_router.alerts.alert import AlertKind, AlertState, Key, News, Told
from dicom_router.store.database import replace as write
from dicom_router.store.database import rows, session, transaction
from dicom_router.store.schema import AlertNews, AlertTold, Delivery

MOST_NAMED = 10  # deliveries of one alert; the others are counted


@dataclass(frozen=True)
class LateDeliveries:
    """The deliveries to one destination that wait for too long; `oldest` in seconds since the epoch."""

    destination: str
    number: int
    oldest: float


class AlertBook:
    """The alerts of one Orthanc."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self._owner = owner

    # What to look at

    def told(self) -> dict[Key, Told]:
        """What was told last."""
        with session(self._database):
            found = rows(AlertTold.select().where(AlertTold.owner == self._owner))
            return {Key(AlertKind(row.kind), row.subject): Told(row.active, row.at) for row in found}

    def failed_destinations(self) -> list[str]:
        """The destinations to which deliveries have failed of which nothing was told yet."""
        with session(self._database):
            found = Delivery.select(Delivery.destination).distinct().where(Delivery.untold)
            return [name for (name,) in rows(found.tuples())]

    def late(self, before: float) -> list[LateDeliveries]:
        """What was made before then and has not ended."""
        with session(self._database):
            found = (
                Delivery.select(Delivery.destination, fn.COUNT(Delivery.id), fn.MIN(Delivery.created_at))
                .where(Delivery.completed_at.is_null(), Delivery.created_at < before)
                .group_by(Delivery.destination)
            )
            return [LateDeliveries(*row) for row in rows(found.tuples())]

    # What changes

    def write(self, news: Sequence[News], channels: Collection[str]) -> None:
        """These are to be told on `channels`; with none, they only count as told."""
        with transaction(self._database):
            for each in news:
                self._write(each, channels)

    def write_failures(
        self, destination: str, word: Callable[[str, int], str], channels: Collection[str], now: float
    ) -> None:
        """The deliveries to a destination that have failed are to be told; `word` puts their number into words."""
        with transaction(self._database):
            failed = Delivery.update(untold=False).where(Delivery.untold, Delivery.destination == destination)
            ids = sorted(number for (number,) in rows(failed.returning(Delivery.id).tuples().execute()))
            if ids:
                key = Key(AlertKind.DELIVERY_FAILED, destination)
                text = word(destination, len(ids))
                self._write(News(key, AlertState.HAPPENED, now, text, tuple(ids[:MOST_NAMED])), channels)

    def _write(self, news: News, channels: Collection[str]) -> None:
        kind, subject = news.key
        mine = (AlertTold.owner == self._owner, AlertTold.kind == kind, AlertTold.subject == subject)
        if news.state is AlertState.ENDED:
            AlertTold.update(active=False).where(*mine).execute()
        else:
            active = news.state is AlertState.BEGUN
            write(AlertTold, owner=self._owner, kind=kind, subject=subject, active=active, at=news.at)
        if channels:
            AlertNews.insert(
                owner=self._owner,
                at=news.at,
                kind=kind,
                subject=subject,
                state=news.state,
                text=news.text,
                deliveries=json.dumps(news.deliveries),
                channels=json.dumps(sorted(channels)),
            ).execute()

    def forget(self, keys: Collection[Key]) -> None:
        """Nothing is to be told of these any more."""
        with transaction(self._database):
            for kind, subject in keys:
                AlertTold.delete().where(
                    AlertTold.owner == self._owner, AlertTold.kind == kind, AlertTold.subject == subject
                ).execute()

    # Telling

    def pending(self, channel: str) -> list[News]:
        """What a channel has yet to carry, oldest first."""
        return [news for news, channels in self._news() if channel in channels]

    def _news(self) -> list[tuple[News, list[str]]]:
        with session(self._database):
            found = rows(AlertNews.select().where(AlertNews.owner == self._owner).order_by(AlertNews.id))
            return [(_news(row), json.loads(row.channels)) for row in found]

    def carried(self, channel: str, news: Collection[News]) -> None:
        """A channel has carried these."""
        ids = {each.id for each in news}
        with transaction(self._database):
            for each, channels in self._news():
                if each.id in ids:
                    self._leave(each, [name for name in channels if name != channel])

    def _leave(self, news: News, channels: list[str]) -> None:
        if channels:
            AlertNews.update(channels=json.dumps(channels)).where(AlertNews.id == news.id).execute()
        else:
            AlertNews.delete().where(AlertNews.id == news.id).execute()

    def drop(self, before: float, channels: Collection[str]) -> int:
        """Give up what is older, or is for none of `channels`. Answers how many of the older there were."""
        if not self._news():
            return 0
        with transaction(self._database):
            mine = AlertNews.owner == self._owner
            old = int(AlertNews.delete().where(mine, AlertNews.at < before).execute())
            for each, wanted in self._news():
                if not set(wanted) <= set(channels):
                    self._leave(each, [name for name in wanted if name in channels])
            return old

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """How many alerts of a kind hold now, and how many each channel has yet to carry."""
        active = {str(kind): 0 for kind in AlertKind if kind is not AlertKind.DELIVERY_FAILED}
        for key, told in self.told().items():
            active[key.kind] = active.get(key.kind, 0) + told.active
        unsent: dict[str, int] = {}
        for _, channels in self._news():
            for channel in channels:
                unsent[channel] = unsent.get(channel, 0) + 1
        return active, unsent


def _news(row: AlertNews) -> News:
    key = Key(AlertKind(row.kind), row.subject)
    return News(key, AlertState(row.state), row.at, row.text, tuple(json.loads(row.deliveries)), row.id)
