# SPDX-License-Identifier: AGPL-3.0-or-later
"""A backfill: where Orthanc limits how many studies it finds (LimitFindResults), and where something fails."""

import threading
import time
from typing import Any

import pytest

from dicom_router.routing import backfill as backfill_module
from dicom_router.routing.backfill import Backfill
from dicom_router.store.database import LOST
from dicom_router.store.store import Store
from test_routing import CT, World

MOST = 3
STUDIES = [f"s{number}" for number in range(8)]
LIMIT = 15.0


@pytest.fixture
def world(store: Store, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(store).configure(CT | {"Send": ["ARCHIVE"]})
    for study in STUDIES:
        made.orthanc.receive(study, tags={"Modality": "CT"})
    plain_ask, plain_get = made.orthanc.ask, made.orthanc.get

    def ask(path: str, body: Any) -> Any:
        if path != "/tools/find":
            return plain_ask(path, body)
        return STUDIES[body["Since"] : min(MOST + 1, body["Since"] + body["Limit"])]

    def get(path: str, timeout: float = 60.0) -> Any:
        if not path.startswith("/studies?since="):
            return plain_get(path, timeout)
        since, limit = (int(each.split("=")[1]) for each in path.split("?")[1].split("&"))
        return STUDIES[since : since + limit]

    monkeypatch.setattr(made.orthanc, "ask", ask)
    monkeypatch.setattr(made.orthanc, "get", get)
    return made


def ended(world: World, query: dict[str, str], most: int) -> Backfill:
    assert world.routing is not None
    backfill = Backfill(world.routing, lambda: world.now, lambda: None, lambda _: None, most)
    backfill.begin(query, None, dry_run=False)
    end = time.monotonic() + LIMIT
    while backfill.progress().state == "Running":
        assert time.monotonic() < end
        time.sleep(0.01)
    return backfill


def test_all_studies_are_found_all_the_same(world: World) -> None:
    progress = ended(world, {}, MOST).progress()
    assert (progress.state, progress.studies, progress.deliveries) == ("Done", len(STUDIES), len(STUDIES))


def test_an_answer_that_is_cut_short_is_no_success(world: World) -> None:
    progress = ended(world, {"PatientID": "*"}, MOST).progress()
    assert progress.state == "Failed"
    assert "LimitFindResults (3)" in progress.error
    assert progress.looked_at == 0


@pytest.mark.parametrize(("problem", "failed"), [(LOST[0]("database is locked"), 0), (ValueError("odd"), 1)])
def test_what_fails_with_one_study_ends_no_backfill(
    world: World, monkeypatch: pytest.MonkeyPatch, problem: Exception, failed: int
) -> None:
    monkeypatch.setattr(backfill_module, "DATABASE_RETRY_SECONDS", 0.01)
    assert world.routing is not None
    plain, problems = world.routing.look_at, [problem]

    def look_at(study: str, *arguments: Any, **named: Any) -> Any:
        if study == "s1" and problems:
            raise problems.pop()
        return plain(study, *arguments, **named)

    monkeypatch.setattr(world.routing, "look_at", look_at)
    progress = ended(world, {}, MOST).progress()
    assert (progress.state, progress.looked_at, progress.failed) == ("Done", len(STUDIES), failed)
    assert progress.deliveries == len(STUDIES) - failed


def test_one_that_is_canceled_while_the_database_is_away_was_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.routing is not None
    looked = threading.Event()

    plain = world.routing.look_at

    def look_at(study: str, *arguments: Any, **named: Any) -> Any:
        if study == STUDIES[-1]:
            looked.set()
            raise LOST[0]("the database does not answer")
        return plain(study, *arguments, **named)

    monkeypatch.setattr(world.routing, "look_at", look_at)
    backfill = Backfill(world.routing, lambda: world.now, lambda: None, lambda _: None, MOST)
    backfill.begin({}, None, dry_run=False)
    assert looked.wait(LIMIT)
    backfill.cancel()
    assert (backfill.progress().state, backfill.progress().looked_at) == ("Stopped", len(STUDIES) - 1)
