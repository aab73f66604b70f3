# SPDX-License-Identifier: AGPL-3.0-or-later
"""What keeps routing from beginning is told, and tried again."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dicom_router.alerts.message import Message
from dicom_router.app import Router
from dicom_router.host.sdk import OrthancHost
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


def test_a_database_that_is_away_at_the_start_is_told_by_an_alert_and_so_is_its_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROUTER_DATABASE", raising=False)
    monkeypatch.setattr("dicom_router.store.opening.TRY_AGAIN_SECONDS", 0.2)
    monkeypatch.setattr("dicom_router.alerting.telling.GATHER_SECONDS", 0.5)
    monkeypatch.setattr("dicom_router.alerting.telling.ROUND_SECONDS", 0.1)
    monkeypatch.setattr("dicom_router.alerting.alarms.WebhookMessenger", Hook)
    Hook.carried.clear()
    away = tmp_path / "away"
    alerts = {"Webhook": "http://127.0.0.1:9/hook"}
    sdk = started(tmp_path, Database=f"sqlite:///{away}/router.db", Alerts=alerts)
    try:
        wait(lambda: Hook.carried[:1] == [("RoutingSuspended", "Begun")])
        away.mkdir()
        wait(lambda: status(sdk)["State"] == "Running")
        wait(lambda: Hook.carried[-1] == ("RoutingSuspended", "Ended"))
    finally:
        sdk.changed(ChangeType.ORTHANC_STOPPED)
