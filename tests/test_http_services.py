# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a peer and a DICOMweb server are asked, and how their answers are read."""

import json
from typing import Any

import pytest

from builders import instance
from dicom_router.deliveries.outcome import ErrorClass, Scope, of_curl, of_http_status
from dicom_router.destination import Destination, Kind
from dicom_router.orthanc_rest import OrthancError
from dicom_router.transports.dicom_web import PAGE, DicomWebService, read_answer
from dicom_router.transports.http_node import HttpAnswer, HttpNode, NotReachedError
from dicom_router.transports.peer import PeerService
from dicom_router.transports.series_uids import SeriesUids

SERIES = SeriesUids("1.2", "1.2.3")


class Rest:
    """Our Orthanc: remembers what is posted."""

    holds_interpreter = False
    finds_all = False

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.posted: list[tuple[str, Any]] = []
        self.answers = answers or {}

    def get(self, path: str, timeout: float = 60.0) -> Any:
        return self.answers[path]

    def post(self, path: str, body: object, timeout: float = 60.0) -> Any:
        self.posted.append((path, body))
        return self.answers.get(path, {"ID": "job"})

    ask = post

    def post_bytes(self, path: str, body: bytes, timeout: float) -> Any:
        raise AssertionError(path)

    def get_bytes(self, path: str) -> bytes:
        raise AssertionError(path)

    def delete(self, path: str) -> None:
        raise AssertionError(path)


class Node(HttpNode):
    """A server whose answers are given."""

    def __init__(self, *answers: tuple[int, object]) -> None:
        super().__init__("http://away")
        object.__setattr__(self, "answers", [HttpAnswer(status, _body(told)) for status, told in answers])
        object.__setattr__(self, "asked", [])

    def get(self, path: str, accept: str = "", timeout: float | None = None) -> HttpAnswer:
        self.asked.append(path)  # type: ignore[attr-defined]
        return self.answers.pop(0)  # type: ignore[attr-defined,no-any-return]

    def post(self, path: str, body: bytes, headers: Any, timeout: float | None = None) -> HttpAnswer:
        self.asked.append((path, body, headers))  # type: ignore[attr-defined]
        return self.answers.pop(0)  # type: ignore[attr-defined,no-any-return]


def _body(told: object) -> bytes:
    return told if isinstance(told, bytes) else json.dumps(told).encode()


def asked(node: Node) -> list[Any]:
    return node.asked  # type: ignore[attr-defined,no-any-return]


# --- HTTP ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error_class", "scope"),
    [
        (302, ErrorClass.TRANSIENT, Scope.DESTINATION),
        (400, ErrorClass.PERMANENT, Scope.INSTANCE),
        (401, ErrorClass.TRANSIENT, Scope.DESTINATION),
        (403, ErrorClass.TRANSIENT, Scope.DESTINATION),
        (404, ErrorClass.TRANSIENT, Scope.DESTINATION),
        (409, ErrorClass.PERMANENT, Scope.INSTANCE),
        (413, ErrorClass.PERMANENT, Scope.INSTANCE),
        (415, ErrorClass.PERMANENT, Scope.INSTANCE),
        (418, ErrorClass.TRANSIENT, Scope.INSTANCE),
        (429, ErrorClass.TRANSIENT, Scope.DESTINATION),
        (500, ErrorClass.TRANSIENT, Scope.INSTANCE),
        (502, ErrorClass.TRANSIENT, Scope.DESTINATION),
        (503, ErrorClass.TRANSIENT, Scope.DESTINATION),
        (504, ErrorClass.TRANSIENT, Scope.DESTINATION),
        (507, ErrorClass.TRANSIENT, Scope.INSTANCE),
    ],
)
def test_an_http_status_has_its_class(status: int, error_class: ErrorClass, scope: Scope) -> None:
    error = of_http_status(status, "so it says")
    assert (error.error_class, error.scope, error.code) == (error_class, scope, f"Http{status}")
    assert error.message.endswith(f"(HTTP status {status}): so it says")


