# SPDX-License-Identifier: AGPL-3.0-or-later
"""/router/statistics."""

from dicom_router.api.http import Call, Endpoint, HttpError, Parameter
from dicom_router.api.schemas import Schema, Time
from dicom_router.api.services import Services
from dicom_router.problems import Problem
from dicom_router.store.statistics import Statistics
from dicom_router.whole_numbers import whole_number

DEFAULT_HOURS = 24
MOST_HOURS = 168


class HourAnswer(Schema):
    """An hour of the clock: what was made and what ended in it, and how much had not ended at its end (or now)."""

    at: Time
    made: int
    completed: int
    warning: int
    failed: int
    canceled: int
    open: int


class StatisticsAnswer(Schema):
    """Oldest hour first; the last one still runs."""

    hours: list[HourAnswer]


HOURS = Parameter(
    "hours",
    f"How many, {DEFAULT_HOURS} if not said",
    {"type": "integer", "minimum": 1, "maximum": MOST_HOURS},
)


class StatisticsRoutes:
    """Deliveries over time."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def endpoints(self) -> list[Endpoint]:
        """The routes."""
        told = "Deliveries over time"
        return [Endpoint("GET", "/statistics", told, self.hours, StatisticsAnswer, None, (HOURS,), (400, 503))]

    def hours(self, call: Call) -> StatisticsAnswer:
        """The last hours."""
        count = _hours(call.query.get("hours"))
        found = Statistics(self._services.need_store().database).hours(count, self._services.clock())
        return StatisticsAnswer(
            hours=[
                HourAnswer(
                    at=each.at,
                    made=each.made,
                    completed=each.ended.get("Completed", 0),
                    warning=each.ended.get("Warning", 0),
                    failed=each.ended.get("Failed", 0),
                    canceled=each.ended.get("Canceled", 0),
                    open=each.open,
                )
                for each in found
            ]
        )


def _hours(text: str | None) -> int:
    if text is None:
        return DEFAULT_HOURS
    number = whole_number(text)
    if number is None or not 1 <= number <= MOST_HOURS:
        message = f"hours must be a number from 1 to {MOST_HOURS}."
        raise HttpError(400, message, [Problem("hours", message)])
    return number
