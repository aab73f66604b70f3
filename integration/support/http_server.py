# SPDX-License-Identifier: AGPL-3.0-or-later
"""An HTTP server that takes instances as a peer and as a DICOMweb server do, and does what a test tells it."""

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pydicom

from .network import LOOPBACK, free_port
from .waiting import wait_until

USER, PASSWORD = "router", "open sesame"
OK = 200


class ScriptedHttpServer:
    """Listens on loopback from the start; accepts and keeps everything until told otherwise.

    As a peer it is at `url`, as a DICOMweb server at `url` + `/dicom-web`.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.password = PASSWORD
        self.hangs = False
        """Read a request with an instance and never answer it."""
        self.status = OK
        """The answer to everything."""
        self.waiting = 0
        self._refused: dict[str, int] = {}
        self._stored: list[str] = []
        self._lock = threading.Lock()
        self._release = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self.start_listening()

    def refuse(self, uid: str, reason: int) -> None:
        """Never take this instance: a peer answers the HTTP status `reason`, a DICOMweb server this failure reason."""
        self._refused[uid] = reason

    @property
    def received(self) -> Counter[str]:
        """How often each SOP Instance UID was accepted."""
        with self._lock:
            return Counter(self._stored)

    def start_listening(self) -> None:
        if self._server is None:
            self._server = ThreadingHTTPServer((LOOPBACK, self.port), _handler(self))
            self._server.daemon_threads = True
            threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop_listening(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            server, self._server = self._server, None
            server.shutdown()
            server.server_close()

    def behave(self) -> None:
        """Accept everything again; what hangs is closed without an answer."""
        self.hangs = False
        self.status = OK
        self._refused.clear()
        self._release.set()
        wait_until(lambda: not self.waiting, 10, "nothing hangs any more")
        self._release = threading.Event()
        self.start_listening()

    def close(self) -> None:
        self._release.set()
        self.stop_listening()

    # What it answers

    def answer(self, method: str, path: str, body: bytes, content_type: str) -> tuple[int, object]:
        if self.status != OK:
            return self.status, {"Message": "As the test says"}
        if method == "GET":
            return OK, {"ApiVersion": 1} if path == "/system" else []
        if self.hangs:
            self._hang()
            return 0, None
        if path == "/instances":
            return self._store_as_peer(body)
        return self._store_as_dicom_web(list(_parts(body, content_type)))

    def _store_as_peer(self, body: bytes) -> tuple[int, object]:
        uid = _uid(body)
        if uid in self._refused:
            return self._refused[uid], {"Message": "Not this one"}
        self._keep([uid])
        return OK, {"Status": "Success"}

    def _store_as_dicom_web(self, files: list[bytes]) -> tuple[int, object]:
        uids = [_uid(file) for file in files]
        good = [uid for uid in uids if uid not in self._refused]
        self._keep(good)
        failed = [(uid, self._refused[uid]) for uid in uids if uid in self._refused]
        answer = {
            "00081199": _sequence({"00081155": {"vr": "UI", "Value": [uid]}} for uid in good),
            "00081198": _sequence(
                {"00081155": {"vr": "UI", "Value": [uid]}, "00081197": {"vr": "US", "Value": [reason]}}
                for uid, reason in failed
            ),
        }
        return (OK if not failed else 202 if good else 409), answer

    def _keep(self, uids: list[str]) -> None:
        with self._lock:
            self._stored += uids

    def _hang(self) -> None:
        with self._lock:
            self.waiting += 1
        self._release.wait()
        with self._lock:
            self.waiting -= 1

    def knows(self, authorization: str) -> bool:
        wanted = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        return authorization == f"Basic {wanted}"


def _handler(server: ScriptedHttpServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            body = self._body()
            path = self.path.partition("?")[0]
            if server.knows(self.headers.get("Authorization", "")):
                status, told = server.answer(method, path, body, self.headers.get("Content-Type", ""))
            else:
                status, told = 401, {}
            if not status:
                self.close_connection = True
                return
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Say nothing."""

    return Handler


def _uid(file: bytes) -> str:
    return str(pydicom.dcmread(BytesIO(file), specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)


def _parts(body: bytes, content_type: str) -> Iterator[bytes]:
    boundary = content_type.rpartition("boundary=")[2].strip('"').encode()
    for part in body.split(b"--" + boundary)[1:-1]:
        yield part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")


def _sequence(items: Iterator[object]) -> object:
    return {"vr": "SQ", "Value": list(items)}