@pytest.mark.parametrize(
    ("text", "code", "scope"),
    [
        ("libCURL error: Couldn't connect to server", "ConnectionRefused", Scope.DESTINATION),
        ("libCURL error: Couldn't resolve host name", "UnknownHost", Scope.DESTINATION),
        ("libCURL error: SSL peer certificate or SSH remote key was not OK", "TlsFailed", Scope.DESTINATION),
        ("libCURL error: Timeout was reached", "Timeout", Scope.ASSOCIATION),
        ("libCURL error: Server returned nothing (no headers, no data)", "ConnectionLost", Scope.ASSOCIATION),
    ],
)
def test_what_libcurl_says_has_its_class(text: str, code: str, scope: Scope) -> None:
    error = of_curl(text)
    assert error is not None
    assert (error.code, error.scope, error.permanent) == (code, scope, False)


def test_what_is_not_libcurls_is_not_explained_by_it() -> None:
    assert of_curl("") is None
    assert of_curl("Error in the network protocol") is None


# --- a peer ----------------------------------------------------------------------------------------------------------


def test_a_peer_gets_a_job_that_is_not_permissive() -> None:
    rest = Rest()
    target = Destination("P", "re search", kind=Kind.PEER)
    assert PeerService(rest).submit(target, [instance(1)]) == "job"
    PeerService(rest).submit(Destination("P", "p", kind=Kind.PEER, compress=True), [instance(1)])
    plain = {"Resources": [instance(1).id], "Asynchronous": True, "Permissive": False}
    assert rest.posted == [("/peers/re%20search/store", plain), ("/peers/p/store", plain | {"Compress": True})]


def test_a_peer_says_why_it_refuses() -> None:
    told = {"Message": "Bad file format", "Details": "Cannot parse an invalid DICOM file"}
    error = PeerService(Rest()).send(Node((400, told)), b"x", None)
    assert error is not None
    assert error.message.endswith(": Cannot parse an invalid DICOM file")
    assert PeerService(Rest()).send(Node((200, {"Status": "AlreadyStored"})), b"x", None) is None


PAGES = [b"<!DOCTYPE html><title>Please log in</title>", b"\r\n<HTML><body>Back at noon"]


@pytest.mark.parametrize("told", [*PAGES, b"", b"OK", {"Welcome": "guest"}, []])
def test_what_is_no_answer_of_an_orthanc_is_no_success_of_a_peer(told: object) -> None:
    error = PeerService(Rest()).send(Node((200, told)), b"x", None)
    assert error is not None
    assert (error.code, error.scope, error.permanent) == ("NoOrthanc", Scope.DESTINATION, False)


@pytest.mark.parametrize(
    ("status", "code", "permanent"),
    [
        ("Success", "", False),
        ("AlreadyStored", "", False),
        ("FilteredOut", "FilteredOut", True),
        ("Failure", "NotStored", False),
        ("StorageFull", "NotStored", False),
    ],
)
def test_a_peer_says_with_a_success_what_became_of_the_instance(status: str, code: str, permanent: bool) -> None:
    error = PeerService(Rest()).send(Node((200, {"ID": "a", "Status": status})), b"x", None)
    assert (error.code if error else "", bool(error and error.permanent)) == (code, permanent)
    assert error is None or error.scope is Scope.INSTANCE


def test_a_page_in_a_servers_place_does_not_say_that_it_has_nothing() -> None:
    for page in PAGES:
        with pytest.raises(NotReachedError):
            PeerService(Rest()).listed("p", Node((200, page)), SERIES, {"1"})
        with pytest.raises(NotReachedError):
            DicomWebService(Rest(), "/dw").listed("w", Node((200, page)), SERIES, {"1"})


@pytest.mark.parametrize(
    ("answer", "code"), [((200, {"ApiVersion": 17}), ""), ((200, b"<html>"), "NoOrthanc"), ((400, {}), "Http400")]
)
def test_a_peer_is_there_when_an_orthanc_answers(answer: tuple[int, object], code: str) -> None:
    error = PeerService(Rest()).greet(Node(answer))
    assert (error.code if error else "") == code
    assert error is None or (error.scope, error.permanent) == (Scope.DESTINATION, False)


