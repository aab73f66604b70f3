# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers as Orthanc's configuration describes them; a real HTTP server on loopback at the other end."""

import base64
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dicom_router import slow_sending
from dicom_router.deliveries.outcome import Scope
from dicom_router.dispatch.hang_up import hang_up
from dicom_router.transports.http_node import HttpNode, NotReachedError, Tls, http_nodes

LIMIT = 10.0  # seconds
LARGE = bytes(32 << 20)  # more than a connection's buffers take by themselves
SECRETS = ("open sesame", "token-7", "key-word", "proxy-word")


class Server:
    """Answers 418, and tells what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.hangs = threading.Event()
        self.hangs.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                outer.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
                outer.hangs.wait(10)
                self.send_response(418)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_POST = do_GET  # noqa: N815 - its name there

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.hangs.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_both_forms_of_an_entry_are_read_with_what_orthanc_says_for_all() -> None:
    entries = {
        "bare": ["http://a/orthanc/"],
        "list": ["http://a/", "me", "open sesame"],
        "object": {
            "Url": "https://b:8443/dicom-web/",
            "Username": "me",
            "Password": "open sesame",
            "HttpHeaders": {"X-Token": "token-7"},
            "CertificateFile": "c.pem",
            "CertificateKeyFile": "k.pem",
            "CertificateKeyPassword": "key-word",
            "Timeout": 7,
        },
    }
    orthanc = {"HttpsVerifyPeers": False, "HttpsCACertificates": "ca.pem", "HttpProxy": "u:proxy-word@p:3128"}
    nodes = http_nodes(entries, orthanc | {"HttpTimeout": 20})
    assert nodes["bare"] == HttpNode(
        "http://a/orthanc", tls=Tls(False, "ca.pem"), proxy="u:proxy-word@p:3128", timeout=20
    )
    assert (nodes["list"].username, nodes["list"].password) == ("me", "open sesame")
    made = nodes["object"]
    assert (made.url, made.timeout, made.headers) == ("https://b:8443/dicom-web", 7, {"X-Token": "token-7"})
    assert made.tls == Tls(False, "ca.pem", "c.pem", "k.pem", "key-word")
    assert made.address == ("p", 3128)
    assert not [secret for secret in SECRETS if secret in repr(nodes)]


@pytest.mark.parametrize(
    "entries",
    [
        None,
        5,
        [],
        {"x": None},
        {"x": []},
        {"x": [5]},
        {"x": {}},
        {"x": {"Url": "http://a", "Timeout": "long"}},
        {"x": ["http://[bad"]},
        {"x": {"Url": "https://a", "Pkcs11": True}},
    ],
)
def test_what_cannot_be_called_directly_is_left_out(entries: object) -> None:
    assert http_nodes(entries, {}) == {}


def test_credentials_in_a_url_are_taken_out_of_it() -> None:
    node = http_nodes({"x": ["http://me:open%20sesame@a:8042/"]}, {})["x"]
    assert (node.url, node.username, node.password) == ("http://a:8042", "me", "open sesame")
    assert node.is_that_of({"Url": "http://me:open%20sesame@a:8042/"})
    assert not node.is_that_of({"Url": "http://you@a:8042/"})


def test_a_request_carries_what_the_entry_says(server: Server) -> None:
    node = HttpNode(server.url, "me", "päss", {"X-Token": "token-7"})
    answer = node.post("/instances", b"DICM", {"Content-Type": "application/dicom"})
    assert (answer.status, answer.ok, answer.json()) == (418, False, {})
    ((method, path, headers, body),) = server.asked
    assert (method, path, body) == ("POST", "/instances", b"DICM")
    assert headers["Authorization"] == "Basic " + base64.b64encode("me:päss".encode()).decode()
    assert (headers["X-Token"], headers["Content-Type"]) == ("token-7", "application/dicom")


def test_a_proxy_is_used_with_its_credentials(server: Server) -> None:
    node = HttpNode("http://far.example/x", proxy=server.url.replace("http://", "u:proxy-word@"))
    assert node.get("/system").status == 418
    ((_, path, headers, _),) = server.asked
    assert path == "http://far.example/x/system"
    assert headers["Proxy-Authorization"] == "Basic " + base64.b64encode(b"u:proxy-word").decode()


def test_a_server_that_does_not_answer_is_told_by_what_is_wrong(server: Server) -> None:
    server.hangs.clear()
    with pytest.raises(NotReachedError) as slow:
        HttpNode(server.url).get("/system", timeout=0.2)
    assert (slow.value.error.code, slow.value.error.scope, slow.value.refused) == ("Timeout", Scope.ASSOCIATION, False)
    server.close()
    with pytest.raises(NotReachedError) as down:
        HttpNode(server.url, "me", "open sesame").get("/system")
    told = down.value.error
    assert (told.code, told.scope, down.value.refused) == ("ConnectionRefused", Scope.DESTINATION, True)
    assert not told.permanent
    with pytest.raises(NotReachedError) as tls:
        HttpNode("https://127.0.0.1:1", tls=Tls(authorities="/nowhere/ca.pem")).get("/system")
    assert tls.value.refused


class SlowReader:
    """Accepts one connection, and takes what is sent in `pauses` with as many stretches of silence; then it answers."""

    def __init__(self, pauses: int, pause: float) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.taken = 0
        self.over = threading.Event()
        self._pauses, self._pause = pauses, pause
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        with connection, suppress(OSError):
            for _ in range(self._pauses):
                if self.over.wait(self._pause):
                    return
                self.taken += len(connection.recv(1 << 20))
            while self.taken < len(LARGE):
                self.taken += len(connection.recv(1 << 20))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            self.over.wait(LIMIT)

    def close(self) -> None:
        self.over.set()
        self._thread.join(LIMIT)
        self._listening.close()


def test_a_slow_line_has_time_for_the_whole_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may take long is one step of it, neither the connecting nor all of it."""
    monkeypatch.setattr(slow_sending, "CONNECT_TIMEOUT", 0.2)
    slow = SlowReader(pauses=8, pause=0.3)
    with closing(slow):
        assert HttpNode(slow.url).post("/studies", LARGE, {}, timeout=1.0).status == 200


