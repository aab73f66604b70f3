# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alerts from what happens to what is carried: told once, also over a restart, and until they have arrived."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import pytest

from builders import ARCHIVE, NOT_UNDERSTOOD, NOW, claimed, ended, enqueued
from conftest import OpenStore
from dicom_router.alerting.telling import GIVE_UP_AFTER, LONGEST_PAUSE, Alerting, AlertThread, Carrier, alert_threads
from dicom_router.alerting.watching import GRACE, Watch
from dicom_router.alerts.alert import News
from dicom_router.alerts.message import Message, Sender, compose
from dicom_router.alerts.settings import AlertSettings, Silence
from dicom_router.deliveries.delivery import Status
from dicom_router.dispatch.breaker import Breaker
from dicom_router.messengers.messenger import Messenger, MessengerError, PartlyRefusedError
from dicom_router.problems import Problem
from dicom_router.rules.schedule import parse_schedule
from dicom_router.store.database import LOST, session
from dicom_router.store.store import Store

MINUTE, HOUR = 60.0, 3600.0


@dataclass
class FakeMessenger:
    """Keeps what it carries; with `error`, it does not."""

    channel: str = "Webhook"
    carried: list[Message] = field(default_factory=list)
    tried: int = 0
    error: Exception | None = None

    def send(self, message: Message) -> None:
        self.tried += 1
        if self.error is not None:
            raise self.error
        self.carried.append(message)


class World:
    """A router that is watched, on a clock of the test's own."""

    def __init__(self, store: Store, settings: AlertSettings, messengers: Sequence[Messenger]) -> None:
        self.store = store
        self.settings = settings
        self.messengers = messengers
        self.now = NOW
        self.problems: list[Problem] = []
        self.health = {ARCHIVE: Breaker(), "WORKSTATION": Breaker()}
        self.warning: Problem | None = None
        self.known = True
        self.log: list[str] = []
        self.start()

    def start(self) -> None:
        """A restart: what was in memory is gone."""
        watch = Watch(
            self.settings,
            self.store,
            lambda: self.problems,
            lambda: self.health,
            lambda: (self.known, self.warning),
            UTC,
            self.now,
        )
        sender = Sender("GATEWAY", "1", "here")
        allowed = self.settings.include_patient_data

        def compose_now(news: Sequence[News]) -> Message:
            return compose(news, sender, self.store.history.get, self.now, patient_data=allowed)

        names = [each.channel for each in self.messengers]
        book = self.store.alert_book
        self.alerting = Alerting(self.settings, watch, book, names, lambda: self.now, self.log.append)
        self.carriers = [
            Carrier(each, self.store, compose_now, lambda: self.now, lambda: self.now, self.log.append)
            for each in self.messengers
        ]

    def run(self, seconds: float, step: float = 10.0) -> None:
        """Let time pass."""
        end = self.now + seconds
        with session(self.store.database):
            while self.now < end:
                self.alerting.look()
                for carrier in self.carriers:
                    carrier.carry()
                self.now += step


@pytest.fixture
def hook() -> FakeMessenger:
    return FakeMessenger()


@pytest.fixture
def world(store: Store, hook: FakeMessenger) -> World:
    return World(store, AlertSettings(), [hook])


def told(messenger: FakeMessenger) -> list[tuple[str, str, str]]:
    """Kind, subject and state of everything that was carried."""
    return [
        (alert["Kind"], alert["Subject"], alert["State"])
        for message in messenger.carried
        for alert in message.body["Alerts"]
    ]


def alerts(messenger: FakeMessenger) -> list[dict[str, Any]]:
    return [alert for message in messenger.carried for alert in message.body["Alerts"]]


def hold(world: World, name: str = ARCHIVE) -> None:
    world.health[name] = Breaker(held=True, last_error="connection refused")


HELD, BACK = ("DestinationHeld", ARCHIVE, "Begun"), ("DestinationHeld", ARCHIVE, "Ended")


# --- what is told ----------------------------------------------------------------------------------------------------


def test_nothing_is_told_of_a_router_that_works(world: World, hook: FakeMessenger) -> None:
    ended(world.store, Status.COMPLETED)
    ended(world.store, Status.WARNING, "other")
    ended(world.store, Status.CANCELED, "third")
    world.health[ARCHIVE].last_success = NOW
    world.run(HOUR, step=30)
    assert hook.tried == 0