def test_a_peer_is_asked_for_its_series_without_a_limit() -> None:
    found = [{"Type": "Series", "ID": "a"}, {"Type": "Study", "ID": "b"}, {"Type": "Series", "ID": "c"}]
    node = Node(
        (200, found),
        (200, [{"MainDicomTags": {"SOPInstanceUID": "1"}}]),
        (200, [{"MainDicomTags": {"SOPInstanceUID": "2"}}]),
    )
    assert PeerService(Rest()).listed("p", node, SERIES, {"1"}) == {"1", "2"}
    assert asked(node)[1:] == ["/series/a/instances", "/series/c/instances"]
    assert asked(node)[0][:2] == ("/tools/lookup", b"1.2.3")
    refused = PeerService(Rest()).listed("p", Node((401, b"")), SERIES, {"1"})
    assert isinstance(refused, HttpAnswer)
    with pytest.raises(OrthancError):
        PeerService(Rest()).listed("p", None, SERIES, {"1"})


# --- a DICOMweb server -----------------------------------------------------------------------------------------------


def dataset(failed: int | None = None, other: bool = False, stored: bool = True) -> dict[str, Any]:
    made: dict[str, Any] = {"00081198": {"vr": "SQ"}, "00081199": {"vr": "SQ"}}
    if stored:
        made["00081199"]["Value"] = [{"00081155": {"vr": "UI", "Value": ["1"]}}]
    if failed is not None:
        made["00081198"]["Value"] = [{"00081197": {"vr": "US", "Value": [failed]}}]
    if other:
        made["0008119A"] = {"vr": "SQ", "Value": [{}]}
    return made


@pytest.mark.parametrize(
    ("status", "told", "code", "permanent"),
    [
        (200, dataset(), "", False),
        (200, [dataset()], "", False),
        (202, dataset(), "", False),
        (200, b"", "", False),
        (200, b"<NativeDicomModel/>", "", False),
        (200, b"<NativeDicomModel><DicomAttribute tag='00081198' vr='SQ'/></NativeDicomModel>", "", False),
        (200, b'<DicomAttribute vr="SQ" tag="00081198">\n<Item number="1">', "Failed", False),
        (200, b"<DicomAttribute tag='0008119a' vr='SQ'><Item number='1'>", "Failed", False),
        (200, b"<!DOCTYPE html><title>Please log in</title>", "NoDicomWeb", False),
        (202, b"\n <html lang='en'>", "NoDicomWeb", False),
        (503, b"<html>", "Http503", False),
        (202, b"", "NotListed", False),
        (200, dataset(stored=False), "NotListed", False),
        (409, dataset(0xA700, stored=False), "0xA700", False),
        (409, dataset(0xA900, stored=False), "0xA900", True),
        (409, dataset(0xC122, stored=False), "0xC122", True),
        (409, dataset(0x0110, stored=False), "0x0110", False),
        (409, dataset(0x0122, stored=False), "0x0122", False),
        (409, dataset(0x0111, stored=False), "", False),  # a duplicate: it is there
        (409, dataset(0xB00E, stored=False), "", False),  # the same, as Google's server says it
        (200, dataset(other=True, stored=False), "Failed", False),
        (409, b"conflict", "Http409", True),
        (400, dataset(stored=False), "Http400", True),
        (503, b"", "Http503", False),
    ],
)
def test_the_answer_to_one_instance_is_read(status: int, told: object, code: str, permanent: bool) -> None:
    error = read_answer(HttpAnswer(status, _body(told)))
    assert (error.code if error else "", bool(error and error.permanent)) == (code, permanent)


def test_a_web_page_is_known_by_its_type_too_and_blames_the_server() -> None:
    error = read_answer(HttpAnswer(200, b"Please log in", "Text/HTML; charset=utf-8"))
    assert error is not None
    assert (error.code, error.scope, error.permanent) == ("NoDicomWeb", Scope.DESTINATION, False)
    assert read_answer(HttpAnswer(200, b"", "application/dicom+xml")) is None


