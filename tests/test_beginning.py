# SPDX-License-Identifier: AGPL-3.0-or-later
"""What keeps routing from beginning is told, and tried again."""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

import peewee
import pytest

from dicom_router import app
from dicom_router.alerting.alarms import Alarms
from dicom_router.alerting.telling import Alerting
from dicom_router.alerts.alert import News
from dicom_router.alerts.message import Message
from dicom_router.app import Router
from dicom_router.host.sdk import OrthancHost
from dicom_router.running import Running
from dicom_router.store.alert_book import AlertBook
from dicom_router.store.database import UnreachableError
from dicom_router.store.sqlite_file import DamagedError
from dicom_router.store.store import Store
from fakes.sdk import ChangeType, OrthancException, Sdk

ROUTES = "/router(/.*)?"
LIMIT = 15.0


class Unwell(Sdk):
    """An Orthanc whose index fails some times."""

    failures = 0

    def GetGlobalProperty(self, number: int, default: str) -> str:  # noqa: N802
        if self.failures:
            self.failures -= 1
            raise OrthancException(11, "Error with the database engine")
        return str(super().GetGlobalProperty(number, default))


def started(folder: Path, failures: int = 0, **section: object) -> Unwell:
    section |= {"Rules": [{"Name": "all", "Match": {}, "Send": ["ARCHIVE"]}]}
    sdk = Unwell(
        {
            "HttpServerEnabled": False,
            "IndexDirectory": str(folder),
            "DicomModalities": {"ARCHIVE": ["A", "127.0.0.1", 1]},
            "Router": section,
        }
    )
    log = {"Last": 0, "Changes": [], "Done": True}
    sdk.rest = {"/system": {"Version": "1.10.1"}, "/changes?last": log, "/changes?since=0&limit=1000": log}
    sdk.failures = failures
    host = OrthancHost(sdk)
    router = Router(host)
    host.listen(ROUTES, router.handle)
    host.on_change(router.on_change)
    sdk.changed(ChangeType.ORTHANC_STARTED)
    return sdk


def status(sdk: Unwell) -> Any:
    return sdk.request(ROUTES, "/router/status").json


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_index_that_fails_at_the_start_is_told_and_routing_begins_once_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROUTER_DATABASE", raising=False)
    monkeypatch.setattr("dicom_router.store.opening.TRY_AGAIN_SECONDS", 0.2)
    sdk = started(tmp_path, failures=4)
    try:
        told = status(sdk)
        assert told["State"] == "Suspended"
        assert [(each["Path"], "tries again" in each["Message"]) for each in told["Problems"]] == [("Router", True)]
        wait(lambda: status(sdk)["State"] == "Running")
        assert status(sdk)["Problems"] == []
    finally:
        sdk.changed(ChangeType.ORTHANC_STOPPED)


class Hook:
    """A webhook that keeps what it carries."""

    channel = "Webhook"
    carried: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, _: object) -> None: ...

    def send(self, message: Message) -> None:
        self.carried.extend((each["Kind"], each["State"]) for each in message.body["Alerts"])


