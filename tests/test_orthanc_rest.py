# SPDX-License-Identifier: AGPL-3.0-or-later
"""Questions to Orthanc's HTTP port that are not answered: which are asked again, and which are not."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from dicom_router.orthanc_rest import HttpRest, OrthancUnreachableError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Conduct = Callable[[socket.socket], None]


class Port:
    """A port whose connections are treated as a test says, one after the other; the last way holds for all others."""

    def __init__(self, *conducts: Conduct) -> None:
        self._conducts = conducts
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.asked = 0
        self.over = threading.Event()
        self.rest = HttpRest(f"http://127.0.0.1:{self._socket.getsockname()[1]}", "token")
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                if self.over.is_set():
                    return
                connection.recv(65536)
                conduct = self._conducts[min(self.asked, len(self._conducts) - 1)]
                self.asked += 1
                conduct(connection)

    def close(self) -> None:
        self.over.set()
        self.rest.close()
        socket.create_connection(self._socket.getsockname()).close()
        self._thread.join()
        self._socket.close()


def answers(connection: socket.socket) -> None:
    connection.sendall(ANSWER)


def breaks_off(_: socket.socket) -> None:
    """As a kept connection that Orthanc closes just then."""


def says_nothing(connection: socket.socket) -> None:
    connection.recv(1)  # until the other side gives up


@pytest.fixture
def port() -> Iterator[Callable[..., Port]]:
    made: list[Port] = []

    def open_port(*conducts: Conduct) -> Port:
        made.append(Port(*conducts))
        return made[-1]

    yield open_port
    for each in made:
        each.close()


def test_a_question_whose_connection_broke_is_asked_again(port: Callable[..., Port]) -> None:
    orthanc = port(breaks_off, answers)
    assert orthanc.rest.get("/system") == {}
    assert orthanc.asked == 2


def test_a_question_that_takes_too_long_is_not_asked_again(port: Callable[..., Port]) -> None:
    orthanc = port(says_nothing)
    with pytest.raises(OrthancUnreachableError, match="timed out"):
        orthanc.rest.get("/series/s/instances-tags?short", timeout=0.2)
    assert orthanc.asked == 1


def test_a_change_is_made_once_whatever_happens(port: Callable[..., Port]) -> None:
    orthanc = port(breaks_off)
    with pytest.raises(OrthancUnreachableError):
        orthanc.rest.post("/modalities/a/store", {})
    assert orthanc.asked == 1
