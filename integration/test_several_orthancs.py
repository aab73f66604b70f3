# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two Orthancs over one index and one side database in PostgreSQL: each study once, whichever of them dies."""

import json
import os
import random
import signal
import threading
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from support.postgres_server import PASSWORD, PostgresServer
from support.router import Router
from support.sharing import several_routers
from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

# The whole proof takes an hour: ROUTER_TEST_STUDIES=500 ROUTER_TEST_KILLS=10.
STUDIES = int(os.environ.get("ROUTER_TEST_STUDIES", "16"))
KILLS = int(os.environ.get("ROUTER_TEST_KILLS", "3"))
INSTANCES = 4
SEED = 20261122
OPEN = {"Scheduled", "Sending", "Retrying"}


def all_completed(router: Router, count: int, timeout: float = 180) -> list[dict[str, Any]]:
    """Every study has a delivery that was Completed, and nothing is open."""

    def ended(found: list[dict[str, Any]]) -> bool:
        completed = {each["StudyInstanceUID"] for each in found if each["Status"] == "Completed"}
        return len(completed) == count and not [each for each in found if each["Status"] in OPEN]

    return router.wait_for_deliveries(ended, timeout)


def test_each_study_is_sent_once_whichever_receives_it(
    start_router: StartRouter, start_scp: StartScp, postgres: PostgresServer, tmp_path: Path
) -> None:
    scp = start_scp("PACS")
    routers = several_routers(start_router, postgres, tmp_path, {"PACS": scp.node})
    sent: set[str] = set()
    for number in range(6):
        study = make_study(tmp_path / str(number), instances=INSTANCES, pixels=(16, 16))
        sent |= set(send(study.files, routers[number % 2].node).acknowledged)
    all_completed(routers[1], 6)
    assert scp.received == Counter(sent)
    for router in routers:
        assert len(router.history()) == 6
        assert PASSWORD not in router.log()


def receive(routers: list[Router], files: list[Path], first: int) -> set[str]:
    """Send to one router, and what it did not acknowledge to another, as a modality does. Answers what arrived."""
    acknowledged: set[str] = set()

    def arrived() -> bool:
        for router in routers[first:] + routers[:first]:
            if router.is_alive:
                acknowledged.update(send(files, router.node).acknowledged)
                if len(acknowledged) == len(files):
                    return True
        return False

    wait_until(arrived, 120, "a study is acknowledged by one of the routers")
    return acknowledged


