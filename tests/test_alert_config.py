# SPDX-License-Identifier: AGPL-3.0-or-later
"""`Alerts` in the configuration: what is wrong has its place, and no secret is repeated."""

from datetime import UTC, datetime
from typing import Any

import pytest

from builders import MODALITIES, configured
from dicom_router.alerts.settings import AlertSettings, Mail
from dicom_router.config import Neighbours, alert_settings, parse

SECRET = "kL9-secret"
MAIL = {"Host": "mail.example.org", "From": "pacs@example.org", "To": ["a@example.org"]}


def problems(alerts: object) -> dict[str, str]:
    """Path to message."""
    _, found = parse({"Alerts": alerts}, Neighbours(MODALITIES))
    assert found
    return {each.path.removeprefix("Router.Alerts"): each.message for each in found}


def settings(alerts: object) -> AlertSettings:
    return configured({"Alerts": alerts}).alerts


def mail(**changes: Any) -> Mail:
    made = settings({"Email": MAIL | changes}).mail
    assert made is not None
    return made


def test_nobody_is_told_unless_it_is_said() -> None:
    for section in ({}, {"Alerts": {}}, {"Alerts": {"Webhook": "", "Email": {}}}):
        made = configured(section).alerts
        assert (made.webhook, made.mail, dict(made.nothing_from)) == (None, None, {})
        assert (made.quiet_for, made.waiting_longer_than, made.include_patient_data) == (900, 86400, False)


def test_everything_can_be_said() -> None:
    made = settings(
        {
            "Webhook": "https://example.org:8443/hook?x=1",
            "Secret": SECRET,
            "Email": MAIL | {"To": "one@example.org", "Username": "u", "Password": SECRET, "StartTls": True},
            "QuietFor": "1h",
            "IncludePatientData": True,
            "WaitingLongerThan": "2h",
            "NothingFrom": {"CT1": "30m", "MR 1": {"For": "2h", "Schedule": "Mon-Fri 08:00-18:00"}},
        }
    )
    assert made.webhook is not None
    assert made.webhook.url == "https://example.org:8443/hook?x=1"
    assert made.mail is not None
    assert (made.mail.recipients, made.mail.port) == (("one@example.org",), 587)
    assert made.nothing_from["CT1"].longest == 1800
    sunday = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert made.nothing_from["CT1"].schedule.is_open(sunday)
    assert not made.nothing_from["MR 1"].schedule.is_open(sunday)
    assert SECRET not in repr(made)
    assert "8443" not in repr(made)


@pytest.mark.parametrize(
    ("changes", "port"),
    [({}, 25), ({"StartTls": True}, 587), ({"Tls": True}, 465), ({"Tls": True, "Port": 2525}, 2525)],
)
def test_the_port_follows_the_way_of_encryption(changes: dict[str, Any], port: int) -> None:
    assert mail(**changes).port == port


@pytest.mark.parametrize(
    ("alerts", "path"),
    [
        ("hook", ""),
        ({"Webhook": "ftp://example.org"}, ".Webhook"),
        ({"Webhook": "https://"}, ".Webhook"),
        ({"Webhook": "https://example.org/a b"}, ".Webhook"),
        ({"Webhook": "https://example.org/\nX: y"}, ".Webhook"),
        ({"Webhook": "https://[::1"}, ".Webhook"),
        ({"Webhook": 5}, ".Webhook"),
        ({"Webook": "https://example.org"}, ".Webook"),
        ({"Secret": "x"}, ".Secret"),
        ({"QuietFor": "long"}, ".QuietFor"),
        ({"IncludePatientData": "yes"}, ".IncludePatientData"),
        ({"WaitingLongerThan": 5}, ".WaitingLongerThan"),
        ({"NothingFrom": ["CT1"]}, ".NothingFrom"),
        ({"NothingFrom": {"CT1": "2"}}, ".NothingFrom.CT1"),
        ({"NothingFrom": {"CT1": "0s"}}, ".NothingFrom.CT1"),
        ({"NothingFrom": {"A TITLE THAT IS TOO LONG": "2h"}}, ".NothingFrom.A TITLE THAT IS TOO LONG"),
        ({"NothingFrom": {"CT1": {"For": "2h", "Schedule": "Someday 08:00-09:00"}}}, ".NothingFrom.CT1.Schedule"),
        ({"NothingFrom": {"CT1": {"Schedule": ""}}}, ".NothingFrom.CT1.For"),
        ({"Email": "a@example.org"}, ".Email"),
        ({"Email": {"From": "a@example.org", "To": ["b@example.org"]}}, ".Email.Host"),
        ({"Email": MAIL | {"Host": "mail server"}}, ".Email.Host"),
        ({"Email": MAIL | {"Host": "mail\r\nX"}}, ".Email.Host"),
        ({"Email": MAIL | {"Host": "smtp..example.org"}}, ".Email.Host"),
        ({"Email": MAIL | {"Host": "m" * 64}}, ".Email.Host"),
        ({"Email": MAIL | {"Username": "u", "Password": "Passw\u00f6rt"}}, ".Email.Password"),
        ({"Email": MAIL | {"Port": 70000}}, ".Email.Port"),
        ({"Email": MAIL | {"From": "PACS <a@example.org>"}}, ".Email.From"),
        ({"Email": MAIL | {"From": "a@example.org\nBcc: b@example.org"}}, ".Email.From"),
        ({"Email": MAIL | {"To": []}}, ".Email.To"),
        ({"Email": MAIL | {"To": ["a@example.org", "b"]}}, ".Email.To[1]"),
        ({"Email": MAIL | {"To": ["a@example.org, b@example.org"]}}, ".Email.To[0]"),
        ({"Email": MAIL | {"Tls": True, "StartTls": True}}, ".Email.StartTls"),
        ({"Email": MAIL | {"Username": "u"}}, ".Email.Password"),
        ({"Email": MAIL | {"TLS": True}}, ".Email.TLS"),
    ],
)
def test_a_mistake_has_its_place(alerts: object, path: str) -> None:
    assert set(problems(alerts)) == {path}


@pytest.mark.parametrize(
    "alerts",
    [
        SECRET,
        [SECRET],
        {"Webhook": f"{SECRET}://example.org"},
        {"Webhook": [SECRET]},
        {"Webhook": "https://example.org", "Secret": [SECRET]},
        {"Email": SECRET},
        {"Email": [SECRET]},
        {"Email": MAIL | {"Password": {"x": SECRET}, "Username": 5}},
        {"Email": {"Password": SECRET, "Username": "u"}},
        {"Email": MAIL | {"Password": SECRET}},
    ],
)
def test_no_problem_repeats_a_secret(alerts: object) -> None:
    for path, message in problems(alerts).items():
        assert SECRET not in path + message


def test_a_section_that_is_no_object_is_not_repeated() -> None:
    (problem,) = parse([{"Alerts": {"Secret": SECRET}}], Neighbours())[1]
    assert SECRET not in problem.message


def test_whom_to_tell_is_known_also_while_the_rest_is_wrong() -> None:
    section = {"Alerts": {"Webhook": "https://example.org"}, "Rules": "none", "TimeZone": "Europe/Atlantis"}
    assert parse(section, Neighbours())[1]
    webhook = alert_settings(section).webhook
    assert webhook is not None
    assert webhook.url == "https://example.org"


@pytest.mark.parametrize("section", [None, [], "x", {}, {"Alerts": {"Webhook": 5}}, {"Alerts": None}])
def test_nobody_is_told_where_the_section_does_not_say_whom(section: object) -> None:
    assert alert_settings(section) == AlertSettings()
