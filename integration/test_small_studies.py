# SPDX-License-Identifier: AGPL-3.0-or-later
"""Many small studies share associations; each arrives, is told and is judged as if it had one of its own."""

from collections import Counter
from pathlib import Path

import pytest

from support.router import Router
from support.scripted_scp import Misbehaviour, ScriptedScp
from support.starting import StartRouter, StartScp
from support.studies import Study, make_study

STUDIES = 60
CANNOT_UNDERSTAND = 0xC000
ASSOCIATIONS = 2


@pytest.fixture
def pacs(start_scp: StartScp) -> ScriptedScp:
    return start_scp("PACS")


@pytest.fixture
def router(start_router: StartRouter, pacs: ScriptedScp) -> Router:
    """Its destination is known to work: that takes one study."""
    rule = {"Name": "all", "Match": {}, "Send": ["PACS"]}
    section = {"Destinations": {"PACS": {"Modality": "PACS", "Associations": ASSOCIATIONS}}}
    return start_router({"PACS": pacs.node}, rules=[rule], section=section)


def waiting(router: Router, folder: Path) -> list[Study]:
    """Small studies whose deliveries wait, after one that has arrived."""
    first = make_study(folder / "first", instances=1)
    router.post("/instances", first.files[0].read_bytes())
    router.wait_until_completed(1)
    router.router_post("/pause")
    made = [make_study(folder / str(number), modality="CR", instances=1) for number in range(STUDIES)]
    for study in made:
        router.post("/instances", study.files[0].read_bytes())
    router.wait_for_deliveries(lambda found: len(found) == STUDIES + 1)
    return made


def uids(studies: list[Study]) -> set[str]:
    return {uid for study in studies for uid in study.sop_instance_uids}


def test_many_small_studies_go_over_few_associations(router: Router, pacs: ScriptedScp, tmp_path: Path) -> None:
    studies = waiting(router, tmp_path)
    before = pacs.associations
    router.router_post("/resume")
    router.wait_until_completed(STUDIES + 1)
    received = pacs.received
    assert {uid: received[uid] for uid in uids(studies)} == dict.fromkeys(uids(studies), 1)
    assert pacs.associations - before <= STUDIES / 2
    assert pacs.peak_associations <= ASSOCIATIONS
    jobs = Counter(job for study in studies for job in jobs_of(router, study))
    assert max(jobs.values()) > 1
    assert all(router.get(f"/jobs/{job}")["Content"]["InstancesCount"] >= number for job, number in jobs.items())


def jobs_of(router: Router, study: Study) -> list[str]:
    """The jobs that a study's one attempt tells, which Orthanc knows by these names."""
    (item,) = router.history(study=study.uid)
    (attempt,) = router.router_get(f"/history/{item['ID']}")["Attempts"]
    jobs: list[str] = attempt["Jobs"]
    return jobs


def test_a_refused_study_and_an_abort_harm_none_that_shares_the_association(
    router: Router, pacs: ScriptedScp, tmp_path: Path
) -> None:
    studies = waiting(router, tmp_path)
    refused, aborted = studies[7].sop_instance_uids[0], studies[31].sop_instance_uids[0]
    pacs.on_store(CANNOT_UNDERSTAND, uid=refused)
    pacs.on_store(Misbehaviour.ABORT, uid=aborted, times=1)
    router.router_post("/resume")
    router.wait_for_deliveries(lambda found: all(each["Status"] in {"Completed", "Failed"} for each in found))
    states = {each["StudyInstanceUID"]: each["Status"] for each in router.history()}
    assert [uid for uid, status in states.items() if status == "Failed"] == [studies[7].uid]
    received = pacs.received
    assert {uid: received[uid] for uid in uids(studies) - {refused}} == dict.fromkeys(uids(studies) - {refused}, 1)
    good = {study.uid for study in studies} - {studies[7].uid, studies[31].uid}
    assert {each["Attempts"] for each in router.history() if each["StudyInstanceUID"] in good} == {1}


def test_nothing_is_lost_when_the_router_is_killed_while_many_share_associations(
    router: Router, pacs: ScriptedScp, tmp_path: Path
) -> None:
    studies = waiting(router, tmp_path)
    pacs.slow = 0.02
    for arrived in (5, 20, 40):
        router.router_post("/resume")
        pacs.wait_for(1 + arrived)
        router.kill()
        router.start()
    router.wait_until_completed(STUDIES + 1)
    received = pacs.received
    assert uids(studies) <= set(received)
    # What was under way at a kill may come twice: a job of ten over each association.
    assert sum(received[uid] - 1 for uid in uids(studies)) <= 3 * ASSOCIATIONS * 10
