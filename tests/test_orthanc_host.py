# SPDX-License-Identifier: AGPL-3.0-or-later
"""The face of Orthanc's Python plugin: every version answers alike, and nothing is raised into Orthanc."""

import base64
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote_plus

import pytest

from dicom_router.host.sdk import Change, OrthancHost, Request, Response
from dicom_router.orthanc_rest import OrthancError, SdkRest, connect, extended_find
from fakes.sdk import VERSIONS, ChangeType, Output, Sdk

PATTERN = "/router(/.*)?"
TEXT = '{"Error": "Große Störung"}'.encode()


@pytest.fixture(params=VERSIONS)
def sdk(request: pytest.FixtureRequest) -> Sdk:
    kind, output = VERSIONS[request.param]
    return kind({"Name": "here"}, output)


@pytest.fixture
def host(sdk: Sdk) -> Iterator[OrthancHost]:
    made = OrthancHost(sdk)
    yield made
    made.stop_listening()


def test_a_good_answer_has_its_type_and_headers(sdk: Sdk, host: OrthancHost) -> None:
    host.listen(PATTERN, lambda _: Response(b"[1]", headers={"Cache-Control": "no-store"}))
    output = sdk.request(PATTERN, "/router/status")
    assert (output.status, output.body, output.content_type) == (200, b"[1]", "application/json")
    assert output.headers == {"Cache-Control": "no-store"}


@pytest.mark.parametrize("status", [400, 404, 409, 415, 500, 503])
def test_an_error_has_its_status_and_its_text(sdk: Sdk, host: OrthancHost, status: int) -> None:
    host.listen(PATTERN, lambda _: Response(TEXT, status=status))
    output = sdk.request(PATTERN, "/router/x")
    assert (output.status, output.body) == (status, TEXT)


def test_a_request_is_read_whole(sdk: Sdk, host: OrthancHost) -> None:
    seen: list[Request] = []

    def remember(request: Request) -> Response:
        seen.append(request)
        return Response(b"{}")

    host.listen(PATTERN, remember)
    sdk.request(PATTERN, "/router/rules/", "POST", b'{"Name": 1}', host="localhost")
    sdk.request(PATTERN, "/router/rules")
    assert [(each.method, each.path, each.body) for each in seen] == [
        ("POST", "/router/rules", b'{"Name": 1}'),
        ("GET", "/router/rules", b""),
    ]
    assert seen[0].headers == {"host": "localhost"}


def test_requests_are_worked_on_by_threads_of_ours_as_long_as_orthanc_runs(sdk: Sdk, host: OrthancHost) -> None:
    """The stack of Orthanc's own is too small for Python 3.14."""
    workers: list[threading.Thread] = []

    def remember(_request: Request) -> Response:
        workers.append(threading.current_thread())
        return Response(b"{}")

    host.listen(PATTERN, remember)
    sdk.request(PATTERN, "/router/status")
    host.stop_listening()
    assert not workers[0].is_alive()
    assert sdk.request(PATTERN, "/router/status").status == 200
    assert [worker is threading.current_thread() for worker in workers] == [False, True]


def test_a_request_that_takes_long_keeps_no_other_one_waiting(sdk: Sdk, host: OrthancHost) -> None:
    both = threading.Barrier(2)

    def wait_for_the_other(_request: Request) -> Response:
        both.wait(10)
        return Response(b"{}")

    host.listen(PATTERN, wait_for_the_other)
    with ThreadPoolExecutor(2) as orthanc:
        told = [orthanc.submit(sdk.request, PATTERN, "/router/x") for _ in range(2)]
        assert [each.result().status for each in told] == [200, 200]
    host.stop_listening()


def test_a_mistake_in_a_route_is_an_answer_and_a_line_in_the_log(sdk: Sdk, host: OrthancHost) -> None:
    def broken(_request: Request) -> Response:
        raise RuntimeError("secret detail")

    host.listen(PATTERN, broken)
    output = sdk.request(PATTERN, "/router/x")
    assert output.status == 500
    assert b"secret" not in output.body
    (told,) = [line for level, line in sdk.log if level == "E"]
    assert "GET /router/x failed: RuntimeError in host/sdk.py, line" in told
    assert "secret" not in told