def test_a_server_that_stops_taking_a_body_is_not_waited_for_longer_than_for_an_answer() -> None:
    hanging = SlowReader(pauses=1, pause=LIMIT)
    began = time.monotonic()
    with closing(hanging), pytest.raises(NotReachedError) as told:
        HttpNode(hanging.url).post("/studies", LARGE, {}, timeout=0.3)
    assert (told.value.error.code, told.value.error.scope, told.value.refused) == ("Timeout", Scope.ASSOCIATION, False)
    assert time.monotonic() - began < LIMIT / 2


def test_a_body_under_way_is_broken_off_when_its_connection_is_hung_up() -> None:
    hanging = SlowReader(pauses=1, pause=LIMIT)
    told: list[str] = []

    def send() -> None:
        try:
            HttpNode(hanging.url).post("/studies", LARGE, {}, timeout=LIMIT)
        except NotReachedError as problem:
            told.append(problem.error.code)

    with closing(hanging):
        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        deadline = time.monotonic() + LIMIT
        while thread.is_alive() and time.monotonic() < deadline:
            hang_up({HttpNode(hanging.url).address})
            thread.join(0.02)
        assert told == ["ConnectionLost"]
        assert not hanging.over.is_set()


def test_what_is_sent_says_how_long_it_is(server: Server) -> None:
    HttpNode(server.url).post("/studies", LARGE, {})
    HttpNode(server.url).get("/system")
    (_, _, headers, body), (_, _, plain, _) = server.asked
    assert (headers["Content-Length"], "Transfer-Encoding" in headers) == (str(len(LARGE)), False)
    assert body == LARGE
    assert "Content-Length" not in plain
