# SPDX-License-Identifier: AGPL-3.0-or-later
"""Webhooks and mail against real servers on loopback."""

import hashlib
import hmac
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

from dicom_router.alerts.message import Message
from dicom_router.alerts.settings import Mail, Webhook
from dicom_router.messengers.mail import MailMessenger
from dicom_router.messengers.messenger import MessengerError, PartlyRefusedError
from dicom_router.messengers.webhook import SIGNATURE, WebhookMessenger

LOOPBACK = "127.0.0.1"
SECRET = "kL9-secret"
MESSAGE = Message(
    {"Router": "GATEWAY", "Alerts": [{"Message": "Müller does not answer"}]},
    "[GATEWAY] ARCHIVE does not answer",
    "Müller\n.\nThe line above is a dot.\n",
)


def closed_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
    return port


# --- webhook ---------------------------------------------------------------------------------------------------------


class Receiver(HTTPServer):
    """Answers `status` to each POST and keeps it."""

    status = 200

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.taken: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.server_port}/hook/{SECRET}?key=1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = cast(Receiver, self.server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.taken.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(server.status)
        self.send_header("Location", server.url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_webhook_gets_json_that_it_can_check(receiver: Receiver) -> None:
    WebhookMessenger(Webhook(receiver.url, SECRET)).send(MESSAGE)
    ((path, headers, body),) = receiver.taken
    assert path == f"/hook/{SECRET}?key=1"
    assert json.loads(body) == MESSAGE.body
    assert headers["content-type"] == "application/json"
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE.lower()] == f"sha256={expected}"


def test_without_a_secret_nothing_is_signed(receiver: Receiver) -> None:
    WebhookMessenger(Webhook(receiver.url)).send(MESSAGE)
    assert SIGNATURE.lower() not in receiver.taken[0][1]


@pytest.mark.parametrize("status", [201, 204, 299])
def test_any_success_is_one(receiver: Receiver, status: int) -> None:
    receiver.status = status
    WebhookMessenger(Webhook(receiver.url)).send(MESSAGE)


@pytest.mark.parametrize("status", [301, 307, 308, 400, 404, 500, 503])
def test_anything_else_is_an_error_and_no_redirection_is_followed(receiver: Receiver, status: int) -> None:
    receiver.status = status
    with pytest.raises(MessengerError, match=f"the webhook answered {status}"):
        WebhookMessenger(Webhook(receiver.url)).send(MESSAGE)
    assert len(receiver.taken) == 1


@pytest.mark.parametrize(
    "url",
    [
        f"http://{LOOPBACK}:{closed_port()}/{SECRET}",
        f"http://{SECRET}.invalid/{SECRET}",
        f"https://{LOOPBACK}:{closed_port()}/{SECRET}",
    ],
)
def test_an_address_that_does_not_answer_is_an_error_that_does_not_name_it(url: str) -> None:
    with pytest.raises(MessengerError) as raised:
        WebhookMessenger(Webhook(url, SECRET)).send(MESSAGE)
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_server_that_breaks_off_is_an_error() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:

        def break_off() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=break_off)
        thread.start()
        with pytest.raises(MessengerError):
            WebhookMessenger(Webhook(f"http://{LOOPBACK}:{server.getsockname()[1]}/")).send(MESSAGE)
        thread.join()


# --- mail ------------------------------------------------------------------------------------------------------------


@dataclass
class Letters:
    """What the mail server took."""

    taken: list[Envelope] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    answer: str = "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: object, _session: Session, envelope: Envelope, address: str, _options: object
    ) -> str:
        if address in self.refused:
            return "550 no such user " + SECRET
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: object, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.answer.startswith("250"):
            self.taken.append(envelope)
        return self.answer

    def letter(self) -> EmailMessage:
        (envelope,) = self.taken
        assert isinstance(envelope.content, bytes)
        return cast(EmailMessage, message_from_bytes(envelope.content, policy=policy.default))