def test_a_client_that_is_gone_raises_nothing_into_orthanc(sdk: Sdk, host: OrthancHost) -> None:
    class Gone(Output):
        def AnswerBuffer(self, body: bytes | str, content_type: str) -> None:  # noqa: N802
            raise sdk.OrthancException(9, "Error in the network protocol")

    host.listen(PATTERN, lambda _: Response(b"{}"))
    sdk.routes[PATTERN](Gone(), "/router", method="GET", groups=(), headers={}, get={})
    assert any(level == "E" for level, _ in sdk.log)


def test_changes_are_translated(sdk: Sdk, host: OrthancHost) -> None:
    heard: list[tuple[Change, str]] = []
    host.on_change(lambda change, resource: heard.append((change, resource)))
    for change in (
        ChangeType.ORTHANC_STARTED,
        ChangeType.STABLE_STUDY,
        ChangeType.JOB_SUCCESS,
        ChangeType.JOB_FAILURE,
        ChangeType.DELETED,
        ChangeType.UPDATED_PEERS,
        ChangeType.ORTHANC_STOPPED,
    ):
        sdk.changed(change, "id")
    told = [Change.STARTED, Change.STABLE, Change.JOB_SUCCESS, Change.JOB_FAILURE, Change.DELETED, Change.STOPPED]
    assert heard == [(change, "id") for change in told]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyError("y"), OSError("z")])
