# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router answers its users while a destination accepts connections and never says a word."""

import statistics
from pathlib import Path

from support.router import Router
from support.scripted_scp import Misbehaviour
from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

ROUTES = ("/status", "/history", "/destinations", "/destinations/HOLE")
ROUNDS = 30
LIMIT = 0.2
OUTLIER = 1.0  # seconds; the machine is busy now and then, a hang would take several


def test_rest_answers_within_200_ms_while_a_destination_never_answers(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    hole, hanging = start_scp("HOLE"), start_scp("HANGING")
    hole.black_hole()
    router = start_router({"HOLE": hole.node, "HANGING": hanging.node}, config={"DicomScuTimeout": 3})
    assert_quick(router, "idle")

    for number in range(3, 60):
        hanging.on_store(Misbehaviour.HANG, at=number)  # proven first, then its jobs hang too
    study = make_study(tmp_path / "study", instances=50)
    send(study.files, router.node)
    wait_until(lambda: hole.swallowed_connections > 0 and hanging.waiting > 0, 30, "both are being sent to")
    assert router.router_get("/status")["Queue"]["Sending"] == 2
    assert_quick(router, "sending")

    wait_until(lambda: router.router_get("/destinations/HOLE")["State"] == "Held", 60, "HOLE is held")
    connections = hole.swallowed_connections
    assert_quick(router, "held")
    wait_until(lambda: hole.swallowed_connections > connections, 30, "HOLE is probed")
    assert_quick(router, "held, and probed")
    hanging.behave()
    # It may be held by now, and then the next probe is up to a minute away.
    router.wait_until_completed(1, 90, destination="HANGING")


def assert_quick(router: Router, state: str) -> None:
    seconds = [router.router_request("GET", route).seconds for _ in range(ROUNDS) for route in ROUTES]
    median, high = statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1]
    print(f"{state}: median {1000 * median:.1f} ms, 95 % {1000 * high:.1f} ms, most {1000 * max(seconds):.1f} ms")
    assert high < LIMIT
    assert max(seconds) < OUTLIER
