# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real Orthanc tells by webhook and by mail what goes wrong, and that it is right again."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as Handler

from support.network import LOOPBACK, DicomNode, free_port
from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

MAX_STOP_SECONDS = 15  # a mail server is waited for for 20; Orthanc's own stop takes some seconds on a busy machine


class Hook(HTTPServer):
    """Keeps the alerts that it is told."""

    def __init__(self) -> None:
        super().__init__((LOOPBACK, free_port()), _Post)
        self.alerts: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}/hook"

    def told(self) -> list[tuple[str, str, str]]:
        return [(each["Kind"], each["Subject"], each["State"]) for each in self.alerts]


class _Post(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        cast(Hook, self.server).alerts.extend(body["Alerts"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Letters(Handler):
    """Keeps the subjects of the letters that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.subjects: list[str] = []

    def handle_message(self, message: Any) -> None:
        self.subjects.append(message["Subject"])


@pytest.fixture
def letters() -> Iterator[tuple[Letters, int]]:
    kept, port = Letters(), free_port()
    server = Controller(kept, hostname=LOOPBACK, port=port)
    server.start()
    yield kept, port
    server.stop()


def test_a_destination_that_dies_is_told_once_also_over_a_restart_and_so_is_its_return(
    start_router: StartRouter, start_scp: StartScp, hook: Hook, letters: tuple[Letters, int], tmp_path: Path
) -> None:
    kept, port = letters
    node = DicomNode("PACS", free_port())
    mail = {"Host": LOOPBACK, "Port": port, "From": "router@example.org", "To": "admin@example.org"}
    section = {"Alerts": {"Webhook": hook.url, "Email": mail, "QuietFor": "1h"}}
    router = start_router({"PACS": node}, section=section)
    study = make_study(tmp_path / "study", instances=2)
    assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    begun, ended = ("DestinationHeld", "PACS", "Begun"), ("DestinationHeld", "PACS", "Ended")
    wait_until(lambda: hook.told() == [begun] and len(kept.subjects) == 1, 60, "both are told of the dead destination")
    assert kept.subjects[0].startswith("[ROUTER] PACS does not answer")

    router.restart()
    held = lambda: router.router_get("/destinations/PACS")["State"] == "Held"  # noqa: E731
    wait_until(held, 60, "the destination is held again")
    pacs = start_scp("PACS", port=node.port)
    pacs.wait_for(2, timeout=90)
    wait_until(lambda: hook.told() == [begun, ended], 60, "its return is told, and nothing was told twice")
    wait_until(lambda: len(kept.subjects) == 2, 30, "the mail too")


def test_failures_and_a_wrong_configuration_are_told_and_a_hanging_mail_server_stops_nothing(
    start_router: StartRouter, start_scp: StartScp, hook: Hook, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    picky = start_scp("PICKY")
    picky.no_contexts = True
    with socket.create_server((LOOPBACK, 0)) as silent:  # takes connections and says nothing
        port = silent.getsockname()[1]
        mail = {"Host": LOOPBACK, "Port": port, "From": "router@example.org", "To": "admin@example.org"}
        alerts = {"Webhook": hook.url, "Email": mail}
        router = start_router({"PACS": pacs.node, "PICKY": picky.node}, section={"Alerts": alerts})
        study = make_study(tmp_path / "study", instances=2)
        assert send(study.files, router.node).acknowledged == study.sop_instance_uids
        router.wait_until_completed(1, destination="PACS")
        wait_until(lambda: ("DeliveryFailed", "PICKY", "Happened") in hook.told(), 60, "the failure is told")

        router.config["Router"]["Rules"][0]["Send"] = ["NOBODY"]
        assert router.stop() < MAX_STOP_SECONDS
        router.start()
        wait_until(lambda: ("RoutingSuspended", "", "Begun") in hook.told(), 60, "that routing is suspended is told")
        router.config["Router"]["Rules"][0]["Send"] = ["PACS"]
        router.restart()
        wait_until(lambda: ("RoutingSuspended", "", "Ended") in hook.told(), 60, "that it runs again is told")
        assert router.stop() < MAX_STOP_SECONDS


def test_a_modality_that_sends_nothing_is_told_and_that_it_sends_again(
    start_router: StartRouter, start_scp: StartScp, hook: Hook, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    alerts = {"Webhook": hook.url, "NothingFrom": {"CT1": "10s"}}
    router = start_router({"PACS": pacs.node}, section={"Alerts": alerts})
    begun, ended = ("NothingReceived", "CT1", "Begun"), ("NothingReceived", "CT1", "Ended")
    wait_until(lambda: hook.told() == [begun], 60, "the silence is told")
    study = make_study(tmp_path / "study", instances=1)
    assert send(study.files, router.node, calling="CT1").acknowledged == study.sop_instance_uids
    wait_until(lambda: ended in hook.told(), 60, "that it sends is told")