class Killer:
    """Kills a router and starts it again while other things go on; one at a time, so that another one lives."""

    def __init__(self, routers: list[Router], chance: random.Random) -> None:
        self._routers = routers
        self._chance = chance
        self._thread: threading.Thread | None = None
        self.kills = 0

    def strike(self) -> None:
        self.wait()
        victim = self._chance.choice(self._routers)
        moment, pause = self._chance.uniform(0, 3), self._chance.uniform(0, 4)
        self._thread = threading.Thread(target=self._kill, args=(victim, moment, pause))
        self._thread.start()

    def wait(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _kill(self, victim: Router, moment: float, pause: float) -> None:
        threading.Event().wait(moment)
        victim.kill()
        self.kills += 1
        threading.Event().wait(pause)
        victim.start()


def test_nothing_is_lost_or_sent_by_both_whenever_one_is_killed(
    start_router: StartRouter, start_scp: StartScp, postgres: PostgresServer, tmp_path: Path
) -> None:
    scp = start_scp("PACS", keep_data=False)
    routers = several_routers(start_router, postgres, tmp_path, {"PACS": scp.node})
    chance = random.Random(SEED)
    killer = Killer(routers, chance)
    strikes = {round((number + 0.5) * STUDIES / KILLS) for number in range(KILLS)}
    sent: dict[str, set[str]] = {}
    for number in range(STUDIES):
        if number in strikes:
            killer.strike()
        study = make_study(tmp_path / "study", instances=INSTANCES, pixels=(16, 16))
        sent[study.uid] = receive(routers, study.files, chance.randrange(2))
    killer.wait()
    assert killer.kills == KILLS
    deliveries = all_completed(routers[0], STUDIES, 300 + STUDIES)

    received = scp.received
    assert set(received) == set().union(*sent.values())  # nothing lost
    interrupted = {each["StudyInstanceUID"] for each in deliveries if was_interrupted(routers[0], each)}
    senders: dict[str, set[str]] = defaultdict(set)
    for request in scp.requests:
        senders[request.uid].add(request.calling_aet)
    twice = {study for study, uids in sent.items() if any(received[uid] > 1 for uid in uids)}
    by_both = {study for study, uids in sent.items() if any(len(senders[uid]) > 1 for uid in uids)}
    print(f"{STUDIES} studies, {KILLS} kills: {len(interrupted)} interrupted, {len(twice)} in part sent again by it")
    assert twice <= interrupted
    assert by_both <= interrupted


def was_interrupted(router: Router, delivery: dict[str, Any]) -> bool:
    """An Orthanc was killed while it sent this: the instances that were on their way have to be sent again."""
    if delivery["Attempts"] < 2:
        return False
    attempts = router.router_get(f"/history/{delivery['ID']}")["Attempts"]
    return any((attempt["Error"] or {}).get("Code") == "Interrupted" for attempt in attempts)


def test_what_a_dead_orthanc_was_sending_goes_on_in_the_other(
    start_router: StartRouter, start_scp: StartScp, postgres: PostgresServer, tmp_path: Path
) -> None:
    scp = start_scp("PACS")
    one, two = several_routers(start_router, postgres, tmp_path, {"PACS": scp.node})
    scp.slow = 2.0
    study = make_study(tmp_path / "study", instances=10, pixels=(16, 16))
    assert len(send(study.files, one.node).acknowledged) == 10
    wait_until(lambda: scp.requests, 60, "the study is on its way")
    sender, other = (one, two) if scp.requests[0].calling_aet == one.aet else (two, one)
    sender.kill()
    scp.slow = 0.0
    (delivery,) = all_completed(other, 1)
    assert set(scp.received) == set(study.sop_instance_uids)
    assert was_interrupted(other, delivery)
    assert scp.requests[-1].calling_aet == other.aet


def test_while_the_database_is_away_orthanc_receives_and_nothing_is_lost(
    start_router: StartRouter, start_scp: StartScp, postgres: PostgresServer, tmp_path: Path
) -> None:
    scp = start_scp("PACS")
    router = start_router({"PACS": scp.node}, database=postgres.url(postgres.database()))
    before = make_study(tmp_path / "before", instances=INSTANCES, pixels=(16, 16))
    sent = set(send(before.files, router.node).acknowledged)
    router.wait_until_completed(1, 60)
    postgres.stop(signal.SIGQUIT)
    try:
        study = make_study(tmp_path / "meanwhile", instances=INSTANCES, pixels=(16, 16))
        sent |= set(send(study.files, router.node).acknowledged)
        status = router.router_get("/status")
        assert status["State"] == "Suspended"
        assert [each["Path"] for each in status["Problems"]] == ["Router.Database"]
        assert router.router_request("GET", "/history").status == 503
    finally:
        postgres.start()
    wait_until(lambda: router.router_get("/status")["State"] == "Running", 60, "the database is found again")
    router.wait_until_completed(2, 60)
    assert scp.received == Counter(sent)


def test_a_database_whose_server_starts_after_orthanc_is_found(
    start_router: StartRouter, start_scp: StartScp, postgres: PostgresServer, tmp_path: Path
) -> None:
    scp = start_scp("PACS")
    database = postgres.url(postgres.database())
    postgres.stop()
    try:
        router = start_router({"PACS": scp.node}, database=database)
        (problem,) = router.router_get("/status")["Problems"]
        assert problem["Path"] == "Router.Database"
        assert PASSWORD not in json.dumps(problem)
        study = make_study(tmp_path / "study", instances=INSTANCES, pixels=(16, 16))
        sent = set(send(study.files, router.node).acknowledged)
    finally:
        postgres.start()
    wait_until(lambda: router.router_get("/status")["State"] == "Running", 60, "the database is found")
    router.wait_until_completed(1, 60)
    assert scp.received == Counter(sent)
    assert PASSWORD not in router.log()
