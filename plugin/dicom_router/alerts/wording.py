# SPDX-License-Identifier: AGPL-3.0-or-later
"""What holds, and what has ended, in sentences. None of them names a patient."""

from collections.abc import Sequence
from datetime import UTC, datetime

from dicom_router.alerts.alert import AlertKind, Key, Observation
from dicom_router.durations import format_duration
from dicom_router.problems import Problem

MOST_PROBLEMS = 5
LONGEST_TEXT = 300  # characters of what another system says


def iso(at: float) -> str:
    """A time (epoch seconds) as the REST API writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def one_line(text: str, longest: int = LONGEST_TEXT) -> str:
    """What another system says, without anything that could begin a line or a header of its own."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def suspended(problems: Sequence[Problem]) -> Observation:
    """Routing is suspended while there are problems."""
    key = Key(AlertKind.ROUTING_SUSPENDED)
    if not problems:
        return Observation(key, False, "Routing runs again; what arrived meanwhile is routed now.")
    told = [f"{one_line(each.path)}: {one_line(each.message)}" for each in problems[:MOST_PROBLEMS]]
    more = len(problems) - len(told)
    told += [f"and {more} more, see /router/status"] if more else []
    return Observation(key, True, "Routing is suspended; Orthanc receives, and nothing is lost. " + "; ".join(told))


def held(name: str, error: str) -> Observation:
    """A destination does not answer."""
    text = f"{name} does not answer ({one_line(error)}). What is for it waits, and is sent once it is back."
    return Observation(Key(AlertKind.DESTINATION_HELD, name), True, text)


def answers(name: str, *, known: bool) -> Observation:
    """A destination is not held; whether it answers is known once it has."""
    return Observation(Key(AlertKind.DESTINATION_HELD, name), False if known else None, f"{name} answers again.")


def waiting(name: str, number: int, oldest: float, longest: float) -> Observation:
    """Deliveries wait for too long."""
    have = "delivery has" if number == 1 else "deliveries have"
    text = (
        f"{number} {have} waited for {name} for longer than {format_duration(longest)}, the oldest since {iso(oldest)}."
    )
    return Observation(Key(AlertKind.STUDY_WAITING, name), True, text)


def not_waiting(name: str, longest: float) -> Observation:
    """No delivery waits for too long."""
    text = f"Nothing has waited for {name} for longer than {format_duration(longest)} any more."
    return Observation(Key(AlertKind.STUDY_WAITING, name), False, text)


def silent(aet: str, last: float, longest: float) -> Observation:
    """Nothing comes from an AE title."""
    text = f"Nothing was received from {aet} for {format_duration(longest)}; the last was at {iso(last)}."
    return Observation(Key(AlertKind.NOTHING_RECEIVED, aet), True, text)


def sends(aet: str) -> Observation:
    """Something came from an AE title not long ago."""
    return Observation(Key(AlertKind.NOTHING_RECEIVED, aet), False, f"{aet} sends again.")


def recycling(problem: Problem | None) -> Observation:
    """Orthanc is about to delete what waits."""
    key = Key(AlertKind.RECYCLING_NEAR)
    if problem is None:
        return Observation(key, False, "Orthanc has room again, or nothing waits any more.")
    return Observation(key, True, one_line(problem.message))


def failed(name: str, number: int) -> str:
    """Deliveries that the router gave up."""
    return f"{number} {'delivery' if number == 1 else 'deliveries'} to {name} failed for good."