def test_a_destination_that_does_not_answer_and_its_return_are_told(world: World, hook: FakeMessenger) -> None:
    hold(world)
    world.run(MINUTE)
    assert told(hook) == [HELD]
    assert "ARCHIVE does not answer (connection refused)" in alerts(hook)[0]["Message"]
    world.health[ARCHIVE] = Breaker()
    world.run(MINUTE)
    assert told(hook) == [HELD, BACK]


def test_destinations_that_fail_together_are_told_together(world: World, hook: FakeMessenger) -> None:
    hold(world)
    world.run(3, step=2)
    hold(world, "WORKSTATION")
    world.run(MINUTE)
    assert len(hook.carried) == 1
    assert len(told(hook)) == 2
    assert hook.carried[0].subject == "[GATEWAY] 2 alerts"


def test_failures_are_told_together_by_destination_with_their_codes(world: World, hook: FakeMessenger) -> None:
    for number in range(12):
        ended(world.store, Status.FAILED, f"study {number}")
    ended(world.store, Status.FAILED, "elsewhere", destination="WORKSTATION")
    world.run(MINUTE)
    assert len(hook.carried) == 1
    first, second = sorted(alerts(hook), key=lambda each: str(each["Subject"]))
    assert (first["Kind"], first["State"]) == ("DeliveryFailed", "Happened")
    assert first["Message"] == "12 deliveries to ARCHIVE failed for good."
    assert len(first["Deliveries"]) == 10
    named = first["Deliveries"][0]
    assert (named["Rule"], named["ErrorCode"]) == ("all CT", "0xC000")
    assert named["Address"] == f"/router/history/{named['ID']}"
    assert second["Message"] == "1 delivery to WORKSTATION failed for good."


def test_failures_in_the_quiet_period_are_told_at_its_end(world: World, hook: FakeMessenger) -> None:
    ended(world.store, Status.FAILED, "first")
    world.run(MINUTE)
    for number in range(3):
        ended(world.store, Status.FAILED, f"later {number}")
    world.run(12 * MINUTE, step=60)
    assert len(hook.carried) == 1
    world.run(4 * MINUTE, step=60)
    assert [each["Message"][:2] for each in alerts(hook)] == ["1 ", "3 "]


def test_a_delivery_that_is_tried_again_or_was_canceled_has_not_failed(world: World, hook: FakeMessenger) -> None:
    world.store.queue.fail(claimed(world.store), NOT_UNDERSTOOD, 0, 0, NOW + 30, NOW)
    asked = claimed(world.store, "canceled", destination="WORKSTATION")
    world.store.queue.cancel(asked.id, NOW)
    world.store.queue.fail(asked, NOT_UNDERSTOOD, 0, 0, None, NOW)
    world.run(MINUTE)
    assert hook.tried == 0


def test_what_waits_for_too_long_is_told_and_its_end_too(store: Store, hook: FakeMessenger) -> None:
    world = World(store, AlertSettings(waiting_longer_than=2 * HOUR), [hook])
    waiting = enqueued(store)
    world.run(2 * HOUR - MINUTE, step=60)
    assert hook.tried == 0
    world.run(3 * MINUTE)
    assert told(hook) == [("StudyWaiting", ARCHIVE, "Begun")]
    assert "1 delivery has waited for ARCHIVE for longer than 2h" in alerts(hook)[0]["Message"]
    store.queue.cancel(waiting, NOW)
    world.run(3 * MINUTE)
    assert told(hook)[1:] == [("StudyWaiting", ARCHIVE, "Ended")]


def test_waiting_is_not_told_where_it_is_switched_off(store: Store, hook: FakeMessenger) -> None:
    world = World(store, AlertSettings(waiting_longer_than=0.0), [hook])
    enqueued(store, at=NOW - 1e6)
    world.run(5 * MINUTE)
    assert hook.tried == 0