def test_a_change_that_cannot_be_handled_raises_nothing(sdk: Sdk, host: OrthancHost, error: Exception) -> None:
    def broken(_change: Change, _resource: str) -> None:
        raise error

    host.on_change(broken)
    sdk.changed(ChangeType.STABLE_STUDY, "id")
    assert [level for level, _ in sdk.log] == ["E"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x0b", "\x1b[2K", "\u2028", "\x85", "\0"])
def test_a_value_from_outside_cannot_forge_a_line(sdk: Sdk, host: OrthancHost, end: str) -> None:
    for write in (host.log_info, host.log_warning, host.log_error):
        write(f"study X{end}E0101 forged")
    assert len(sdk.log) == 3
    for _, line in sdk.log:
        assert line.isprintable()
        assert len(line.splitlines()) == 1
        assert "forged" in line


def test_the_log_keeps_what_people_write(sdk: Sdk, host: OrthancHost) -> None:
    host.log_warning("Müller 山田: ok")
    assert sdk.log == [("W", "Müller 山田: ok")]


def test_the_name_of_the_server_is_known_where_orthanc_tells_it(sdk: Sdk, host: OrthancHost) -> None:
    told = host.server_identifier()
    assert told == ("this-very-orthanc" if hasattr(sdk, "GetDatabaseServerIdentifier") else None)


def test_a_place_in_the_index_keeps_a_text(host: OrthancHost) -> None:
    assert host.global_property(5471) == ""
    host.set_global_property(5471, "17")
    assert host.global_property(5471) == "17"


def test_an_orthanc_without_a_configuration_file_has_none(host: OrthancHost) -> None:
    assert host.configuration_file() == ""
    assert host.configuration() == {"Name": "here"}


# --- the SDK as the way to the REST API ------------------------------------------------------------------------------


def test_without_a_web_server_the_sdk_is_the_way(sdk: Sdk, host: OrthancHost) -> None:
    rest = connect(host, {"HttpServerEnabled": False})
    assert isinstance(rest, SdkRest)
    assert rest.holds_interpreter
    sdk.rest["/system"] = {"Version": "1.10.1"}
    assert rest.get("/system") == {"Version": "1.10.1"}
    sdk.rest["/tools/x"] = {"ID": "job"}
    assert rest.post("/tools/x", {"A": 1}) == {"ID": "job"}
    assert sdk.rest_calls[-1] == ("POST", "/tools/x", b'{"A": 1}')


def test_a_resource_that_is_not_there_is_not_found(host: OrthancHost) -> None:
    with pytest.raises(OrthancError) as missing:
        SdkRest(host).get("/studies/gone")
    assert missing.value.not_found


def test_any_other_error_of_the_sdk_is_no_not_found(
    sdk: Sdk, host: OrthancHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: str) -> bytes:
        raise sdk.OrthancException(11, "Error with the database engine")

    monkeypatch.setattr(sdk, "RestApiGet", broken)
    with pytest.raises(OrthancError, match="database engine") as failed:
        SdkRest(host).get("/studies/x")
    assert (failed.value.not_found, failed.value.code) == (False, 11)


def test_where_the_port_does_not_answer_the_sdk_takes_over_and_the_log_says_so(sdk: Sdk, host: OrthancHost) -> None:
    rest = connect(host, {"HttpPort": 1})  # nothing listens there
    assert isinstance(rest, SdkRest)
    assert any(level == "W" for level, _ in sdk.log)


# --- queries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoded", [False, True], ids=["Orthanc 1.10 and 1.12", "Orthanc 1.13"])
def test_the_arguments_of_a_query_are_decoded_once(sdk: Sdk, host: OrthancHost, decoded: bool) -> None:
    seen: list[Mapping[str, str]] = []

    def remember(request: Request) -> Response:
        seen.append(request.query)
        return Response(b"{}")

    def as_it_comes(text: str) -> str:
        return unquote_plus(text) if decoded else text

    def ask_ourselves(path: str) -> object:
        route, _, query = path.partition("?text=")
        return sdk.request(PATTERN, route, get={"text": as_it_comes(query)}).json

    host.listen(PATTERN, remember)
    host.learn_queries(ask_ourselves)
    for text in ("all%20CT", "all+CT", "M%C3%BCller", "100%2525", "a%2Bb"):
        sdk.request(PATTERN, "/router/history", get={"q": as_it_comes(text)})
    assert [each["q"] for each in seen] == ["all CT", "all CT", "Müller", "100%25", "a+b"]


@pytest.mark.parametrize(
    ("configuration", "user"),
    [
        ({"AuthenticationEnabled": True}, "alice"),
        ({"RemoteAccessAllowed": True}, "alice"),  # Orthanc's own default for it
        ({"AuthenticationEnabled": False, "RemoteAccessAllowed": True}, ""),
        ({}, ""),
    ],
)
def test_a_user_is_named_only_where_orthanc_has_checked_the_password(
    configuration: dict[str, object], user: str
) -> None:
    sdk = Sdk(configuration)
    seen: list[Request] = []

    def on_request(request: Request) -> Response:
        seen.append(request)
        return Response(b"[1]")

    OrthancHost(sdk).listen(PATTERN, on_request)
    headers = {"authorization": "Basic " + base64.b64encode(b"alice:se:cret").decode()}
    sdk.routes[PATTERN](Output(), "/router", method="GET", groups=(), headers=headers, get={})
    assert seen[0].user == user


@pytest.mark.parametrize(
    ("system", "configuration", "expected"),
    [
        ({"Version": "1.10.1"}, {}, False),
        ({"Capabilities": {"HasExtendedFind": True}}, {}, True),
        ({"Capabilities": {"HasExtendedFind": True}}, {"LimitFindInstances": 0, "LimitFindResults": 0}, True),
        ({"Capabilities": {"HasExtendedFind": False}}, {}, False),
        ({"Capabilities": {"HasExtendedFind": True}}, {"LimitFindInstances": 100}, False),
        ({"Capabilities": {"HasExtendedFind": True}}, {"LimitFindResults": 100}, False),
    ],
)
def test_instances_are_found_by_one_question_where_no_answer_is_cut_short(
    system: dict[str, Any], configuration: dict[str, Any], expected: bool
) -> None:
    assert extended_find(system, configuration) is expected
