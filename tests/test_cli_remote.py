# SPDX-License-Identifier: AGPL-3.0-or-later
"""The commands that ask a running router, against a server that answers what a test says."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from dicom_router.cli.main import main

COMMANDS = (["status"], ["destinations"], ["rules", "list"], ["rules", "export"], ["history"])
CHANGES = (["resend", "1"], ["cancel", "1"])


class Server(ThreadingHTTPServer):
    """Gives one answer to everything, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = b"{}"
        self.code = 200
        self.authorization = ""
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.authorization = self.headers.get("Authorization", "")
        self.server.paths.append(self.path)
        self.send_response(self.server.code)
        self.send_header("Content-Length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    do_POST = do_GET  # noqa: N815 (the name that http.server asks for)

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_status_tells_of_a_router_that_could_not_be_loaded(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    problems = [{"Path": "Router", "Message": 'The Python package "peewee" is missing.'}]
    server.answer = json.dumps({"State": "Suspended", "Problems": problems, "Warnings": []}).encode()
    assert main(["status", "--url", server.url]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "Suspended.",
        'problem: Router: The Python package "peewee" is missing.',
    ]


def test_status_leaves_out_what_a_router_that_was_not_loaded_does_not_know(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = {"Scheduled": 0, "Sending": 0, "Retrying": 0}
    told = {"Version": "1.2.3", "State": "Suspended", "Queue": queue, "Orthanc": "", "Database": ""}
    server.answer = json.dumps(told | {"Problems": [], "Warnings": []}).encode()
    assert main(["status", "--url", server.url]) == 1
    assert capsys.readouterr().out == "Suspended: 0 scheduled, 0 sending, 0 retrying. dicom-router 1.2.3.\n"


def test_status_tells_versions_and_database(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    told = {"Version": "1.2.3", "State": "Running", "Queue": {"Scheduled": 3}, "Orthanc": "1.12.7", "Database": "db"}
    server.answer = json.dumps(told | {"Problems": [], "Warnings": []}).encode()
    assert main(["status", "--url", server.url]) == 0
    assert capsys.readouterr().out == "Running: 3 scheduled. dicom-router 1.2.3 in Orthanc 1.12.7, db.\n"


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize(
    "answer", ["{}", "[]", "5", "null", "[5]", '{"Items": 5}', '{"State": 5}', "text", "[" * 20000]
)
def test_the_answer_of_another_server_is_no_router(
    answer: str, options: list[str], server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = answer.encode()
    for command in (*COMMANDS, *CHANGES):
        if answer == "[]" and command in (["destinations"], ["rules", "list"]):
            continue  # a router without any
        assert main([*command, *options, "--url", server.url]) == 1, command
        assert f"There is no dicom-router at {server.url}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer", ["Not found", "5", '{"Error": "no", "Problems": 5}', '{"Error": 1, "Problems": [5]}']
)
def test_an_error_of_another_server_is_told_without_traceback(
    answer: str, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer, server.code = answer.encode(), 500
    assert main(["history", "--url", server.url]) == 1
    assert "dicom-router: " in capsys.readouterr().err


def test_an_orthanc_without_the_router_is_told_as_such(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.answer, server.code = b'{"HttpError": "Not Found", "HttpStatus": 404, "Message": "Unknown resource"}', 404
    for command in (*COMMANDS, *CHANGES):
        assert main([*command, "--url", server.url]) == 1
        assert f"There is no dicom-router at {server.url}" in capsys.readouterr().err


def test_user_and_password_are_sent_as_utf_8(server: Server) -> None:
    server.answer = b"[]"
    assert main(["destinations", "--url", server.url, "--user", "é:ü€"]) == 0
    assert server.authorization == "Basic " + base64.b64encode("é:ü€".encode()).decode()


def test_bytes_that_are_no_text_in_the_shell_are_sent_as_they_are(server: Server) -> None:
    for arguments in (["history", "--patient", "\udcff"], ["cancel", "\udcff"], ["status", "--user", "a:\udcff"]):
        assert main([*arguments, "--url", server.url]) == 1
    assert server.paths[:2] == ["/router/history?patient=%FF", "/router/history/%FF/cancel"]
    assert base64.b64decode(server.authorization.split()[1]) == b"a:\xff"