BEGUN, ENDED = ("RoutingSuspended", "Begun"), ("RoutingSuspended", "Ended")
ALERTS = {"Webhook": "http://127.0.0.1:9/hook"}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for seconds waits for parts of one, and alerts go to the Hook."""
    monkeypatch.delenv("ROUTER_DATABASE", raising=False)
    monkeypatch.setattr("dicom_router.store.opening.TRY_AGAIN_SECONDS", 0.2)
    monkeypatch.setattr("dicom_router.alerting.telling.GATHER_SECONDS", 0.5)
    monkeypatch.setattr("dicom_router.alerting.telling.ROUND_SECONDS", 0.1)
    monkeypatch.setattr("dicom_router.alerting.alarms.WebhookMessenger", Hook)
    Hook.carried.clear()


@pytest.fixture
def routers(monkeypatch: pytest.MonkeyPatch) -> list[Router]:
    """Those that are made."""
    made: list[Router] = []
    begin = Router.__init__

    def remember(router: Router, host: OrthancHost) -> None:
        made.append(router)
        begin(router, host)

    monkeypatch.setattr(Router, "__init__", remember)
    return made


def threads() -> list[str]:
    return sorted(each.name for each in threading.enumerate() if each.name.startswith("router-"))


def damage(store: Store) -> None:
    assert store.file is not None
    assert store.file.on_damage is not None
    store.file.on_damage("database disk image is malformed")


@pytest.mark.usefixtures("quick")
def test_a_database_that_is_away_at_the_start_is_told_by_an_alert_and_so_is_its_return(tmp_path: Path) -> None:
    away = tmp_path / "away"
    sdk = started(tmp_path, Database=f"sqlite:///{away}/router.db", Alerts=ALERTS)
    try:
        wait(lambda: Hook.carried[:1] == [BEGUN])
        away.mkdir()
        wait(lambda: status(sdk)["State"] == "Running")
        wait(lambda: Hook.carried[-1] == ENDED)
        assert Hook.carried == [BEGUN, ENDED]
    finally:
        sdk.changed(ChangeType.ORTHANC_STOPPED)


@pytest.mark.usefixtures("quick")
def test_the_return_of_a_database_is_not_told_without_its_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicom_router.alerting.telling.GATHER_SECONDS", 2.0)
    looks = count_looks(monkeypatch)
    away = tmp_path / "away"
    sdk = started(tmp_path, Database=f"sqlite:///{away}/router.db", Alerts=ALERTS)
    try:
        wait(lambda: len(looks) > 0)
        away.mkdir()
        wait(lambda: status(sdk)["State"] == "Running")
        assert Hook.carried == []
        wait(lambda: len(Hook.carried) > 1)
        assert Hook.carried == [BEGUN, ENDED]
    finally:
        sdk.changed(ChangeType.ORTHANC_STOPPED)


@pytest.mark.usefixtures("quick")
def test_of_an_absence_that_was_never_noticed_no_end_is_told(
    tmp_path: Path, routers: list[Router], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, looks, back = Alerting.look, [], threading.Event()

    def look(alerting: Alerting) -> None:
        if back.is_set():
            plain(alerting)
            looks.append(1)

    monkeypatch.setattr(Alerting, "look", look)
    away = tmp_path / "away"
    sdk = started(tmp_path, Database=f"sqlite:///{away}/router.db", Alerts=ALERTS)
    try:
        away.mkdir()
        wait(lambda: status(sdk)["State"] == "Running")
        back.set()
        wait(lambda: len(looks) > 1)
        book = routers[0]._services.need_store().alert_book
        assert (book.told(), book.pending(Hook.channel)) == ({}, [])
    finally:
        sdk.changed(ChangeType.ORTHANC_STOPPED)


def count_looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    looks: list[int] = []
    look = Alerting.look

    def counted(alerting: Alerting) -> None:
        look(alerting)
        looks.append(1)

    monkeypatch.setattr(Alerting, "look", counted)
    return looks


@pytest.mark.usefixtures("quick")
def test_while_routing_cannot_begin_that_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, tries = Running._plan_anew, []

    def lost(_: Running) -> None:
        tries.append(1)
        raise peewee.InternalError("cannot execute UPDATE in a read-only transaction")

    monkeypatch.setattr(Running, "_plan_anew", lost)
    sdk = started(tmp_path, Alerts=ALERTS)
    try:
        wait(lambda: Hook.carried != [])
        told_after = len(tries)
        wait(lambda: len(tries) > told_after + 5)
        assert Hook.carried == [BEGUN]
        monkeypatch.setattr(Running, "_plan_anew", plain)
        wait(lambda: len(Hook.carried) > 1)
        assert Hook.carried == [BEGUN, ENDED]
    finally:
        sdk.changed(ChangeType.ORTHANC_STOPPED)


@pytest.mark.usefixtures("quick")
def test_alerts_begin_though_the_database_cannot_be_written_just_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, failures = AlertBook.write, [1]

    def write(book: AlertBook, news: Sequence[News], channels: Collection[str]) -> None:
        if not channels and failures:  # what a database that was away is told of
            failures.pop()
            raise peewee.OperationalError("database or disk is full")
        plain(book, news, channels)

    monkeypatch.setattr(AlertBook, "write", write)
    away = tmp_path / "away"
    sdk = started(tmp_path, Database=f"sqlite:///{away}/router.db", Alerts=ALERTS)
    try:
        wait(lambda: Hook.carried[:1] == [BEGUN])
        away.mkdir()
        wait(lambda: len(Hook.carried) > 1)
        assert failures == []
        assert Hook.carried == [BEGUN, ENDED]
    finally:
        sdk.changed(ChangeType.ORTHANC_STOPPED)


@pytest.mark.usefixtures("quick")
def test_routing_begins_once_a_full_disk_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts have a makeshift database meanwhile, for which there is no room either."""
    plans, makeshift, tries = Running._plan_anew, Alarms._makeshift_store, []

    def lost(_: Running) -> None:
        tries.append(1)
        raise peewee.OperationalError("database or disk is full")

    def full(_: Alarms) -> Store:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Running, "_plan_anew", lost)
    monkeypatch.setattr(Alarms, "_makeshift_store", full)
    sdk = started(tmp_path)
    try:
        wait(lambda: len(tries) > 1)
        monkeypatch.setattr(Alarms, "_makeshift_store", makeshift)
        monkeypatch.setattr(Running, "_plan_anew", plans)
        wait(lambda: status(sdk)["State"] == "Running")
    finally:
        sdk.changed(ChangeType.ORTHANC_STOPPED)


