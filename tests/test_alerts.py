# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which alerts are due, on a clock of the test's own; and their words."""

import json
from collections.abc import Callable

import pytest

from builders import NOW
from dicom_router.alerts import wording
from dicom_router.alerts.alert import (
    AlertKind,
    AlertState,
    Key,
    News,
    Observation,
    Told,
    due_failures,
    find_news,
    is_gathered,
    obsolete,
)
from dicom_router.alerts.message import Sender, compose
from dicom_router.problems import Problem

QUIET = 900.0
ARCHIVE = Key(AlertKind.DESTINATION_HELD, "ARCHIVE")
OTHER = Key(AlertKind.DESTINATION_HELD, "OTHER")
SENDER = Sender("PACS gateway", "1.2.3", "owner")


class Story:
    """What holds minute by minute, and what is told of it."""

    def __init__(self) -> None:
        self.told: dict[Key, Told] = {}
        self.now = NOW

    def minute(self, *observed: Observation) -> list[tuple[str, AlertState]]:
        """One more minute; whom it is told of, and how."""
        news = find_news(observed, self.told, QUIET, self.now)
        for each in news:
            before = self.told.get(each.key)
            begun = each.state is AlertState.BEGUN
            self.told[each.key] = Told(begun, self.now if begun or before is None else before.at)
        self.now += 60
        return [(each.key.subject, each.state) for each in news]


def holds(key: Key = ARCHIVE, *, value: bool | None = True) -> Observation:
    return Observation(key, value, "text")


ENDED = holds(value=False)
UNKNOWN = holds(value=None)


def test_what_begins_and_ends_is_told_once_each() -> None:
    story = Story()
    assert story.minute(ENDED) == []
    assert story.minute(holds()) == [("ARCHIVE", AlertState.BEGUN)]
    assert story.minute(holds()) == []
    assert story.minute(ENDED) == [("ARCHIVE", AlertState.ENDED)]
    assert story.minute(ENDED) == []


def test_what_is_not_known_is_neither_begun_nor_ended() -> None:
    story = Story()
    assert story.minute(UNKNOWN) == []
    story.minute(holds())
    assert story.minute(UNKNOWN) == []
    assert story.minute() == []
    assert story.minute(ENDED) == [("ARCHIVE", AlertState.ENDED)]


def test_what_comes_and_goes_makes_two_messages_in_a_quiet_period() -> None:
    story = Story()
    told = [found for minute in range(60) for found in story.minute(ENDED if minute % 2 else holds())]
    assert len(told) == 8  # begun and ended, every 15 minutes of an hour
    assert [state for _, state in told] == [AlertState.BEGUN, AlertState.ENDED] * 4


def test_what_still_holds_when_the_quiet_period_ends_is_told_then() -> None:
    story = Story()
    story.minute(holds())
    story.minute(ENDED)
    again = [story.minute(holds()) for _ in range(14)]
    assert [minute for minute, found in enumerate(again) if found] == [13]
    assert again[13] == [("ARCHIVE", AlertState.BEGUN)]


def test_the_quiet_of_one_does_not_silence_another() -> None:
    story = Story()
    story.minute(holds())
    assert story.minute(holds(), holds(OTHER)) == [("OTHER", AlertState.BEGUN)]


def test_a_clock_that_is_set_back_does_not_silence_for_long() -> None:
    told = {ARCHIVE: Told(active=False, at=NOW + 86400)}
    assert find_news([holds()], told, QUIET, NOW) != []
    assert is_gathered([News(ARCHIVE, AlertState.BEGUN, NOW + 86400, "")], 5, NOW)


def test_failures_are_gathered_for_the_quiet_period() -> None:
    told = {Key(AlertKind.DELIVERY_FAILED, "ARCHIVE"): Told(active=False, at=NOW)}
    assert due_failures(["ARCHIVE", "OTHER"], told, QUIET, NOW + 899) == ["OTHER"]
    assert due_failures(["ARCHIVE", "OTHER"], told, QUIET, NOW + 900) == ["ARCHIVE", "OTHER"]
    assert due_failures(["ARCHIVE"], told, 0.0, NOW) == ["ARCHIVE"]


def test_news_waits_a_moment_for_what_comes_with_it() -> None:
    news = [News(ARCHIVE, AlertState.BEGUN, NOW, ""), News(OTHER, AlertState.BEGUN, NOW + 4, "")]
    assert not is_gathered(news, 5, NOW + 4.9)
    assert is_gathered(news, 5, NOW + 5)
    assert not is_gathered([], 5, NOW)


