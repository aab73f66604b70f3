# SPDX-License-Identifier: AGPL-3.0-or-later
"""Servers as Orthanc's configuration describes them; a real HTTP server on loopback at the other end."""

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dicom_router.deliveries.outcome import Scope
from dicom_router.transports.http_node import HttpNode, NotReachedError, Tls, http_nodes

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
