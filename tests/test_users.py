# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who did what: the name that Orthanc has checked is kept with each change made by hand."""

import base64
from typing import Any

import pytest

from builders import BROKEN, NOW, claimed, configured, ended, enqueued
from dicom_router.deliveries.delivery import Status
from dicom_router.store.store import Store
from dicom_router.users import user_of
from rest_client import Client

RULE = {"Name": "mine", "Match": {"Modality": "CT"}, "Send": ["ARCHIVE"]}


def basic(told: bytes) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(told).decode()}


@pytest.mark.parametrize(
    ("headers", "user"),
    [
        (basic(b"alice:secret"), "alice"),
        (basic(b"alice:se:cret"), "alice"),
        (basic("Zo\u00eb:x".encode()), "Zo\u00eb"),
        (basic(b"al\r\nice:x"), "alice"),
        (basic(b"x" * 100 + b":y"), "x" * 64),
        (basic(b"\xff:x"), "\ufffd"),
        ({"authorization": "basic " + base64.b64encode(b"bob:x").decode()}, "bob"),
        ({"authorization": "Bearer YWxpY2U6eA=="}, ""),
        ({"authorization": "Basic ***"}, ""),
        ({"authorization": "Basic"}, ""),
        ({}, ""),
    ],
)
def test_the_name_is_that_of_the_basic_authorization(headers: dict[str, str], user: str) -> None:
    assert user_of(headers) == user


@pytest.fixture
def client(store: Store) -> Client:
    destinations = {name: {"Modality": name} for name in ("ARCHIVE", "WORKSTATION")}
    return Client(store, configured({"Destinations": destinations}), user="alice")


def texts(client: Client, delivery_id: int) -> list[str]:
    story: dict[str, Any] = client.get(f"/history/{delivery_id}")
    return [each["Text"] for each in story["Timeline"]]


def test_a_resend_says_who_wanted_it(client: Client, store: Store) -> None:
    old = ended(store, Status.COMPLETED)
    made = client.call("POST", f"/history/{old.id}/resend", {})[1]["ID"]
    assert texts(client, made)[-1] == "Sent again by alice"


def test_many_resends_say_who_wanted_them(client: Client, store: Store) -> None:
    ended(store, Status.COMPLETED)
    assert client.call("POST", "/history-resend", {"Filter": {}})[1] == {"Count": 1}
    assert texts(client, client.get("/history")["Items"][0]["ID"])[-1] == "Sent again by alice"


def test_a_move_says_who_wanted_it(client: Client, store: Store) -> None:
    old = enqueued(store)
    assert client.call("POST", f"/history/{old}/resend", {"Destination": "WORKSTATION"})[0] == 200
    assert texts(client, old)[-1] == "Moved to WORKSTATION by alice"


def test_a_cancel_says_who_wanted_it(client: Client, store: Store) -> None:
    waiting = enqueued(store, "waits", at=NOW + 60)
    sending = claimed(store, "is sent")
    for delivery_id in (waiting, sending.id):
        assert client.call("POST", f"/history/{delivery_id}/cancel", {})[0] == 200
    assert texts(client, waiting)[-1] == "Canceled by alice"
    assert texts(client, sending.id)[-1] == "Cancel asked for by alice"
    store.queue.fail(sending, BROKEN, 0, 0, NOW, NOW)
    assert client.get(f"/history/{sending.id}")["Status"] == "Canceled"


def test_a_change_of_nobody_is_one_by_hand(client: Client, store: Store) -> None:
    client.user = ""
    waiting = enqueued(store)
    client.call("POST", f"/history/{waiting}/cancel", {})
    assert texts(client, waiting)[-1] == "Canceled by hand"


def test_what_was_routed_by_hand_says_by_whom(client: Client) -> None:
    client.orthanc.receive("study")
    made = client.call("POST", "/studies/study/route", {"Destinations": ["ARCHIVE"]})[1]["Deliveries"]
    assert [texts(client, each)[-1] for each in made] == ["Routed by alice"]


def test_each_version_of_a_rule_says_who_made_it(client: Client) -> None:
    client.call("POST", "/rules", RULE)
    client.user = "bob"
    client.call("PUT", "/rules/mine", {**RULE, "Stop": True})
    client.user = ""
    client.call("DELETE", "/rules/mine")
    client.user = "carol"
    client.call("POST", "/rules/mine/restore", {"Version": 1})
    client.user = "dave"
    client.call("POST", "/rules-import", {"Rules": [{**RULE, "Description": "new"}]})
    made = [each["MadeBy"] for each in client.get("/rules/mine/versions")]
    assert made == ["dave", "carol", "", "bob", "alice"]


def test_a_pause_says_who_made_it(client: Client) -> None:
    client.call("POST", "/pause", {})
    client.user = "bob"
    client.call("POST", "/destinations/ARCHIVE/pause", {})
    assert client.get("/status")["PausedBy"] == "alice"
    assert client.get("/destinations/ARCHIVE")["PausedBy"] == "bob"
    client.call("POST", "/resume", {})
    client.call("POST", "/destinations/ARCHIVE/resume", {})
    assert client.get("/status")["PausedBy"] == ""
    assert client.get("/destinations/ARCHIVE")["PausedBy"] == ""