@contextmanager
def mail_server(letters: Letters, **options: Any) -> Iterator[int]:
    controller = Controller(letters, hostname=LOOPBACK, port=closed_port(), **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture
def port(letters: Letters) -> Iterator[int]:
    with mail_server(letters) as port:
        yield port


def mail(port: int, **changes: Any) -> Mail:
    given: dict[str, Any] = {"sender": "router@example.org", "recipients": ("a@example.org", "b@example.org")}
    return Mail(LOOPBACK, port, **(given | changes))


def test_a_letter_arrives_as_it_was_written(letters: Letters, port: int) -> None:
    MailMessenger(mail(port)).send(MESSAGE)
    (envelope,) = letters.taken
    assert (envelope.mail_from, envelope.rcpt_tos) == ("router@example.org", ["a@example.org", "b@example.org"])
    letter = letters.letter()
    assert letter["Subject"] == MESSAGE.subject
    assert letter["From"] == "router@example.org"
    assert letter["To"] == "a@example.org, b@example.org"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Date"]
    assert letter["Message-ID"].endswith("@example.org>")
    assert letter.get_content().splitlines() == MESSAGE.text.splitlines()


def test_a_subject_in_any_script_arrives(letters: Letters, port: int) -> None:
    MailMessenger(mail(port)).send(Message({}, "Müller, 病院 antwortet nicht", "x\n"))
    assert letters.letter()["Subject"] == "Müller, 病院 antwortet nicht"


def test_a_header_cannot_be_smuggled_in(letters: Letters, port: int) -> None:
    with pytest.raises(ValueError, match=r"[Hh]eader"):
        MailMessenger(mail(port)).send(Message({}, "x\r\nBcc: all@example.org", "x\n"))
    assert letters.taken == []


@pytest.mark.parametrize("answer", ["451 try later " + SECRET, "554 no " + SECRET])
def test_a_refusal_is_an_error_with_its_code_alone(letters: Letters, port: int, answer: str) -> None:
    letters.answer = answer
    with pytest.raises(MessengerError, match=f"the mail server answered {answer[:3]}") as raised:
        MailMessenger(mail(port)).send(MESSAGE)
    assert SECRET not in str(raised.value)


def test_one_wrong_recipient_does_not_keep_it_from_the_others(letters: Letters, port: int) -> None:
    letters.refused = {"b@example.org"}
    with pytest.raises(PartlyRefusedError, match="refused 1 of"):
        MailMessenger(mail(port)).send(MESSAGE)
    assert letters.taken[0].rcpt_tos == ["a@example.org"]


def test_only_wrong_recipients_are_an_error(letters: Letters, port: int) -> None:
    letters.refused = {"a@example.org", "b@example.org"}
    with pytest.raises(MessengerError) as raised:
        MailMessenger(mail(port)).send(MESSAGE)
    assert not isinstance(raised.value, PartlyRefusedError)
    assert SECRET not in str(raised.value)


def test_a_mail_server_that_is_away_is_an_error() -> None:
    with pytest.raises(MessengerError, match="ConnectionRefusedError"):
        MailMessenger(mail(closed_port())).send(MESSAGE)


def test_a_name_that_no_server_can_have_is_an_error() -> None:
    with pytest.raises(MessengerError):
        MailMessenger(replace(mail(1), host="m" * 64)).send(MESSAGE)


def test_what_is_no_mail_server_is_an_error(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_router.messengers.mail.SECONDS", 0.5)
    with pytest.raises(MessengerError):
        MailMessenger(mail(receiver.server_port)).send(MESSAGE)


# --- encrypted -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for loopback, with its key."""
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=loopback -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*command.split(), "-keyout", made, "-out", made.with_suffix(".crt")], check=True, capture_output=True
    )
    made.write_text(made.read_text() + made.with_suffix(".crt").read_text())
    return made


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def authenticator(_server: object, _session: object, _envelope: object, _mechanism: str, data: object) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=(data.login, data.password) == (b"user", SECRET.encode()), handled=False)


@pytest.mark.usefixtures("trusted")
def test_a_password_goes_over_starttls(letters: Letters, tls: ssl.SSLContext) -> None:
    options: dict[str, Any] = {"tls_context": tls, "require_starttls": True, "auth_required": True}
    with mail_server(letters, authenticator=authenticator, **options) as port:
        MailMessenger(mail(port, start_tls=True, username="user", password=SECRET)).send(MESSAGE)
        assert letters.letter()["Subject"] == MESSAGE.subject
        with pytest.raises(MessengerError, match="answered 535") as raised:
            MailMessenger(mail(port, start_tls=True, username="user", password="wrong")).send(MESSAGE)
        assert "wrong" not in str(raised.value)


@pytest.mark.usefixtures("trusted")
def test_tls_from_the_first_byte(letters: Letters, tls: ssl.SSLContext) -> None:
    with mail_server(letters, ssl_context=tls) as port:
        MailMessenger(mail(port, tls=True)).send(MESSAGE)
    assert letters.letter()["Subject"] == MESSAGE.subject


@pytest.mark.parametrize("way", ["tls", "start_tls"])
def test_a_certificate_that_nobody_vouches_for_is_refused(letters: Letters, tls: ssl.SSLContext, way: str) -> None:
    options = {"ssl_context": tls} if way == "tls" else {"tls_context": tls}
    with mail_server(letters, **options) as port, pytest.raises(MessengerError, match="SSL"):
        MailMessenger(mail(port, **{way: True})).send(MESSAGE)
    assert letters.taken == []


def test_a_server_without_starttls_gets_no_password(letters: Letters, port: int) -> None:
    with pytest.raises(MessengerError, match="SMTPNotSupportedError"):
        MailMessenger(mail(port, start_tls=True, username="user", password=SECRET)).send(MESSAGE)
    assert letters.taken == []
