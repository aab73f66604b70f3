# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which alerts are due: what holds now, held against what was told before. Pure: every function takes `now`.

Something that begins is told at once, and that it has ended is told too. Within the quiet period after that nothing
more is told of its beginning, so something that comes and goes makes two messages in a quiet period at most. What
happens once, such as a delivery that fails, is gathered during the quiet period and told together at its end.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class AlertKind(StrEnum):
    """What can be told."""

    DELIVERY_FAILED = "DeliveryFailed"
    DESTINATION_HELD = "DestinationHeld"
    STUDY_WAITING = "StudyWaiting"
    NOTHING_RECEIVED = "NothingReceived"
    ROUTING_SUSPENDED = "RoutingSuspended"
    RECYCLING_NEAR = "RecyclingNear"


class AlertState(StrEnum):
    """Whether something has begun, has ended, or has happened and is over."""

    BEGUN = "Begun"
    ENDED = "Ended"
    HAPPENED = "Happened"


class Key(NamedTuple):
    """What an alert is about: `subject` is a destination or an AE title, empty where there is only one."""

    kind: AlertKind
    subject: str = ""


@dataclass(frozen=True)
class Observation:
    """Whether something holds now, in words; None while that is not known, as just after a start."""

    key: Key
    holds: bool | None
    text: str = ""


@dataclass(frozen=True)
class Told:
    """What was told last: whether it holds, and when its beginning was told (epoch seconds)."""

    active: bool
    at: float


@dataclass(frozen=True)
class News:
    """Something to tell. `deliveries` are the IDs of some of those it is about."""

    key: Key
    state: AlertState
    at: float
    text: str
    deliveries: tuple[int, ...] = ()
    id: int = 0  # in the store


def is_quiet(told: Told | None, quiet_for: float, now: float) -> bool:
    """Whether its beginning was told less than `quiet_for` seconds ago; a clock that was set back ends the quiet."""
    return told is not None and 0 <= now - told.at < quiet_for


def find_news(observed: Iterable[Observation], told: Mapping[Key, Told], quiet_for: float, now: float) -> list[News]:
    """What has begun and what has ended since it was told last."""
    news = []
    for each in observed:
        before = told.get(each.key)
        active = before is not None and before.active
        if each.holds and not active and not is_quiet(before, quiet_for, now):
            news.append(News(each.key, AlertState.BEGUN, now, each.text))
        elif each.holds is False and active:
            news.append(News(each.key, AlertState.ENDED, now, each.text))
    return news


def due_failures(destinations: Iterable[str], told: Mapping[Key, Told], quiet_for: float, now: float) -> list[str]:
    """Of the destinations to which deliveries have failed, those of which it may be told now."""
    return [
        name for name in destinations if not is_quiet(told.get(Key(AlertKind.DELIVERY_FAILED, name)), quiet_for, now)
    ]


def obsolete(told: Mapping[Key, Told], subjects: Mapping[AlertKind, Collection[str]]) -> list[Key]:
    """What was told of something that is not configured any more: it will never be seen to end."""
    return [
        key
        for key, each in told.items()
        if each.active and key.kind in subjects and key.subject not in subjects[key.kind]
    ]


def is_gathered(news: Iterable[News], gather_for: float, now: float) -> bool:
    """Whether the first of the news has waited for others for long enough."""
    return any(not 0 <= now - each.at < gather_for for each in news)
