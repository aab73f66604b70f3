# SPDX-License-Identifier: AGPL-3.0-or-later
"""What docs/security.md promises, at a real Orthanc: forged requests, hostile tags, secrets, and who did what."""

from pathlib import Path
from typing import Any

import urllib3

from support.router import Router
from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study

SMALL = (16, 16)
SECRET = "S3cr3t"
RULE = {"Name": "kept", "Match": {"Modality": "CT"}, "Send": ["PACS"]}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# What a page of somebody else can make a browser send, and what a proxy could be talked into.
FORGED: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("GET", "/pause?_method=POST", {}),
    ("GET", "/rules/kept?_method=DELETE", {}),
    ("GET", "/rules/kept?_method=PUT", {"X-HTTP-Method-Override": "PUT"}),
    ("POST", "/rules/kept", {"X-HTTP-Method-Override": "DELETE"}),
    ("POST", "/rules/kept", {"X-HTTP-Method-Override": "DELETE", "Content-Type": "text/plain"}),
    ("POST", "/pause", FORM),
)
FILE_IN_A_FORM = (
    b'--x\r\nContent-Disposition: form-data; name="a"; filename="blob"\r\n'
    b"Content-Type: application/json\r\n\r\n{}\r\n--x--\r\n"
)
# Each tries to be something else than a value.
HOSTILE = {
    "PatientID": "../../up",
    "PatientName": "<img src=x onerror=window.owned=1>^$(touch owned)",
    "AccessionNumber": "';DROP TABLE--",
    "StudyDescription": "a\nE0101 forged: line `touch owned`",
    "StationName": '"; touch owned #',
}


def test_what_a_page_of_somebody_else_can_send_changes_nothing(start_router: StartRouter, start_scp: StartScp) -> None:
    router = start_router({"PACS": start_scp("PACS").node}, rules=[])
    router.router_post("/rules", RULE)
    for method, path, headers in FORGED:
        body = b"" if method == "GET" else b"{}"
        answer = urllib3.request(method, f"{router.url}/router{path}", body=body, headers=headers)
        assert answer.status in {400, 415}, (method, path, headers)  # 400: Orthanc makes no POST of a GET
    # Orthanc answers 200 to a form, whatever became of its parts.
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    urllib3.request("POST", f"{router.url}/router/pause", body=FILE_IN_A_FORM, headers=form)
    assert router.router_get("/status")["State"] == "Running"
    assert [(rule["Name"], rule["Version"]) for rule in router.router_get("/rules")] == [("kept", 1)]


