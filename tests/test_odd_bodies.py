# SPDX-License-Identifier: AGPL-3.0-or-later
"""Bodies of every kind: none makes a handler raise, none gets a 5xx or an answer that the document does not say.

FUZZ_EXAMPLES says how many; 10,000 have been run, see docs/reliability.md.
"""

import copy
import json
import math
import os
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from builders import NOT_UNDERSTOOD, NOW, claimed, configured, emptied, ended, enqueued
from dicom_router.deliveries.delivery import Status
from dicom_router.store.store import Store
from rest_client import Client

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))

RULE: dict[str, Any] = {
    "Name": "made here",
    "Description": "x",
    "Enabled": True,
    "Trigger": "StableStudy",
    "Level": "Study",
    "Match": {"Modality": ["CT", "MR"], "Any": [{"StudyDate": {"NewerThan": "7d"}}, {"PatientID": {"Regex": "^A"}}]},
    "Instances": {"InstanceNumber": {"Le": 5}},
    "Send": [
        "ARCHIVE",
        {"To": "WORKSTATION", "Schedule": "19:00-07:00"},
        {"FirstOf": ["ARCHIVE", "CT1"], "After": "5m"},
    ],
    "Schedule": {"Cron": "0 19 * * *", "For": "12h"},
    "Delay": "5s",
    "Priority": "Low",
    "DeleteAfterSend": False,
    "Modify": {"Replace": {"StudyDescription": "X"}},
    "Stop": True,
    "Tests": [{"Given": {"Modality": "CT", "PatientID": "A1"}, "Expect": True}],
}
FILTER = {
    "Status": "Failed",
    "Rule": "all CT",
    "From": "2026-11-22T01:02:03Z",
    "To": "2026-11-23",
    "Q": "doe",
    "Study": "s",
}
RIGHT: dict[str, Any] = {
    "/rules": RULE,
    "/rules/{name}": RULE | {"Name": "kept"},
    "/rules-order": ["made here", "kept"],
    "/rules/{name}/restore": {"Version": 1},
    "/rules-check": {"Rules": [RULE]},
    "/rules-preview": {"Rule": RULE, "Tags": {"Modality": "CT", "StudyDate": "20261122"}},
    "/rules-import": {"Rules": [RULE], "Replace": False},
    "/backfill": {"Query": {"Modality": "CT"}, "Rules": ["kept"], "DryRun": True},
    "/history/{id}/resend": {"Destination": "ARCHIVE", "Instances": "All"},
    "/history-resend": {"Filter": FILTER, "Destination": "ARCHIVE"},
    "/history-cancel": {"Filter": FILTER},
    "/studies/{id}/route": {"Rules": ["kept"]},
    "/series/{id}/route": {"Destinations": ["ARCHIVE"]},
    "/patients/{id}/route": {"Destinations": ["ARCHIVE"]},
}
WORDS = (
    *("Process", "Command", "Anonymize", "Modify", "Timeout", "Transcode", "When", "From", "Reroute"),
    *("Match", "Any", "All", "None", "Name", "Send", "To", "FirstOf", "OneOf", "By", "Patient", "Regex", "Between"),
    *("PatientID", "StudyDate", "0010,0020", "gggg,eeee", "RequestAttributesSequence.ScheduledProcedureStepID"),
    *("RemoteIP", "10.0.0.0/8", "2026-02-30", "20261122-", "25:00-07:00", "Mon-Fri 08:00-12:00", "m10 < 5", "-5m"),
    *("9e99d", "0 0 31 2 *", "((((", "a{9999999}", "(?P<a>", "../..", "ARCHIVE", "made here", "kept", "", " ", "\0"),
    *("\ud800", "\u202e", "é" * 65, "x" * 5000, "<script>", "'; DROP TABLE delivery; --", "%s%n", "{}", "${HOME}"),
)
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([2**63, -(2**63) - 1, 10**400, 1e308, -0.0]))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.sampled_from(WORDS), st.text(max_size=20))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
IDS = st.one_of(st.integers(0, 6).map(str), st.sampled_from(["s", "s-a", "patient-of-s", "kept", "made here", "x"]))
DEEP = b"[" * 5000 + b"]" * 5000