def test_a_suspended_router_tells_that_alone(world: World, hook: FakeMessenger) -> None:
    world.problems = [Problem("Router.Rules[0]", "is wrong")]
    hold(world)
    world.run(MINUTE)
    assert told(hook) == [("RoutingSuspended", "", "Begun")]
    assert "Router.Rules[0]: is wrong" in alerts(hook)[0]["Message"]


def test_a_suspension_that_was_corrected_is_told_to_have_ended(world: World, hook: FakeMessenger) -> None:
    world.problems = [Problem("Router", "is wrong")]
    world.run(MINUTE)
    world.problems = []
    world.start()
    world.run(MINUTE)
    assert told(hook) == [("RoutingSuspended", "", "Begun"), ("RoutingSuspended", "", "Ended")]


def test_recycling_is_told_once_it_is_known(world: World, hook: FakeMessenger) -> None:
    world.warning, world.known = Problem("MaximumStorageSize", "Orthanc is nearly full."), False
    world.run(MINUTE)
    assert hook.tried == 0
    world.known = True
    world.run(MINUTE)
    world.warning = None
    world.run(MINUTE)
    assert told(hook) == [("RecyclingNear", "", "Begun"), ("RecyclingNear", "", "Ended")]


# --- who is silent ---------------------------------------------------------------------------------------------------


def listening(store: Store, hook: FakeMessenger, schedule: str = "", longest: float = 2 * HOUR) -> World:
    when = parse_schedule(schedule, "")[0]
    assert when is not None
    return World(store, AlertSettings(nothing_from={"CT1": Silence(longest, when)}), [hook])


def test_a_silent_sender_is_told_and_that_it_sends_again(store: Store, hook: FakeMessenger) -> None:
    world = listening(store, hook)
    store.heard.hear({"CT1": NOW})
    world.run(2 * HOUR - MINUTE, step=60)
    assert hook.tried == 0
    world.run(3 * MINUTE)
    assert told(hook) == [("NothingReceived", "CT1", "Begun")]
    store.heard.hear({"CT1": world.now})
    world.run(MINUTE)
    assert told(hook)[1:] == [("NothingReceived", "CT1", "Ended")]


def test_one_that_never_sent_is_silent_since_it_is_waited_for_over_restarts(store: Store, hook: FakeMessenger) -> None:
    world = listening(store, hook)
    for _ in range(3):
        world.run(HOUR - MINUTE, step=60)
        world.start()
    assert told(hook) == [("NothingReceived", "CT1", "Begun")]


def test_after_a_start_nobody_is_called_silent_for_a_while(store: Store, hook: FakeMessenger) -> None:
    store.heard.hear({"CT1": NOW - 10 * HOUR})
    world = listening(store, hook)
    world.run(GRACE - MINUTE, step=30)
    assert hook.tried == 0
    world.run(2 * MINUTE)
    assert told(hook) == [("NothingReceived", "CT1", "Begun")]


def test_what_was_received_before_changes_nothing(store: Store) -> None:
    store.heard.hear({"CT1": NOW})
    store.heard.hear({"CT1": NOW - 5})
    assert store.heard.last("CT1", NOW + 9) == NOW
    assert store.heard.last("MR1", NOW + 9) == NOW + 9


def test_nobody_is_silent_outside_of_the_schedule_or_at_its_begin(store: Store, hook: FakeMessenger) -> None:
    # NOW is 11:06 UTC on a Wednesday; the first hours in which silence counts end at 10:00 on Thursday.
    world = listening(store, hook, "Mon-Fri 08:00-18:00")
    store.heard.hear({"CT1": NOW + 6.5 * HOUR})  # 17:36
    world.run(22 * HOUR, step=300)  # until 09:06
    assert hook.tried == 0
    world.run(2 * HOUR, step=300)
    assert told(hook) == [("NothingReceived", "CT1", "Begun")]


# --- over a restart --------------------------------------------------------------------------------------------------


def test_a_restart_repeats_nothing_and_does_not_take_silence_for_a_return(world: World, hook: FakeMessenger) -> None:
    hold(world)
    ended(world.store, Status.FAILED)
    world.run(MINUTE)
    before = told(hook)
    for _ in range(5):
        world.health = {ARCHIVE: Breaker(), "WORKSTATION": Breaker()}  # nobody knows yet
        world.start()
        world.run(MINUTE)
        hold(world)
        world.run(MINUTE)
    assert told(hook) == before
    world.health[ARCHIVE] = Breaker(last_success=world.now)
    world.start()
    world.run(MINUTE)
    assert told(hook)[len(before) :] == [BACK]