@pytest.mark.parametrize("told", [b"", dataset()], ids=["empty", "json"])
def test_an_answer_that_a_framework_calls_html_is_read_as_what_it_is(told: object) -> None:
    assert read_answer(HttpAnswer(200, _body(told), "text/html; charset=utf-8")) is None


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"FunctionErrorCode": 29}, "Http401"),
        ({"FunctionErrorCode": 17}, "Http404"),
        ({"FunctionErrorCode": 7, "FunctionErrorDetails": "Inexistent server: x"}, "Unknown"),
        ({"FunctionErrorCode": 9}, ""),
        ({"FunctionErrorCode": 9, "FunctionErrorDetails": "libCURL error: Timeout was reached"}, "Timeout"),
        ({}, ""),
        (None, ""),
    ],
)
def test_what_a_failed_job_of_the_plugin_says_is_read(content: object, code: str) -> None:
    error = DicomWebService(Rest(), "/dw").why({"Content": content})
    assert (error.code if error else "") == code


def test_a_dicom_web_server_is_sent_to_below_the_plugins_own_root() -> None:
    rest = Rest()
    service = DicomWebService(rest, "my/dicom-web/")
    service.submit(Destination("W", "a/b", kind=Kind.DICOM_WEB), [instance(1)])
    body = {"Resources": [instance(1).id], "Synchronous": False}
    assert rest.posted == [("/my/dicom-web/servers/a%2Fb/stow", body)]


def test_one_instance_is_one_part_of_a_store_request() -> None:
    node = Node((200, dataset()))
    assert DicomWebService(Rest(), "/dw").send(node, b"DICM", None) is None
    ((path, body, headers),) = asked(node)
    boundary = headers["Content-Type"].rpartition("boundary=")[2].encode()
    assert path == "/studies"
    assert body.startswith(b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n")
    assert body.endswith(b"\r\n\r\nDICM\r\n--" + boundary + b"--\r\n")


@pytest.mark.parametrize(
    ("status", "code"), [(200, ""), (204, ""), (400, ""), (404, ""), (501, ""), (401, "Http401"), (503, "Http503")]
)
def test_a_dicom_web_server_is_there_whatever_it_thinks_of_searches(status: int, code: str) -> None:
    error = DicomWebService(Rest(), "/dw").greet(Node((status, b"")))
    assert (error.code if error else "") == code


def test_a_web_page_is_no_sign_of_life_of_a_dicom_web_server() -> None:
    error = DicomWebService(Rest(), "/dw").greet(Node((200, PAGES[0])))
    assert error is not None
    assert (error.code, error.scope, error.permanent) == ("NoDicomWeb", Scope.DESTINATION, False)


def rows(first: int, count: int) -> list[Any]:
    return [{"00080018": {"vr": "UI", "Value": [str(number)]}} for number in range(first, first + count)]


def test_a_search_goes_on_until_all_are_found_or_nothing_new_comes() -> None:
    service = DicomWebService(Rest(), "/dw")
    node = Node((200, rows(0, 100)), (200, rows(100, 100)), (200, []))
    expected = {str(number) for number in range(150)}
    assert service.listed("w", node, SERIES, expected) == {str(number) for number in range(200)}
    assert len(asked(node)) == 2
    assert f"limit={PAGE}&offset=100" in asked(node)[1]
    endless = Node((200, rows(0, 10)), (200, rows(0, 10)))  # it does not know `offset`
    found = service.listed("w", endless, SERIES, expected)
    assert found == {str(number) for number in range(10)}
    assert service.listed("w", Node((204, b"")), SERIES, expected) == set()
    assert isinstance(service.listed("w", Node((404, b"")), SERIES, expected), HttpAnswer)


def test_without_a_direct_way_the_plugin_searches() -> None:
    rest = Rest({"/dw/servers/w/get": rows(0, 2)})
    assert DicomWebService(rest, "/dw").listed("w", None, SERIES, {"0", "1"}) == {"0", "1"}
    ((_, body),) = rest.posted
    assert body["Uri"].startswith("/studies/1.2/series/1.2.3/instances?")