def changed(draw: st.DrawFn, value: Any) -> Any:
    """The value with something in it replaced, removed or added, at any depth."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        new = dict(value)
        what = draw(st.sampled_from(["inside", "inside", "inside", "remove", "rename", "add"]))
        if what == "inside":
            new[key] = changed(draw, value[key])
        elif what == "remove":
            del new[key]
        elif what == "rename":
            new[draw(st.sampled_from(WORDS))] = new.pop(key)
        else:
            new[draw(st.sampled_from(WORDS))] = draw(VALUES)
        return new
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], changed(draw, value[index]), *value[index + 1 :]]
    return draw(VALUES)


@st.composite
def bodies(draw: st.DrawFn, path: str) -> bytes:
    """Mostly near to what is right: anything else is refused at the door."""
    kind = draw(st.sampled_from(["near", "near", "near", "json", "bytes"]))
    if kind == "bytes":
        return draw(st.binary(max_size=60))
    value = draw(VALUES)
    if kind == "near":
        value = copy.deepcopy(RIGHT.get(path, {}))
        for _ in range(draw(st.integers(1, 3))):
            value = changed(draw, value)
    return json.dumps(value, allow_nan=True, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, str, bytes]:
    """Method, path of the endpoint, the same with its parameters, body."""
    method, path = draw(st.sampled_from(CHANGES))
    asked = path.replace("{id}", draw(IDS)).replace("{name}", draw(IDS))
    return method, path, asked, draw(bodies(path))


CHANGES = [
    *(("POST", path) for path in RIGHT if path not in {"/rules/{name}", "/rules-order"}),
    *(("PUT", path) for path in ("/rules/{name}", "/rules-order")),
    *(("POST", path) for path in ("/pause", "/resume", "/history/{id}/cancel")),
    *(("POST", f"/destinations/{{name}}/{what}") for what in ("pause", "resume", "test")),
    *(("DELETE", path) for path in ("/rules/{name}", "/backfill")),
]


ELSEWHERE = frozenset({"/backfill"})  # needs a thread, and answers 503 without


@pytest.fixture
def client(store: Store) -> Client:
    section = {
        "Destinations": {"ARCHIVE": {"Modality": "ARCHIVE"}},
        "Rules": [{"Match": {}, "Send": ["ARCHIVE"]} | {"Name": "all CT"}],
    }
    made = Client(store, configured(section))
    made.orthanc.receive("s", tags={"StudyDate": "20261122"})
    return made


def begin_anew(client: Client) -> list[int]:
    """A rule, and deliveries in several states; their IDs."""
    store = client.store
    assert store is not None
    emptied(store.database)
    client.services.load_rules()
    client.post("/rules", {"Name": "kept", "Match": {"Modality": "CT"}, "Send": ["ARCHIVE"]})
    sending = claimed(store, "t")
    failed = claimed(store, "u", lease="other")
    assert store.queue.fail(failed, NOT_UNDERSTOOD, 0, 1, None, NOW)
    return [sending.id, failed.id, ended(store, Status.COMPLETED, "v").id, enqueued(store, "s")]


def meant(path: str, deliveries: list[int]) -> str:
    """The path with the real IDs of deliveries for small numbers."""
    found = re.fullmatch(r"/history/(\d+)(/.*)", path)
    if found is None or int(found[1]) >= len(deliveries):
        return path
    return f"/history/{deliveries[int(found[1])]}{found[2]}"


def test_no_body_makes_a_handler_raise_or_answer_otherwise_than_documented(client: Client) -> None:
    deliveries = begin_anew(client)

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(requests())
    @example(("POST", "/rules", "/rules", DEEP))
    @example(("POST", "/rules-check", "/rules-check", b'{"Rules": [{"Name": ' + b"9" * 5000 + b"}]}"))
    @example(("POST", "/rules", "/rules", json.dumps({"Name": math.inf}).encode()))
    def check(request: tuple[str, str, str, bytes]) -> None:
        method, _, path, body = request
        status, _ = client.call(method, meant(path, deliveries), body)
        assert status < 500 or status == 503
        if status == 200:
            deliveries[:] = begin_anew(client)

    check()


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_the_bodies_that_the_odd_ones_are_made_of_are_right(client: Client, method: str, path: str) -> None:
    """Otherwise they would try nothing but the first check."""
    deliveries = begin_anew(client)
    ids = {"/studies": "s", "/series": "s-a", "/patients": "patient-of-s"}
    asked = path.replace("{id}", ids.get(path[: path.find("/", 1)], "3" if path.endswith("cancel") else "1"))
    name = "ARCHIVE" if path.startswith("/destinations") else "kept"
    body = ["kept"] if path == "/rules-order" else RIGHT.get(path, {})
    status, answer = client.call(method, meant(asked.replace("{name}", name), deliveries), body)
    if path not in ELSEWHERE:
        assert status == 200, answer