def test_what_was_not_carried_before_a_restart_is_carried_after_it(world: World, hook: FakeMessenger) -> None:
    hook.error = MessengerError("no answer")
    hold(world)
    world.run(MINUTE)
    assert hook.carried == []
    hook.error = None
    world.health = {}
    world.start()
    world.run(MINUTE)
    assert told(hook) == [HELD]


def test_each_orthanc_tells_for_itself(open_store: OpenStore, hook: FakeMessenger) -> None:
    here = World(open_store("here"), AlertSettings(), [hook])
    there = World(open_store("there"), AlertSettings(), [other := FakeMessenger()])
    hold(here)
    here.run(MINUTE)
    there.health[ARCHIVE].last_success = NOW
    there.run(MINUTE)
    assert (told(hook), told(other)) == ([HELD], [])


def test_a_destination_that_is_taken_out_of_the_configuration_is_forgotten(world: World, hook: FakeMessenger) -> None:
    hold(world)
    world.run(MINUTE)
    del world.health[ARCHIVE]
    world.start()
    world.run(MINUTE)
    assert told(hook) == [HELD]
    assert world.store.alert_book.counts()[0]["DestinationHeld"] == 0


# --- carrying --------------------------------------------------------------------------------------------------------


def test_a_message_that_does_not_arrive_is_tried_again_with_growing_pauses(world: World, hook: FakeMessenger) -> None:
    hook.error = MessengerError("the webhook answered 500")
    hold(world)
    world.run(HOUR, step=20)
    assert 6 <= hook.tried <= 10
    assert world.log == ["an alert could not be told and will be again: the webhook answered 500"] * hook.tried
    hook.error = None
    world.run(LONGEST_PAUSE + MINUTE, step=30)
    assert told(hook) == [HELD]


def test_what_could_not_be_told_comes_in_one_message_in_the_end(world: World, hook: FakeMessenger) -> None:
    hook.error = MessengerError("away")
    hold(world)
    world.run(2 * HOUR, step=100)
    world.health[ARCHIVE] = Breaker()
    world.run(MINUTE)
    hook.error = None
    world.run(LONGEST_PAUSE + MINUTE, step=30)
    assert len(hook.carried) == 1
    assert told(hook) == [HELD, BACK]


def test_after_a_day_an_alert_is_given_up(world: World, hook: FakeMessenger) -> None:
    hook.error = MessengerError("away")
    hold(world)
    world.run(GIVE_UP_AFTER + HOUR, step=1200)
    assert world.store.alert_book.pending("Webhook") == []
    assert any("given up" in line for line in world.log)


def test_one_channel_does_not_wait_for_the_other(store: Store) -> None:
    broken = FakeMessenger("Webhook", error=MessengerError("away"))
    working = FakeMessenger("Email")
    world = World(store, AlertSettings(), [broken, working])
    hold(world)
    world.run(MINUTE)
    assert told(working) == [HELD]
    assert store.alert_book.counts()[1] == {"Webhook": 1}
    broken.error = None
    world.run(5 * MINUTE)
    assert told(broken) == [HELD]
    assert len(working.carried) == 1


def test_a_message_that_some_recipients_refuse_is_not_sent_to_the_others_again(
    world: World, hook: FakeMessenger
) -> None:
    hook.error = PartlyRefusedError("refused 1 of the recipients")
    hold(world)
    world.run(HOUR, step=60)
    assert hook.tried == 1


def test_a_channel_that_is_taken_out_of_the_configuration_leaves_nothing_behind(store: Store) -> None:
    broken = FakeMessenger("Email", error=MessengerError("away"))
    world = World(store, AlertSettings(), [broken])
    hold(world)
    world.run(MINUTE)
    world.messengers = [FakeMessenger("Webhook")]
    world.start()
    world.run(MINUTE)
    assert store.alert_book.pending("Email") == []