def test_what_was_told_of_something_that_is_gone_is_forgotten() -> None:
    told = {
        ARCHIVE: Told(active=True, at=NOW),
        OTHER: Told(active=True, at=NOW),
        Key(AlertKind.RECYCLING_NEAR): Told(active=True, at=NOW),
    }
    assert obsolete(told, {AlertKind.DESTINATION_HELD: ["ARCHIVE"]}) == [OTHER]
    assert obsolete(told, {}) == []


# --- words -----------------------------------------------------------------------------------------------------------


def composed(*news: News) -> tuple[dict[str, object], str, str]:
    made = compose(news, SENDER, lambda _: None, NOW, patient_data=False)
    return made.body, made.subject, made.text


def test_a_single_alert_is_the_subject_of_the_mail() -> None:
    body, subject, text = composed(News(ARCHIVE, AlertState.BEGUN, NOW, "ARCHIVE does not answer."))
    assert subject == "[PACS gateway] ARCHIVE does not answer."
    assert "ARCHIVE does not answer." in text
    assert body["Router"] == "PACS gateway"
    assert body["Alerts"] == [
        {
            "ID": body["Alerts"][0]["ID"],  # type: ignore[index]
            "Kind": "DestinationHeld",
            "State": "Begun",
            "Subject": "ARCHIVE",
            "At": "2026-11-18T11:06:40Z",
            "Message": "ARCHIVE does not answer.",
        }
    ]
    assert json.dumps(body)


def test_several_alerts_are_counted_in_the_subject() -> None:
    begun, ended = News(ARCHIVE, AlertState.BEGUN, NOW, "a"), News(OTHER, AlertState.ENDED, NOW, "b")
    assert composed(begun, ended)[1] == "[PACS gateway] 1 alerts, 1 ended"
    assert composed(ended, ended)[1] == "[PACS gateway] 2 ended"


def test_an_alert_keeps_its_id_when_it_is_told_again_and_another_has_another() -> None:
    def identity(news: News, sender: Sender = SENDER) -> object:
        return compose([news], sender, lambda _: None, NOW + 99, patient_data=False).body["Alerts"][0]["ID"]

    news = News(ARCHIVE, AlertState.BEGUN, NOW, "text", id=1)
    assert identity(news) == identity(News(ARCHIVE, AlertState.BEGUN, NOW, "text", id=2))
    others = [
        identity(News(OTHER, AlertState.BEGUN, NOW, "text")),
        identity(News(ARCHIVE, AlertState.ENDED, NOW, "text")),
        identity(News(ARCHIVE, AlertState.BEGUN, NOW + 1, "text")),
        identity(news, Sender("PACS gateway", "1.2.3", "another owner")),
    ]
    assert len({identity(news), *others}) == 5


EVIL = "evil\r\nBcc: all@example.org\x00\u2028\x1b[31m"


@pytest.mark.parametrize(
    "observe",
    [
        lambda: wording.held("ARCHIVE", EVIL),
        lambda: wording.suspended([Problem(EVIL, EVIL)]),
        lambda: wording.recycling(Problem("", EVIL)),
    ],
)
def test_what_another_system_says_begins_no_line_of_its_own(observe: Callable[[], Observation]) -> None:
    text = observe().text
    assert "evil" in text
    assert text.isprintable()
    subject = composed(News(ARCHIVE, AlertState.BEGUN, NOW, text))[1]
    assert subject.isprintable()
    assert len(subject) <= 120


def test_the_name_of_the_orthanc_begins_no_line_of_its_own() -> None:
    made = compose(
        [News(ARCHIVE, AlertState.BEGUN, NOW, "x")], Sender(EVIL, "", ""), lambda _: None, NOW, patient_data=False
    )
    assert made.subject.isprintable()
    assert str(made.body["Router"]).isprintable()


def test_of_many_problems_the_first_are_told_and_the_others_counted() -> None:
    text = wording.suspended([Problem(f"Router.{number}", "is wrong") for number in range(9)]).text
    assert "Router.4: is wrong" in text
    assert "Router.5" not in text
    assert "and 4 more" in text


def test_one_delivery_is_not_many() -> None:
    assert wording.failed("ARCHIVE", 1) == "1 delivery to ARCHIVE failed for good."
    assert wording.failed("ARCHIVE", 2) == "2 deliveries to ARCHIVE failed for good."
    assert wording.waiting("ARCHIVE", 1, NOW, 7200).text.startswith(
        "1 delivery has waited for ARCHIVE for longer than 2h"
    )
