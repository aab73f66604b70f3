# SPDX-License-Identifier: AGPL-3.0-or-later
"""A wrong configuration: told whole and at once, Orthanc runs and receives, and nothing is missed meanwhile."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from support.orthanc import python_plugin
from support.postgres_server import PostgresServer
from support.router import Router
from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study

FIVE_MISTAKES: dict[str, Any] = {
    "TimeZone": "Europe/Atlantis",
    "Destinations": {"PACS": {"Modality": "PACS", "Asociations": 4}},
    "Rules": [
        {"Name": "first", "Match": {"StudyDate": {"Between": ["20260101"]}}, "Send": ["PACS"]},
        {"Name": "second", "Match": {}, "Send": ["PACSS"]},
    ],
    "Retry": {"First": "soon"},
}
PATHS = {
    "Router.TimeZone",
    "Router.Destinations.PACS.Asociations",
    "Router.Rules[0].Match.StudyDate.Between",
    "Router.Rules[1].Send[0]",
    "Router.Retry.First",
}
WRONG_DATABASES = ("sqlite:///nowhere/at/all/router.db", "mysql://user:secret@host/db", 5)


def problem_paths(router: Router) -> set[str]:
    status = router.router_get("/status")
    assert status["State"] == "Suspended"
    return {problem["Path"] for problem in status["Problems"]}


def configure(router: Router, section: dict[str, Any]) -> None:
    router.config["Router"] = section
    router.restart()


def receive(router: Router, folder: Path) -> list[str]:
    study = make_study(folder, instances=5)
    assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    return study.sop_instance_uids


@pytest.mark.smoke
def test_five_mistakes_are_told_at_once_and_what_arrives_meanwhile_is_routed_after_their_correction(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    router = start_router({"PACS": pacs.node})
    uids = receive(router, tmp_path / "before")
    pacs.wait_for(5)
    router.wait_until_completed(1)
    router.router_post("/rules", {"Name": "made here", "Match": {"Modality": "NM"}, "Send": ["PACS"]})

    right = router.config["Router"]
    configure(router, {**right, **copy.deepcopy(FIVE_MISTAKES)})
    assert problem_paths(router) == PATHS
    assert [rule["Name"] for rule in router.router_get("/rules-export")["Rules"]] == ["made here"]
    assert all(path in router.log() for path in PATHS)
    uids += receive(router, tmp_path / "meanwhile")

    configure(router, right)
    assert router.router_get("/status")["Problems"] == []
    pacs.wait_for(10)
    router.wait_until_completed(2)
    assert pacs.received == Counter(uids)


def test_a_very_first_start_with_mistakes_misses_nothing_that_arrives_after_it(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    router = start_router({"PACS": pacs.node}, config={"Plugins": []})
    receive(router, tmp_path / "before the router")
    router.stop()

    right = router.config["Router"]
    router.config["Plugins"] = [str(python_plugin())]
    configure(router, {**right, **copy.deepcopy(FIVE_MISTAKES)})
    assert problem_paths(router) == PATHS
    uids = receive(router, tmp_path / "first")
    router.restart()
    uids += receive(router, tmp_path / "second")

    configure(router, right)
    pacs.wait_for(10)
    router.wait_until_completed(2)
    assert pacs.received == Counter(uids)


@pytest.mark.parametrize(
    ("database", "postgresql"), [*((each, False) for each in WRONG_DATABASES), (WRONG_DATABASES[1], True)]
)
def test_a_very_first_start_with_a_wrong_database_misses_nothing_that_arrives_after_it(
    start_router: StartRouter,
    start_scp: StartScp,
    postgres: PostgresServer,
    tmp_path: Path,
    database: object,
    postgresql: bool,
) -> None:
    pacs = start_scp("PACS")
    told = {"database": postgres.url(postgres.database())} if postgresql else {}
    router = start_router({"PACS": pacs.node}, config={"Plugins": []}, **told)
    receive(router, tmp_path / "before the router")
    router.stop()

    right = router.config["Router"]
    router.config["Plugins"] = [str(python_plugin())]
    configure(router, {**right, "Database": database})
    assert problem_paths(router) == {"Router.Database"}
    uids = receive(router, tmp_path / "first")
    router.restart()
    uids += receive(router, tmp_path / "second")

    configure(router, right)
    pacs.wait_for(10)
    router.wait_until_completed(2)
    assert pacs.received == Counter(uids)


def test_a_router_whose_database_becomes_wrong_goes_on_where_it_was(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    router = start_router({"PACS": pacs.node})
    uids = receive(router, tmp_path / "before")
    pacs.wait_for(5)
    router.wait_until_completed(1)

    right = router.config["Router"]
    configure(router, {**right, "Database": WRONG_DATABASES[0]})
    assert problem_paths(router) == {"Router.Database"}
    uids += receive(router, tmp_path / "meanwhile")

    configure(router, right)
    pacs.wait_for(10)
    router.wait_until_completed(2)
    assert pacs.received == Counter(uids)


def test_what_a_rule_made_here_owes_to_a_modality_that_is_gone_arrives_when_it_is_back(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    modalities = {"PACS": [pacs.node.aet, pacs.node.host, pacs.node.port]}
    router = start_router(config={"DicomModalities": modalities})
    router.router_post("/rules", {"Name": "made here", "Send": ["PACS"]})
    router.config["DicomModalities"] = {}
    router.restart()
    (rule,) = router.router_get("/rules")
    assert [warning["Path"] for warning in rule["Warnings"]] == ["Send[0]"]
    uids = receive(router, tmp_path / "meanwhile")
    router.wait_for_deliveries(lambda found: [each["Destination"] for each in found] == ["PACS"])
    router.config["DicomModalities"] = modalities
    router.restart()
    router.wait_until_completed(1)
    assert pacs.received == Counter(uids)


def test_a_window_that_is_taken_away_no_longer_holds_what_waits_for_it(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    never_now = {"Cron": "0 0 29 2 *", "For": "1m"}  # the 29th of February
    section = {"Destinations": {"PACS": {"Modality": "PACS", "Schedule": never_now}}}
    router = start_router({"PACS": pacs.node}, section=section)
    study = make_study(tmp_path / "study", instances=2, pixels=(16, 16))
    send(study.files, router.node)
    router.wait_for_deliveries(lambda found: len(found) == 1 and found[0]["Reason"].startswith("Waits for its time"))
    router.config["Router"]["Destinations"]["PACS"]["Schedule"] = ""
    router.restart()
    router.wait_until_completed(1)
    assert pacs.received == Counter(study.sop_instance_uids)