def test_a_hostile_tag_stays_a_value_wherever_it_goes(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    pacs, export = start_scp("PACS"), tmp_path / "export"
    export.mkdir()
    command = ["/bin/sh", "-c", 'cat info.json > seen.json; echo \'[{"success": "success"}]\' > proc.json']
    rules = [
        {"Name": "all", "Match": {}, "Send": ["PACS", "EXPORT"]},
        {"Name": "seg", "Match": {}, "Process": {"Command": command}, "Send": [{"To": "PACS", "From": "Input"}]},
    ]
    path = "{PatientID}/{PatientName}/{StudyDescription}-{AccessionNumber}/{SOPInstanceUID}.dcm"
    section = {"Destinations": {"EXPORT": {"Folder": str(export), "Path": path}}}
    router = start_router({"PACS": pacs.node}, rules=rules, section=section)
    study = make_study(tmp_path / "study", instances=1, pixels=SMALL, **HOSTILE)
    assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    deliveries = router.wait_for_deliveries(
        lambda found: len(found) >= 3 and all(each["Status"] == "Completed" for each in found), 60
    )

    # SQL: the values are found as they are, and the table is still there.
    assert {each["PatientName"] for each in deliveries} == {HOSTILE["PatientName"]}
    assert router.history(accession=HOSTILE["AccessionNumber"], patient=HOSTILE["PatientID"])
    assert router.history(q="drop table")

    # Names of files: all below the folder, and nothing was made anywhere else.
    (written,) = export.rglob("*.dcm")
    assert len(written.relative_to(export).parts) == 4
    assert not list(tmp_path.rglob("up"))

    # Commands and the log.
    assert not list(tmp_path.rglob("owned"))
    assert not [line for line in router.log().splitlines() if line.startswith("E0101")]
    assert HOSTILE["PatientName"] not in router.log()


def test_no_secret_of_orthanc_json_is_in_any_answer_or_in_the_log(
    start_router: StartRouter, start_scp: StartScp
) -> None:
    router = guarded(start_router, start_scp)
    router.router_post("/rules", {**RULE, "Send": ["PACS", "PEER", "EXPORT"]})
    paths = [path for path, told in router.router_get("/openapi.json")["paths"].items() if "get" in told]
    assert len(paths) > 10
    answers = [router.router_request("GET", _filled(path.removeprefix("/router"))) for path in paths]
    assert all(answer.status in (200, 400, 404) for answer in answers)
    bad = [
        router.router_request("POST", "/rules", {"Name": "x", "Match": {}, "Send": ["NOBODY"]}),
        router.router_request("POST", "/destinations/PEER/test", {}),
        router.router_request("POST", "/rules-check", {"Rules": [{"Send": [SECRET[::-1]]}]}),
    ]
    for answer in [*answers, *bad]:
        assert SECRET.encode() not in answer.body
    assert SECRET not in router.log()


def test_who_did_what_is_kept_with_the_name_that_orthanc_checked(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    router = guarded(start_router, start_scp)
    router.router_post("/rules", RULE)
    (version,) = router.router_get("/rules/kept/versions")
    assert version["MadeBy"] == "alice"

    study = make_study(tmp_path / "study", instances=1, pixels=SMALL)
    send(study.files, router.node)
    (first,) = router.wait_until_completed(1)
    router.router_post(f"/history/{first['ID']}/resend", {})
    router.wait_until_completed(2)
    router.router_post("/pause", {})
    assert router.router_get("/status")["PausedBy"] == "alice"
    made = router.router_post(f"/studies/{first['ResourceID']}/route", {"Destinations": ["PACS"]})["Deliveries"]
    router.router_post("/history-cancel", {"Filter": {"status": "Scheduled"}})
    told = {text for each in router.history() for text in _timeline(router, each["ID"])}
    assert "Sent again by alice" in told
    if made:  # the destination may have all of it
        assert {"Routed by alice", "Canceled by alice"} <= told

    # A name that nobody has checked is none.
    router.config["AuthenticationEnabled"] = False
    router.restart()
    router.router_post("/resume", {})
    router.router_post("/pause", {})
    assert router.router_get("/status")["PausedBy"] == ""


def guarded(start_router: StartRouter, start_scp: StartScp) -> Router:
    """A router with users and with secrets in each place that has one."""
    peer = {"Url": "http://127.0.0.1:9/", "Username": "router", "Password": f"{SECRET}-peer"}
    config: dict[str, Any] = {
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"alice": f"{SECRET}-user"},
        "OrthancPeers": {"PEER": peer},
    }
    mail = {"Host": "127.0.0.1", "Port": 9, "From": "a@x.org", "To": ["b@x.org"], "Username": "u", "StartTls": True}
    alerts = {
        "Webhook": f"http://127.0.0.1:9/{SECRET}-hook",
        "Secret": f"{SECRET}-key",
        "Email": {**mail, "Password": f"{SECRET}-mail"},
    }
    section = {"Alerts": alerts, "Destinations": {"EXPORT": {"Folder": "/nowhere"}}}
    router = start_router({"PACS": start_scp("PACS").node}, rules=[], config=config, section=section)
    status = router.router_get("/status")
    assert (status["State"], status["Problems"]) == ("Running", [])
    return router


def _timeline(router: Router, delivery_id: int) -> list[str]:
    return [each["Text"] for each in router.router_get(f"/history/{delivery_id}")["Timeline"]]


def _filled(path: str) -> str:
    return path.replace("{name}", "PACS" if "destinations" in path else "kept").replace("{id}", "1")
