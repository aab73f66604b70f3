# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Orthanc has acknowledged arrives without help, whenever the router is killed or restarted.

Audited at the receivers, by SOPInstanceUID.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.network import DicomNode
from support.router import Router
from support.scripted_scp import ScriptedScp
from support.starting import StartProxy, StartRouter, StartScp
from support.store_scu import BackgroundSend, send
from support.studies import Study, make_study
from support.waiting import wait_until

SEED = 20260102
ARRIVAL_SECONDS = 60  # while nothing arrives
KILLS = 20
SAVED_KILLS = 8


@pytest.mark.smoke
def test_a_study_is_sent_though_the_router_was_killed_before_it_was_stable(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    """Orthanc raises no stable event for it any more."""
    pacs = start_scp("PACS")
    router = start_router({"PACS": pacs.node}, config={"StableAge": 3})
    study = make_study(tmp_path / "study", series=2, instances=10)
    assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    router.kill()
    assert pacs.requests == []
    router.start()
    pacs.wait_for(20, ARRIVAL_SECONDS)
    router.wait_until_completed(1)
    assert pacs.received == Counter(study.sop_instance_uids)


def test_what_was_acknowledged_is_sent_though_the_router_was_killed_while_it_received(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    """The sender does not come back."""
    pacs = start_scp("PACS")
    router = start_router({"PACS": pacs.node}, config={"StableAge": 2})
    study = make_study(tmp_path / "study", instances=200)
    sending = BackgroundSend(study.files, router.node)
    wait_until(lambda: sending.acknowledged >= random.Random(SEED).randrange(20, 150), 30, "some were acknowledged")
    router.kill()
    acknowledged = sending.wait().acknowledged
    assert 0 < len(acknowledged) < 200
    router.start()
    held = router.sop_instance_uids()
    assert set(acknowledged) <= set(held)
    pacs.wait_for(len(held), ARRIVAL_SECONDS)
    router.wait_until_completed(1)
    assert pacs.received == Counter(held)


def test_a_study_arrives_once_though_the_router_was_restarted_while_it_received(
    start_router: StartRouter, start_scp: StartScp, start_proxy: StartProxy, tmp_path: Path
) -> None:
    """The sender sends again what was not acknowledged. It is far away: Orthanc stops when none comes for 0.1 s."""
    pacs = start_scp("PACS")
    router = start_router({"PACS": pacs.node}, config={"StableAge": 2})
    study = make_study(tmp_path / "study", instances=60)
    far = DicomNode(router.aet, start_proxy(router.dicom, delay=0.1).port)
    sending = BackgroundSend(study.files, far)
    wait_until(lambda: sending.acknowledged >= 10, 30, "some were acknowledged")
    router.restart()
    acknowledged = sending.wait().acknowledged
    assert 0 < len(acknowledged) < 60
    rest = [path for path, uid in zip(study.files, study.sop_instance_uids, strict=True) if uid not in acknowledged]
    assert len(send(rest, router.node).acknowledged) == len(rest)
    pacs.wait_for(60, ARRIVAL_SECONDS)
    wait_until(lambda: all(each["Status"] == "Completed" for each in router.history()), 30, "all is completed")
    assert pacs.received == Counter(study.sop_instance_uids)


def test_a_study_arrives_though_the_router_was_restarted_while_its_destination_was_down(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    pacs.stop_listening()
    router = start_router({"PACS": pacs.node})
    study = make_study(tmp_path / "study", instances=20)
    send(study.files, router.node)
    router.wait_for_deliveries(lambda found: len(found) == 1 and found[0]["Attempts"] >= 2)
    router.restart()
    attempts = router.history()[0]["Attempts"]
    router.wait_for_deliveries(lambda found: found[0]["Attempts"] > attempts)  # it goes on trying by itself
    pacs.start_listening()
    pacs.wait_for(20, ARRIVAL_SECONDS)
    router.wait_until_completed(1)
    assert pacs.received == Counter(study.sop_instance_uids)


class Audit:
    """What a destination had and what the router knew of that, at each kill."""

    def __init__(self, pacs: ScriptedScp, studies: list[Study]) -> None:
        self.unknown = 0
        """How often something had arrived that the router did not know of."""
        self.pacs = pacs
        self._studies = studies
        self._kills: list[tuple[int, set[str]]] = []

    def killed(self, told: Mapping[str, int]) -> None:
        """The router was killed just now; `told` is the InstancesSent of each StudyInstanceUID, read just before."""
        wait_until(lambda: self.pacs.is_idle, 30, f"{self.pacs.node.aet} has noticed")
        arrived = list(self.pacs.received)
        known: set[str] = set()
        for study in self._studies:
            of_study = [uid for uid in arrived if uid in study.sop_instance_uids]
            assert told.get(study.uid, 0) <= len(of_study), "the router says that more has arrived than did"
            known.update(of_study[: told.get(study.uid, 0)])
        self.unknown += len(arrived) - len(known)
        self._kills.append((len(self.pacs.requests), known))

    @property
    def repetitions(self) -> int:
        """How many instances arrived more than once."""
        return sum(count - 1 for count in self.pacs.received.values())

    @property
    def known_and_repeated(self) -> set[str]:
        """What was sent again although the router knew that it had arrived; right for one association at a time."""
        requests = self.pacs.requests
        return {request.uid for count, known in self._kills for request in requests[count:] if request.uid in known}


def kill_at_random_moments(router: Router, audits: Mapping[str, Audit], kills: int, instances: int) -> None:
    """Kill and start the router, each time after some more of the `instances` have arrived, or at once."""
    chance = random.Random(SEED)
    moments = sorted(chance.randrange(instances) for _ in range(kills))

    def arrived() -> int:
        return sum(len(audit.pacs.received) for audit in audits.values())

    for moment in moments:
        what = f"{moment} of {instances} have arrived"
        wait_until(lambda least=moment: arrived() >= least, ARRIVAL_SECONDS, what, arrived)
        told = router.history()
        router.kill()
        for name, audit in audits.items():
            audit.killed(
                {each["StudyInstanceUID"]: each["InstancesSent"] for each in told if each["Destination"] == name}
            )
        router.start()


def test_nothing_is_lost_or_sent_again_when_the_router_is_killed_at_20_random_moments_of_sending(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    studies = [make_study(tmp_path / str(number), instances=100) for number in range(5)]
    one, several, router = start_sending(start_router, start_scp, studies, {})
    kill_at_random_moments(router, {"ONE": one, "SEVERAL": several}, KILLS, 1000)
    assert_all_arrived(router, (one, several), studies)
    print(f"ONE: {one.repetitions} twice, SEVERAL: {several.repetitions} twice, over {KILLS} kills")
    assert one.known_and_repeated == set()
    assert one.repetitions <= one.unknown
    assert several.repetitions <= several.unknown
    assert router.crash_signs() == []


def test_nothing_is_lost_when_a_router_that_saves_its_jobs_is_killed(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    """Orthanc resumes its jobs where they stood some seconds before; the router warns of that in its status."""
    studies = [make_study(tmp_path / str(number), instances=100) for number in range(5)]
    one, several, router = start_sending(start_router, start_scp, studies, {"SaveJobs": True})
    kill_at_random_moments(router, {"ONE": one, "SEVERAL": several}, SAVED_KILLS, 1000)
    assert_all_arrived(router, (one, several), studies)
    for audit, under_way in ((one, 50), (several, 4 * 16)):  # instances in the chunks that Orthanc resumes
        print(f"{audit.pacs.node.aet}: {audit.repetitions} of 500 twice, over {SAVED_KILLS} kills")
        assert audit.repetitions <= SAVED_KILLS * under_way
    assert "SaveJobs" in [each["Path"] for each in router.router_get("/status")["Warnings"]]


def start_sending(
    start_router: StartRouter, start_scp: StartScp, studies: list[Study], config: dict[str, Any]
) -> tuple[Audit, Audit, Router]:
    """Two destinations, slow enough to be interrupted: ONE takes one association at a time, SEVERAL four."""
    one, several = start_scp("ONE"), start_scp("SEVERAL")
    one.slow, several.slow = 0.01, 0.04
    associations = {"ONE": {"Associations": 1}, "SEVERAL": {"Associations": 4}}
    # Nothing is sent before all was received, also where the machine is busy.
    config = {"StableAge": 3} | config
    router = start_router(
        {"ONE": one.node, "SEVERAL": several.node}, section={"Destinations": associations}, config=config
    )
    for study in studies:
        assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    return Audit(one, studies), Audit(several, studies), router


def assert_all_arrived(router: Router, audits: Iterable[Audit], studies: list[Study]) -> None:
    uids = {uid for study in studies for uid in study.sop_instance_uids}
    for audit in audits:
        wait_until(
            lambda pacs=audit.pacs: set(pacs.received) == uids,
            ARRIVAL_SECONDS,
            "all has arrived",
            lambda pacs=audit.pacs: len(pacs.received),
        )
    router.wait_until_completed(2 * len(studies))