@pytest.mark.usefixtures("quick")
def test_a_damaged_database_that_cannot_be_replaced_is_told_by_an_alert(
    tmp_path: Path, routers: list[Router], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> Store:
        raise UnreachableError("could not be replaced: Read-only file system. It is tried again.")

    sdk = started(tmp_path, Alerts=ALERTS)
    try:
        store = routers[0]._services.need_store()
        plain = app.open_store
        monkeypatch.setattr(app, "open_store", away)
        damage(store)
        wait(lambda: Hook.carried != [])
        assert status(sdk)["State"] == "Suspended"
        monkeypatch.setattr(app, "open_store", plain)
        wait(lambda: len(Hook.carried) > 1)
        assert status(sdk)["State"] == "Running"
        assert Hook.carried == [BEGUN, ENDED]
    finally:
        sdk.changed(ChangeType.ORTHANC_STOPPED)


@pytest.mark.usefixtures("quick")
def test_a_database_that_was_opened_in_vain_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Store] = []
    closed: list[Store] = []
    plain, close = app.open_store, Store.close

    def remember(*given: Any) -> Store:
        opened.append(plain(*given))
        return opened[-1]

    def noted(store: Store) -> None:
        closed.append(store)
        close(store)

    monkeypatch.setattr(app, "open_store", remember)
    monkeypatch.setattr(Store, "close", noted)
    sdk = started(tmp_path, failures=4)
    try:
        wait(lambda: status(sdk)["State"] == "Running")
        assert len(opened) > 1
        assert [store for store in closed if store in opened] == opened[:-1]
    finally:
        sdk.changed(ChangeType.ORTHANC_STOPPED)


@pytest.mark.usefixtures("quick")
def test_no_thread_is_left_when_the_database_is_damaged_after_routing_began_late(
    tmp_path: Path, routers: list[Router]
) -> None:
    sdk = started(tmp_path, failures=4)
    try:
        wait(lambda: status(sdk)["State"] == "Running")
        store = routers[0]._services.need_store()
        damage(store)
        wait(lambda: status(sdk)["State"] == "Running" and routers[0]._services.store is not store)
    finally:
        sdk.changed(ChangeType.ORTHANC_STOPPED)
    assert threads() == []


@pytest.mark.usefixtures("quick")
def test_no_thread_is_left_when_the_database_is_damaged_while_routing_begins_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, met = Running._plan_anew, [1]

    def damaged(running: Running) -> None:
        if met:
            met.pop()
            file = running._store.file
            assert file is not None
            with file.watched():
                raise DamagedError("database disk image is malformed")
        plain(running)

    monkeypatch.setattr(Running, "_plan_anew", damaged)
    sdk = started(tmp_path, failures=4)
    try:
        wait(lambda: status(sdk)["State"] == "Running")
        assert status(sdk)["Problems"] == []
    finally:
        sdk.changed(ChangeType.ORTHANC_STOPPED)
    assert threads() == []
