# SPDX-License-Identifier: AGPL-3.0-or-later
"""The REST API: what it answers, and what it refuses. `Client` holds every answer against openapi.json."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from builders import (
    ARCHIVE,
    BROKEN,
    DEAD,
    NOT_UNDERSTOOD,
    NOW,
    claimed,
    configured,
    ended,
    enqueued,
    fill,
    found,
    instance,
    subject,
)
from dicom_router.deliveries.delivery import FINAL, NewDelivery, Reason, Status
from dicom_router.dispatch.dispatcher import Blocked
from dicom_router.problems import Problem
from dicom_router.store.journal import NewDecision
from dicom_router.store.store import Store
from fakes.orthanc import unreachable
from rest_client import HELD, Client

CT = {"Name": "all CT", "Match": {"Modality": "CT"}, "Send": ["ARCHIVE", "WORKSTATION"]}
MR = {"Name": "all MR", "Match": {"Modality": "MR"}, "Send": ["WORKSTATION"]}


@pytest.fixture
def client(store: Store) -> Client:
    section = {"Destinations": {"ARCHIVE": {"Modality": "ARCHIVE"}}, "Rules": [CT]}
    return Client(store, configured(section))


@pytest.fixture
def suspended(store: Store) -> Client:
    made = Client(store, configured({}), running=False)
    made.services.problems = [Problem("Router.Rules[0].Send", "A rule needs at least one destination.")]
    return made


# --- the guard -------------------------------------------------------------------------------------------------------

CHANGES = [
    ("POST", "/pause"),
    ("POST", "/rules"),
    ("PUT", "/rules/x"),
    ("DELETE", "/rules/x"),
    ("PUT", "/rules-order"),
    ("POST", "/history/1/cancel"),
    ("POST", "/history-cancel"),
    ("POST", "/studies/x/route"),
    ("POST", "/destinations/ARCHIVE/pause"),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "text/plain; application/json"},
        {"content-type": "application/jsonp"},
    ],
    ids=lambda each: each.get("content-type", "none"),
)
def test_a_change_needs_the_type_of_json(client: Client, method: str, path: str, headers: dict[str, str]) -> None:
    assert client.call(method, path, {}, headers=headers)[0] == 415


def test_a_part_of_a_form_changes_nothing(client: Client) -> None:
    headers = {"content-type": "application/json", "content-disposition": 'form-data; name="a"; filename="blob"'}
    assert client.call("POST", "/pause", {}, headers=headers)[0] == 415
    assert client.get("/status")["State"] == "Running"


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8", " application/json "])
def test_the_type_of_json_may_say_more(client: Client, content_type: str) -> None:
    assert client.call("POST", "/pause", {}, headers={"content-type": content_type})[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_from_elsewhere_may_not_change_anything(client: Client, site: str) -> None:
    headers = {"content-type": "application/json", "sec-fetch-site": site}
    assert client.call("POST", "/pause", {}, headers=headers)[0] == 403
    assert client.get("/status")["State"] == "Running"


def test_every_change_in_the_code_is_guarded(client: Client) -> None:
    for endpoint in client.api.endpoints:
        if endpoint.method != "GET":
            path = endpoint.path.replace("{id}", "1").replace("{name}", "x")
            assert client.call(endpoint.method, path, {}, headers={})[0] == 415, endpoint.path


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/", "/nothing", "/rules/a/b/c", "/history/1/unknown", "/../etc/passwd"])
def test_an_unknown_path_is_not_found(client: Client, path: str) -> None:
    status, answer = client.call("GET", path)
    assert status == 404
    assert "/router/openapi.json" in answer["Error"]


def test_a_wrong_method_says_which_are_right(client: Client) -> None:
    status, answer = client.call("DELETE", "/history")
    assert status == 400
    assert "GET" in answer["Error"]


@pytest.mark.parametrize("identifier", ["#x", "..", "a%2F..", "a?b", "x" * 65, "é"])
def test_what_is_no_id_of_orthanc_never_becomes_part_of_a_path_there(client: Client, identifier: str) -> None:
    before = len(client.orthanc.calls)
    assert client.call("GET", f"/studies/{quote(identifier)}/explain")[0] == 404
    assert client.call("POST", f"/series/{quote(identifier)}/route", {})[0] == 404
    preview = {"Rule": {"Match": {}, "Send": ["ARCHIVE"]}, "Studies": [identifier]}
    assert client.call("POST", "/rules-preview", preview)[0] == 404
    assert len(client.orthanc.calls) == before


@pytest.mark.parametrize("body", [b"[null]", b"1", b"{"])
def test_a_body_where_none_is_read_is_empty_or_an_object(client: Client, body: bytes) -> None:
    assert client.call("POST", "/pause", body)[0] == 400
    assert client.call("POST", "/pause", b"")[0] == 200


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[]", b"null", b'"x"', b'{"Unknown": 1}', b"NaN"])
def test_a_body_that_is_not_what_the_route_takes_is_refused(client: Client, body: bytes) -> None:
    assert client.call("POST", "/history-cancel", body)[0] == 400


def test_an_unknown_parameter_is_refused_and_the_legal_ones_are_named(client: Client) -> None:
    status, answer = client.call("GET", "/history", query={"state": "Failed"})
    assert status == 400
    assert answer["Problems"][0]["Path"] == "state"
    assert "status" in answer["Problems"][0]["Message"]


@pytest.mark.parametrize("path", ["/history/0", "/history/99", "/history/x", "/history/-1", "/history/" + "9" * 40])
def test_an_unknown_delivery_is_not_found(client: Client, path: str) -> None:
    assert client.call("GET", path)[0] == 404
    for what in ("resend", "cancel"):
        assert client.call("POST", f"{path}/{what}", {})[0] == 404


# --- status ----------------------------------------------------------------------------------------------------------


def test_the_status_tells_the_queue(client: Client, store: Store) -> None:
    enqueued(store, "a", at=NOW - 60)
    claimed(store, "b", destination="WORKSTATION")
    told = client.get("/status")
    assert told["State"] == "Running"
    assert told["Queue"] == {"Scheduled": 1, "Sending": 1, "Retrying": 0}
    assert told["OldestWaiting"] == "2026-11-18T11:05:40Z"
    assert told["Problems"] == []


def test_pausing_and_resuming_the_router_shows(client: Client) -> None:
    assert client.post("/pause") == {"State": "Paused"}
    assert client.get("/status")["State"] == "Paused"
    assert client.post("/resume") == {"State": "Running"}
    assert client.get("/status")["State"] == "Running"
    assert client.dispatcher.rung == 2


def test_while_suspended_the_status_tells_why(suspended: Client) -> None:
    told = suspended.get("/status")
    assert told["State"] == "Suspended"
    assert told["Problems"] == [{"Path": "Router.Rules[0].Send", "Message": "A rule needs at least one destination."}]


def test_without_a_database_everything_but_the_status_is_unavailable() -> None:
    client = Client(None, configured({}))
    assert client.get("/status")["State"] == "Suspended"
    assert client.get("/openapi.json")["openapi"].startswith("3.1")
    for path in ("/history", "/history/1", "/studies/x/explain"):
        assert client.call("GET", path)[0] == 503
    assert client.call("POST", "/pause", {})[0] == 503


def test_while_suspended_history_is_there_but_nothing_is_routed(suspended: Client, store: Store) -> None:
    made = enqueued(store)
    assert suspended.get("/history")["Total"] == 1
    assert suspended.get(f"/history/{made}")["Status"] == "Scheduled"
    assert suspended.call("POST", "/studies/x/route", {})[0] == 503


def test_while_suspended_what_was_decided_is_explained(suspended: Client, store: Store) -> None:
    verdict = {"Rule": "", "Matched": True, "Send": ["ARCHIVE"]}
    store.journal.record(NewDecision("Study", "s", "s", "ByHand", [verdict]), [], None, NOW)
    told = suspended.get("/studies/s/explain")
    assert (told["Sentences"], told["Now"]) == (["Sent by hand to ARCHIVE."], [])
    assert suspended.call("GET", "/studies/other/explain")[0] == 503


# --- rules -----------------------------------------------------------------------------------------------------------


def names(client: Client) -> list[tuple[str, str]]:
    return [(each["Name"], each["Origin"]) for each in client.get("/rules")]


def test_rules_of_the_file_come_first_then_those_made_here(client: Client) -> None:
    client.post("/rules", MR)
    client.post("/rules", MR | {"Name": "B"})
    assert names(client) == [("all CT", "Config"), ("all MR", "Database"), ("B", "Database")]
    assert client.call("PUT", "/rules-order", ["B", "all MR"])[0] == 200
    assert [name for name, _ in names(client)] == ["all CT", "B", "all MR"]
    assert client.call("PUT", "/rules-order", ["B"])[0] == 400


def test_a_rule_is_shown_as_it_was_written(client: Client) -> None:
    client.post("/rules", MR | {"Delay": "5m", "Description": "for the ward"})
    told = client.get("/rules/all MR")
    assert {key: told[key] for key in (*MR, "Delay", "Description")} == MR | {
        "Delay": "5m",
        "Description": "for the ward",
    }
    assert (told["Origin"], told["Version"]) == ("Database", 1)


def test_a_rule_is_found_by_its_escaped_name(client: Client) -> None:
    assert client.get("/rules/all%20CT")["Name"] == "all CT"
    assert client.call("GET", "/rules/all%20XX")[0] == 404


def test_a_rule_that_is_there_is_not_added_again(client: Client) -> None:
    client.post("/rules", MR)
    for body in (MR, CT):
        assert client.call("POST", "/rules", body)[0] == 409
    assert len(names(client)) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"Name": "n", "Match": {"StudyDescription": {"Contains": NaN}}, "Send": []}', "NaN"),
        ('{"Name": "n", "Match": {"Rows": 1e400}, "Send": []}', "1e400"),
        ('{"Name": "n", "Match": {"Modality": "CT", "Modality": "MR"}, "Send": []}', '"Modality" comes twice'),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_others_could_not_read_again_is_refused(client: Client, text: str, told: str) -> None:
    status, answer = client.call("POST", "/rules", text.encode())
    assert status == 400
    assert told in answer["Error"]


def test_a_deeply_nested_rule_is_refused(client: Client) -> None:
    value: object = "x"
    for _ in range(300):
        value = [value]
    deep = MR | {"Tests": [{"Given": {"StudyDescription": value}, "Expect": False}]}
    assert client.call("POST", "/rules", deep)[0] == 400
    assert len(names(client)) == 1


@pytest.mark.parametrize("now", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_preview_at_the_end_of_the_calendar_is_refused(client: Client, now: str) -> None:
    status, answer = client.call("POST", "/rules-preview", {"Rule": MR, "Tags": {"Modality": "MR"}, "Now": now})
    assert (status, "1900 to 9000" in answer["Error"]) == (400, True)


def test_while_suspended_all_that_waits_is_canceled_also_behind_what_is_being_sent(
    suspended: Client, store: Store
) -> None:
    claimed(store, "one")
    waiting = enqueued(store, "two")
    assert suspended.post("/history-cancel", {"Filter": {}}) == {"Count": 2}
    assert found(store, waiting).status is Status.CANCELED
    assert suspended.call("POST", f"/history/{waiting}/cancel", {})[0] == 409


def test_a_rule_of_the_file_cannot_be_changed(client: Client) -> None:
    assert client.call("PUT", "/rules/all CT", CT)[0] == 409
    assert client.call("DELETE", "/rules/all CT", {})[0] == 409
    assert client.call("POST", "/rules/all CT/restore", {"Version": 1})[0] == 409


def test_replacing_makes_a_version_and_restoring_another_one(client: Client) -> None:
    client.post("/rules", MR)
    client.call("PUT", "/rules/all MR", {"Match": {"Modality": "MR"}, "Send": ["ARCHIVE"]})
    assert client.get("/rules/all MR")["Send"] == ["ARCHIVE"]
    assert [each["Version"] for each in client.get("/rules/all MR/versions")] == [2, 1]
    assert client.post("/rules/all MR/restore", {"Version": 1})["Send"] == ["WORKSTATION"]
    assert client.get("/rules/all MR")["Version"] == 3
    assert client.call("POST", "/rules/all MR/restore", {"Version": 9})[0] == 404


def test_a_deleted_rule_is_gone_and_can_be_restored(client: Client) -> None:
    client.post("/rules", MR)
    assert client.call("DELETE", "/rules/all MR", {})[0] == 200
    assert client.call("GET", "/rules/all MR")[0] == 404
    assert client.call("DELETE", "/rules/all MR", {})[0] == 404
    assert client.get("/rules/all MR/versions")[0]["Rule"] is None
    assert client.post("/rules/all MR/restore", {"Version": 1})["Name"] == "all MR"


def test_a_rule_that_was_read_is_changed_and_written_as_it_is(client: Client) -> None:
    client.post("/rules", MR)
    told = client.get("/rules/all MR")
    assert client.call("PUT", "/rules/all MR", told | {"Send": ["ARCHIVE"]})[0] == 200
    again = client.get("/rules/all MR")
    assert (again["Send"], again["Version"]) == (["ARCHIVE"], 2)
    assert client.post("/rules-check", {"Rules": [again]})["Problems"] == []
    assert client.get("/rules-export")["Rules"][-1] == MR | {"Send": ["ARCHIVE"]}
    client.post("/rules-import", {"Rules": [again], "Replace": True})
    assert client.get("/rules-export")["Rules"][-1] == MR | {"Send": ["ARCHIVE"]}


def test_a_rule_with_mistakes_is_not_saved_and_all_are_told(client: Client) -> None:
    status, answer = client.call("POST", "/rules", {"Name": "x", "Match": {"Modalty": "CT"}, "Send": ["ARCHIV"]})
    assert status == 400
    assert {each["Path"] for each in answer["Problems"]} == {"Rule.Match.Modalty", "Rule.Send[0]"}
    assert len(names(client)) == 1


def test_the_name_in_the_body_and_in_the_address_must_be_one(client: Client) -> None:
    assert client.call("PUT", "/rules/one", MR | {"Name": "two"})[0] == 400


def test_checking_saves_nothing(client: Client) -> None:
    told = client.post("/rules-check", {"Rules": [MR, {"Name": "x", "Send": ["?"]}]})
    assert [each["Path"] for each in told["Problems"]] == ["Rules[1].Send[0]"]
    assert len(names(client)) == 1


def test_a_saved_rule_brings_its_destination_along(client: Client) -> None:
    client.post("/rules", MR | {"Send": ["CT1"]})
    assert client.dispatcher.added == ["CT1"]
    assert "CT1" in [each["Name"] for each in client.get("/destinations")]


def test_checking_tells_also_which_names_come_twice(client: Client) -> None:
    client.post("/rules", MR)
    told = client.post("/rules-check", {"Rules": [CT, MR, MR | {"Send": ["ARCHIVE"]}]})
    assert [each["Path"] for each in told["Problems"]] == ["Rules[2].Name"]


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_no_address_can_hold_is_refused(client: Client, name: str) -> None:
    status, answer = client.call("POST", "/rules", MR | {"Name": name})
    assert (status, answer["Problems"][0]["Path"]) == (400, "Rule.Name")


def gone(client: Client, body: dict[str, Any]) -> Client:
    """The router started again, after one of its rules came to name a destination that there is no more."""
    client.services.need_store().rule_book.put(body, NOW)
    client.services.load_rules()
    return client


def test_a_rule_made_here_whose_destination_is_gone_is_shown_with_the_reason(client: Client) -> None:
    client.post("/rules", MR)
    lost = MR | {"Name": "lost", "Send": ["NOWHERE"]}
    gone(client, lost)
    assert names(client) == [("all CT", "Config"), ("all MR", "Database"), ("lost", "Database")]
    told = client.get("/rules/lost")
    assert told["Send"] == ["NOWHERE"]
    assert [each["Path"] for each in told["Warnings"]] == ["Send[0]"]
    assert client.get("/rules-export")["Rules"][-1] == lost
    assert "Rules.lost.Send[0]" in [each["Path"] for each in client.get("/status")["Warnings"]]
    assert client.call("POST", "/rules", MR | {"Name": "lost"})[0] == 409
    assert client.call("PUT", "/rules-order", ["lost", "all MR"])[0] == 200
    assert [name for name, _ in names(client)] == ["all CT", "lost", "all MR"]
    assert client.call("DELETE", "/rules/lost", {})[0] == 200
    assert len(names(client)) == 2


def test_what_a_rule_sends_to_a_destination_that_is_gone_waits_for_it(client: Client, store: Store) -> None:
    gone(client, CT | {"Name": "lost", "Send": ["NOWHERE"]})
    client.orthanc.receive("ct")
    made = [found(store, each) for each in client.post("/studies/ct/route")["Deliveries"]]
    assert {each.destination for each in made} == {"ARCHIVE", "WORKSTATION", "NOWHERE"}


def test_a_rule_that_is_no_rule_any_more_is_shown_with_the_reason(client: Client) -> None:
    gone(client, CT | {"Name": "old", "Was": "legal"})
    told = client.get("/rules/old")
    assert (told["Was"], [each["Path"] for each in told["Warnings"]]) == ("legal", ["Was"])
    assert client.get("/rules-export")["Rules"][-1]["Name"] == "old"
    assert client.call("POST", "/rules", CT | {"Name": "old"})[0] == 409


def test_a_rule_made_here_gives_way_to_its_namesake_of_the_file_and_hinders_no_order(client: Client) -> None:
    client.post("/rules", MR)
    gone(client, CT | {"Send": ["WORKSTATION"]})
    assert names(client) == [("all CT", "Config"), ("all MR", "Database")]
    assert "Rules.all CT" in [each["Path"] for each in client.get("/status")["Warnings"]]
    assert client.call("PUT", "/rules-order", ["all CT", "all MR"])[0] == 200
    assert client.call("PUT", "/rules-order", ["all MR"])[0] == 200


def test_rules_that_are_saved_at_once_are_saved_one_after_the_other(client: Client) -> None:
    """The last one that is kept is the one that is active, and a name is given once."""
    together = threading.Barrier(8)

    def save(number: int) -> int:
        together.wait()
        status, _ = client.call("PUT", "/rules/same", MR | {"Name": "same", "Description": str(number)})
        return status + client.call("POST", "/rules", MR | {"Name": "new"})[0]

    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(save, range(8)))
    assert statuses == {400: 1, 609: 7}
    kept = client.get("/rules/same/versions")[0]
    active = client.get("/rules/same")
    assert (active["Version"], active["Description"]) == (8, kept["Rule"]["Description"])


# --- history ---------------------------------------------------------------------------------------------------------

KEYS = {
    *("ID", "Status", "Reason", "Rule", "RuleVersion", "Destination", "Level", "ResourceID", "StudyInstanceUID"),
    *("PatientID", "PatientName", "AccessionNumber", "StudyDate", "StudyDescription", "Modalities", "RemoteAET"),
    *("CalledAET", "Priority", "InstancesCount", "InstancesSent", "InstancesRefused", "Bytes", "Attempts", "CreatedAt"),
    *("StartedAt", "CompletedAt", "NextAttempt", "Verified", "LastError", "ResendOf"),
}


def test_a_delivery_has_the_keys_of_the_contract(client: Client, store: Store) -> None:
    enqueued(store)
    (told,) = client.get("/history")["Items"]
    assert set(told) == KEYS
    assert (told["CreatedAt"], told["StartedAt"], told["LastError"]) == ("2026-11-18T11:06:40Z", None, None)


def test_pages_are_walked_by_their_cursor(client: Client, store: Store) -> None:
    made = [enqueued(store, f"s{number}") for number in range(5)]
    seen, query = [], {"limit": "2"}
    while True:
        page = client.get("/history", **query)
        assert page["Total"] == 5
        seen += [each["ID"] for each in page["Items"]]
        if page["Next"] is None:
            break
        query["cursor"] = page["Next"]
    assert seen == made[::-1]


def test_the_default_page_is_100_and_the_largest_1000(client: Client, store: Store) -> None:
    fill(store, 0, 1005)
    assert len(client.get("/history")["Items"]) == 100
    assert len(client.get("/history", limit="5000")["Items"]) == 1000


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "x"},
        {"limit": "-1"},
        {"cursor": "x"},
        {"status": "Waiting"},
        {"from": "yesterday"},
        {"to": "2026-13-01"},
    ],
    ids=str,
)
def test_a_query_that_means_nothing_is_refused(client: Client, query: dict[str, str]) -> None:
    status, answer = client.call("GET", "/history", query=query)
    assert status == 400
    assert [each["Path"] for each in answer["Problems"]] == list(query)


def claimed_at_once(store: Store) -> list[NewDelivery]:
    """What is queued from now on; a dispatcher claims each before the next is made."""
    plain, made = store.queue.enqueue, []

    def enqueue(new: NewDelivery, now: float) -> int | None:
        made.append(new)
        delivery = plain(new, now)
        assert delivery is None or store.queue.claim(new.destination, f"lease {delivery}", now) is not None
        return delivery

    store.queue.enqueue = enqueue  # type: ignore[method-assign]
    return made


def test_many_are_resent_once_for_each_study_and_destination(client: Client, store: Store) -> None:
    first = ended(store, Status.COMPLETED, "study")
    late = ended(store, Status.WARNING, "study")
    other = ended(store, Status.FAILED, "other")
    made = claimed_at_once(store)
    assert client.post("/history-resend", {"Filter": {"Destination": ARCHIVE}}) == {"Count": 2}
    assert first.id < late.id
    assert [(new.resend_of, new.renew) for new in made] == [(late.id, True), (other.id, False)]


def test_what_had_several_options_is_sent_once_to_another_destination(client: Client, store: Store) -> None:
    """The options of a Send stay with its destination."""
    ended(store, Status.COMPLETED, "study", options='{"Transcode": "1.2.840.10008.1.2.4.80"}')
    late = ended(store, Status.COMPLETED, "study", options='{"Instances": {"Modality": "CT"}}')
    made = claimed_at_once(store)
    body = {"Filter": {"Destination": ARCHIVE}, "Destination": "WORKSTATION"}
    assert client.post("/history-resend", body) == {"Count": 1}
    assert [(new.resend_of, new.destination) for new in made] == [(late.id, "WORKSTATION")]


def test_each_filter_narrows(client: Client, store: Store) -> None:
    one = ended(store, Status.FAILED, "one").id
    two = enqueued(store, "two", at=NOW + 86400, destination="WORKSTATION")
    for query, expected in (
        ({"status": "Failed"}, [one]),
        ({"status": "failed, scheduled"}, [two, one]),
        ({"rule": "all CT"}, [two, one]),
        ({"rule": "other"}, []),
        ({"destination": "WORKSTATION"}, [two]),
        ({"study": "one"}, [one]),
        ({"study": "1.2.two"}, [two]),
        ({"patient": "P-one"}, [one]),
        ({"accession": "A-two"}, [two]),
        ({"from": "2026-11-19"}, [two]),
        ({"to": "2026-11-19T00:00:00Z"}, [one]),
        ({"q": "P-two"}, [two]),
        ({"q": ""}, [two, one]),
    ):
        assert [each["ID"] for each in client.get("/history", **query)["Items"]] == expected, query


def test_one_delivery_tells_its_story(client: Client, store: Store) -> None:
    delivery = claimed(store)
    store.queue.job_submitted(delivery, "job-1")
    store.queue.refused(delivery, instance(1), NOT_UNDERSTOOD, NOW)
    store.queue.fail(delivery, BROKEN, 1, 1, NOW + 30, NOW)
    told = client.get(f"/history/{delivery.id}")
    assert told["Status"] == "Retrying"
    assert told["NextAttempt"] == "2026-11-18T11:07:10Z"
    assert [(each["Number"], each["Jobs"], each["Error"]["Code"]) for each in told["Attempts"]] == [
        (1, ["job-1"], "Aborted")
    ]
    assert [each["Status"] for each in told["Timeline"]] == ["Scheduled", "Sending", "Retrying"]
    assert [each["SOPInstanceUID"] for each in told["RefusedInstances"]] == ["1.2.1"]
    assert told["LastError"] == {"Class": "Transient", "Code": "Aborted", "Message": BROKEN.message}


def test_a_waiting_delivery_tells_why_it_waits_now(client: Client, store: Store) -> None:
    made = enqueued(store)
    assert client.get(f"/history/{made}")["Reason"] == Reason.QUEUED
    client.dispatcher.blocks["ARCHIVE"] = HELD
    told = client.get(f"/history/{made}")
    assert (told["Reason"], told["NextAttempt"]) == (Reason.HELD, "2026-11-18T11:07:10Z")
    client.dispatcher.blocks["ARCHIVE"] = Blocked(Reason.PAUSED)
    assert client.get(f"/history/{made}")["Reason"] == Reason.PAUSED


@pytest.mark.parametrize("status", sorted(FINAL))
def test_what_has_ended_is_sent_again_as_a_new_delivery(client: Client, store: Store, status: Status) -> None:
    old = ended(store, status)
    answer = client.post(f"/history/{old.id}/resend")
    new = found(store, answer["ID"])
    assert (new.resend_of, new.destination, new.status) == (old.id, ARCHIVE, Status.SCHEDULED)
    assert new.renew == (status is Status.COMPLETED)
    assert client.dispatcher.rung
    assert client.call("POST", f"/history/{old.id}/resend", {})[0] == 409  # it waits already


def test_what_was_sent_goes_elsewhere_on_demand(client: Client, store: Store) -> None:
    old = ended(store, Status.FAILED)
    made = client.post(f"/history/{old.id}/resend", {"Destination": "WORKSTATION", "Instances": "All"})["ID"]
    assert (found(store, made).destination, found(store, made).renew) == ("WORKSTATION", True)
    status, answer = client.call("POST", f"/history/{old.id}/resend", {"Destination": "WORKSTATIN"})
    assert status == 400
    assert 'Did you mean "WORKSTATION"?' in answer["Error"]


def test_what_has_not_ended_is_not_sent_again(client: Client, store: Store) -> None:
    for made in (enqueued(store, "waits"), claimed(store, "sends", destination="WORKSTATION").id):
        assert client.call("POST", f"/history/{made}/resend", {})[0] == 409


def test_a_waiting_delivery_is_moved_to_another_destination(client: Client, store: Store) -> None:
    old = enqueued(store)
    made = client.post(f"/history/{old}/resend", {"Destination": "WORKSTATION"})["ID"]
    assert found(store, old).status is Status.CANCELED
    assert (found(store, made).destination, found(store, made).resend_of) == ("WORKSTATION", old)


def test_canceling(client: Client, store: Store) -> None:
    waiting = enqueued(store, "waits")
    sending = claimed(store, "sends", destination="WORKSTATION").id
    assert client.post(f"/history/{waiting}/cancel") == {"ID": waiting, "Status": "Canceled"}
    assert client.post(f"/history/{sending}/cancel") == {"ID": sending, "Status": "Sending"}
    assert client.dispatcher.canceled == [sending]
    assert client.call("POST", f"/history/{waiting}/cancel", {})[0] == 409


def test_many_are_canceled_and_sent_again_by_a_filter(client: Client, store: Store) -> None:
    for number in range(3):
        enqueued(store, f"a{number}")
        enqueued(store, f"w{number}", destination="WORKSTATION")
    done = ended(store, Status.COMPLETED, "done", destination="CT1")
    assert client.post("/history-cancel", {"Filter": {"Destination": "ARCHIVE"}}) == {"Count": 3}
    assert client.post("/history-resend", {"Filter": {"Status": "Canceled"}}) == {"Count": 3}
    assert client.post("/history-cancel", {"Filter": {"Study": "done"}}) == {"Count": 0}
    assert found(store, done.id).status is Status.COMPLETED
    assert client.call("POST", "/history-cancel", {})[0] == 400
    assert client.call("POST", "/history-cancel", {"Filter": {"Status": "bogus"}})[0] == 400


def test_a_filter_of_many_takes_every_parameter_of_the_query_and_names_the_wrong_one(client: Client) -> None:
    for key in ("from", "From"):
        assert client.post("/history-cancel", {"Filter": {key: "2026-11-23"}}) == {"Count": 0}
    for key in ("Status", "From", "To"):
        status, answer = client.call("POST", "/history-cancel", {"Filter": {key: "nonsense"}})
        assert (status, [each["Path"] for each in answer["Problems"]]) == (400, [f"Filter.{key}"])


def test_a_time_that_is_shown_finds_its_delivery_and_a_day_is_whole(client: Client, store: Store) -> None:
    enqueued(store, "s", at=NOW + 0.5)
    (item,) = client.get("/history")["Items"]
    made = item["CreatedAt"]
    for query in ({"from": made, "to": made}, {"to": made[:10]}, {"from": made[:10], "to": made[:10]}):
        assert client.get("/history", **query)["Total"] == 1, query


def test_the_name_of_a_patient_is_found_in_upper_and_lower_case(client: Client, store: Store) -> None:
    enqueued(store, "s", subject=replace(subject("s"), patient_name="Müller^Jörg"))
    for part in ("müller", "MÜLLER", "Müller^Jörg", "JÖRG", "ller"):
        assert client.get("/history", patient=part)["Total"] == 1, part
    assert client.get("/history", patient="Möller")["Total"] == 0


# --- studies ---------------------------------------------------------------------------------------------------------


def test_a_study_is_routed_by_all_rules(client: Client, store: Store) -> None:
    client.orthanc.receive("ct")
    made = client.post("/studies/ct/route")
    assert {found(store, each).destination for each in made["Deliveries"]} == {"ARCHIVE", "WORKSTATION"}
    assert [each["Matched"] for each in made["Decision"]] == [True]
    assert client.dispatcher.rung


def test_a_study_is_sent_by_hand(client: Client, store: Store) -> None:
    client.orthanc.receive("mr", tags={"Modality": "MR"})
    made = client.post("/studies/mr/route", {"Destinations": ["ARCHIVE"]})
    (delivery,) = [found(store, each) for each in made["Deliveries"]]
    assert (delivery.destination, delivery.priority, delivery.renew) == ("ARCHIVE", "Urgent", True)


def test_only_the_named_rules_are_looked_at(client: Client) -> None:
    client.post("/rules", {"Name": "extra", "Send": ["WORKSTATION"]})
    client.orthanc.receive("ct")
    assert len(client.post("/studies/ct/route", {"Rules": ["extra"]})["Deliveries"]) == 1


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"Rules": ["all XX"]}, "Rules[0]"),
        ({"Destinations": ["ARCHIV"]}, "Destinations[0]"),
        ({"Destinations": ["ARCHIVE"], "Rules": ["all CT"]}, None),
        ({"Destination": "ARCHIVE"}, "Destination"),
    ],
)
def test_a_wrong_order_to_route_is_refused(client: Client, body: dict[str, Any], path: str | None) -> None:
    client.orthanc.receive("ct")
    status, answer = client.call("POST", "/studies/ct/route", body)
    assert status == 400
    assert [each["Path"] for each in answer["Problems"]] == ([path] if path else [])


def test_a_study_that_orthanc_does_not_have_is_not_found(client: Client) -> None:
    assert client.call("POST", "/studies/none/route", {})[0] == 404
    assert client.call("POST", "/studies/none/route", {"Destinations": ["ARCHIVE"]})[0] == 404
    assert client.call("GET", "/studies/never/explain")[0] == 404


def test_an_orthanc_that_does_not_answer_is_told(client: Client) -> None:
    client.orthanc.receive("ct")
    client.orthanc.failures["/"] = unreachable()
    assert client.call("POST", "/studies/ct/route", {})[0] == 503
    assert client.call("GET", "/studies/ct/explain")[0] == 503


@pytest.mark.parametrize("body", [{"Rules": []}, {"Destinations": []}])
def test_to_name_nothing_is_no_order_to_route(client: Client, body: dict[str, Any]) -> None:
    client.orthanc.receive("ct")
    assert client.call("POST", "/studies/ct/route", body)[0] == 400


@pytest.mark.parametrize("level", ["studies", "series", "patients"])
@pytest.mark.parametrize("body", [{}, {"Destinations": ["ARCHIVE"]}])
def test_what_orthanc_does_not_have_at_this_level_is_neither_routed_nor_written_down(
    client: Client, store: Store, level: str, body: dict[str, Any]
) -> None:
    client.orthanc.receive("ct", instance="ct-1")
    for other in {"ct", "ct-a", "patient-of-ct"} - {{"studies": "ct", "series": "ct-a"}.get(level, "patient-of-ct")}:
        assert client.call("POST", f"/{level}/{other}/route", body)[0] == 404
    assert client.get("/history")["Total"] == 0
    assert store.journal.decisions("ct") == []


def test_what_the_rules_of_now_would_not_send_is_explained_too(client: Client) -> None:
    client.orthanc.receive("ct", metadata={"RemoteAET": "ARCHIVE"})
    (now,) = client.get("/studies/ct/explain")["Now"]
    assert now["NotSent"] == [{"Destination": "ARCHIVE", "Why": "It came from there."}]
    client.orthanc.study_metadata["ct"] = {"ModifiedFrom": "another"}
    (now,) = client.get("/studies/ct/explain")["Now"]
    assert now["Skipped"] == "It is a modified copy of another study."


def test_a_preview_promises_nothing_to_where_a_study_came_from(client: Client) -> None:
    client.orthanc.receive("ct", metadata={"RemoteAET": "CT1"})
    told = client.post("/rules-preview", {"Rule": CT | {"Name": "back", "Send": ["CT1"]}, "Studies": ["ct"]})
    assert told["Difference"] == []
    assert told["Items"][0]["Matched"]
    assert told["Items"][0]["Send"] == []


def test_a_study_is_explained(client: Client) -> None:
    client.orthanc.receive("ct")
    before = client.get("/studies/ct/explain")
    assert before["Stored"] == []
    assert "has not looked at" in before["Sentences"][0]
    client.post("/studies/ct/route")
    after = client.get("/studies/ct/explain")
    assert [each["Matched"] for each in after["Now"]] == [True]
    assert len(after["Stored"]) == 1
    assert len(after["Deliveries"]) == 2
    assert any('Rule "all CT" matched' in sentence for sentence in after["Sentences"])


def test_a_deleted_study_is_still_explained_from_what_was_stored(client: Client) -> None:
    client.orthanc.receive("ct")
    client.post("/studies/ct/route")
    client.orthanc.delete_study("ct")
    told = client.get("/studies/ct/explain")
    assert (len(told["Stored"]), told["Now"]) == (1, [])


SEG = "seg (process)"
WITH_PROCESS = {"Name": "seg", "Match": {"Modality": "CT"}, "Process": {"Command": ["/opt/seg"]}, "Send": ["ARCHIVE"]}


def test_the_process_of_a_deleted_rule_is_no_destination_any_more(client: Client, store: Store) -> None:
    client.orthanc.receive("ct", tags={"Modality": "CT"})
    client.post("/rules", WITH_PROCESS)
    assert SEG in [each["Name"] for each in client.get("/destinations")]
    assert SEG in [each["Name"] for each in client.get("/rules-destinations")]
    failed = ended(store, Status.FAILED, destination=SEG).id
    elsewhere = ended(store, Status.FAILED, "other").id
    client.call("DELETE", "/rules/seg")
    assert SEG not in [each["Name"] for each in client.get("/destinations")]
    assert SEG not in [each["Name"] for each in client.get("/rules-destinations")]
    assert client.call("POST", "/studies/ct/route", {"Destinations": [SEG]})[0] == 400
    assert client.call("POST", f"/history/{failed}/resend", {})[0] == 409
    assert client.call("POST", f"/history/{elsewhere}/resend", {"Destination": SEG})[0] == 400
    assert client.call("POST", "/history-resend", {"Filter": {}, "Destination": SEG})[0] == 400
    assert client.post("/history-resend", {"Filter": {"Destination": SEG}})["Count"] == 0
    assert client.call("POST", f"/history/{failed}/resend", {"Destination": "ARCHIVE"})[0] == 200
    client.post("/rules", WITH_PROCESS)
    assert client.call("POST", "/studies/ct/route", {"Destinations": [SEG]})[0] == 200


def test_a_rule_that_names_a_process_is_not_told_that_very_name(client: Client) -> None:
    client.post("/rules", WITH_PROCESS)
    status, told = client.call("POST", "/rules", {"Name": "other", "Match": {}, "Send": [SEG]})
    assert status == 400
    assert told["Problems"][0]["Message"].startswith(f'There is no destination "{SEG}".')
    assert "Did you mean" not in told["Problems"][0]["Message"]


# --- destinations ----------------------------------------------------------------------------------------------------


def test_destinations_tell_their_health(client: Client, store: Store) -> None:
    enqueued(store, at=NOW - 60)
    store.queue.fail(claimed(store, "x", destination="WORKSTATION"), DEAD, 0, 0, NOW + 60, NOW)
    client.dispatcher.blocks["WORKSTATION"] = HELD
    archive, workstation = client.get("/destinations")
    assert (archive["Name"], archive["Kind"], archive["State"], archive["Counts"]["Scheduled"]) == (
        "ARCHIVE",
        "Modality",
        "Up",
        1,
    )
    assert (workstation["State"], workstation["Until"]) == ("Held", "2026-11-18T11:07:10Z")
    assert workstation["LastError"]["Code"] == "ConnectionFailed"
    assert client.get("/destinations/WORKSTATION") == workstation


def test_a_destination_is_paused_and_resumed(client: Client, store: Store) -> None:
    client.post("/destinations/ARCHIVE/pause")
    assert store.switches.destination_paused("ARCHIVE")
    client.post("/destinations/ARCHIVE/resume")
    assert not store.switches.destination_paused("ARCHIVE")
    assert client.dispatcher.rung == 2


def test_a_destination_is_tested(client: Client) -> None:
    told = client.post("/destinations/ARCHIVE/test")
    assert (told["Ok"], told["Error"]) == (True, None)
    client.transport.error = DEAD
    told = client.post("/destinations/ARCHIVE/test")
    assert (told["Ok"], told["Error"]["Code"]) == (False, "ConnectionFailed")


def test_an_unknown_destination_is_not_found(client: Client) -> None:
    assert client.call("GET", "/destinations/NONE")[0] == 404
    for what in ("pause", "resume", "test"):
        assert client.call("POST", f"/destinations/NONE/{what}", {})[0] == 404