def test_without_a_channel_nothing_piles_up_for_the_day_when_there_is_one(store: Store, hook: FakeMessenger) -> None:
    world = World(store, AlertSettings(), [])
    ended(store, Status.FAILED)
    world.run(MINUTE)
    world.messengers = [hook]
    world.start()
    world.run(HOUR, step=60)
    assert hook.tried == 0


# --- patients --------------------------------------------------------------------------------------------------------


def everything_told(messenger: FakeMessenger) -> str:
    return "".join(f"{message.body}{message.subject}{message.text}" for message in messenger.carried)


def test_patients_are_named_only_where_it_is_allowed(store: Store) -> None:
    delivery = ended(store, Status.FAILED)
    secrets = (
        delivery.patient_name,
        delivery.patient_id,
        delivery.accession_number,
        delivery.study_instance_uid,
        delivery.study_date,
    )
    assert all(secrets)
    for allowed in (False, True):
        messenger = FakeMessenger()
        world = World(store, AlertSettings(include_patient_data=allowed, quiet_for=0.0), [messenger])
        ended(store, Status.FAILED)
        world.run(MINUTE)
        text = everything_told(messenger)
        assert [secret in text for secret in secrets] == [allowed] * len(secrets)
        assert all(secret not in messenger.carried[0].subject for secret in secrets)


def test_no_patient_is_kept_with_the_alerts(world: World, hook: FakeMessenger) -> None:
    hook.error = MessengerError("away")
    delivery = ended(world.store, Status.FAILED)
    world.run(MINUTE)
    (news,) = world.store.alert_book.pending("Webhook")
    assert delivery.patient_name not in repr(news)
    assert news.deliveries == (delivery.id,)


def test_the_text_of_an_error_is_not_told_since_another_system_wrote_it(world: World, hook: FakeMessenger) -> None:
    delivery = ended(world.store, Status.FAILED)
    world.run(MINUTE)
    assert delivery.error_message
    assert delivery.error_message not in everything_told(hook)


# --- the thread ------------------------------------------------------------------------------------------------------


@contextmanager
def running(world: World) -> Iterator[list[AlertThread]]:
    threads = alert_threads(world.alerting.look, world.carriers, world.store, world.log.append)
    for thread in threads:
        thread.start()
    yield threads
    for thread in threads:
        thread.stop()


def test_a_mail_server_that_hangs_holds_up_neither_the_stop_nor_the_other_channel(store: Store) -> None:
    entered, leave = threading.Event(), threading.Event()

    class Hanging(FakeMessenger):
        def send(self, message: Message) -> None:
            entered.set()
            leave.wait(60)

    other = FakeMessenger("Webhook")
    world = World(store, AlertSettings(), [Hanging("Email"), other])
    hold(world)
    world.alerting.look()
    world.now += 10
    with running(world):
        assert entered.wait(30)
        deadline = time.monotonic() + 30
        while not other.carried and time.monotonic() < deadline:
            time.sleep(0.01)
        assert told(other) == [HELD]
        began = time.monotonic()
    assert time.monotonic() - began < 10
    leave.set()


def test_the_thread_outlives_any_mistake(world: World, hook: FakeMessenger) -> None:
    hook.error = RuntimeError("secret address")
    hold(world)
    world.alerting.look()
    with running(world) as threads:
        world.now += 10
        deadline = time.monotonic() + 30
        while hook.tried < 2 and time.monotonic() < deadline:
            threads[1].ring()
            time.sleep(0.01)
    assert hook.tried >= 2
    assert world.log == ["alerts met an unexpected error and go on: RuntimeError"]


def test_what_was_told_is_not_told_again_while_the_database_cannot_be_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = FakeMessenger()
    world = World(store, AlertSettings(), [hook])
    for _ in range(3):
        world.health[ARCHIVE].failed(world.now, "x")
    world.alerting.look()
    world.now += 10
    plain, failures = store.alert_book.carried, [LOST[0]("database or disk is full")] * 3

    def carried(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        plain(*arguments)

    monkeypatch.setattr(store.alert_book, "carried", carried)
    for _ in range(3):
        with pytest.raises(LOST):
            world.carriers[0].carry()
    for _ in range(2):
        world.carriers[0].carry()
    assert len(hook.carried) == 1
    assert store.alert_book.pending(hook.channel) == []
