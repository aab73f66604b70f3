#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checks this example: the window of the remote archive, the filter of its SOP classes, and the failover.

Starts the containers, and removes them and their volumes afterwards. Takes about five minutes.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "docker"))

from checking import Containers, Orthanc, check, main, wait_until  # noqa: E402 - beside the Dockerfile

MINUTES_UNTIL_IT_OPENS = 4  # the containers must have started and have got a study by then


def a_window_that_opens_soon() -> str:
    now = datetime.now(UTC).astimezone(ZoneInfo("Europe/Berlin"))
    return f"{now + timedelta(minutes=MINUTES_UNTIL_IT_OPENS):%H:%M}-{now + timedelta(hours=12):%H:%M}"


def checks() -> None:
    containers = Containers(HERE / "docker-compose.yml")
    router, first, second, remote = (Orthanc(port) for port in (8042, 8043, 8044, 8045))
    with containers.running(REMOTE_WINDOW=a_window_that_opens_soon()):
        for orthanc in (router, first, second, remote):
            orthanc.wait_until_ready()
        status = router.get("/router/status")
        check(status["State"] == "Running", f"the router runs: {status['Problems']}")
        study = router.make_study("two sites", ["CT", "CT", "SR"])
        wait_until(lambda: first.modalities(study) == ["CT", "CT", "SR"], "the hospital's archive has the whole study")
        wait_until(lambda: router.status_of(study, "REMOTE") == "Scheduled", "the remote archive waits for its window")
        check(remote.modalities(study) == [], "it has nothing yet")

        containers.call("stop", "archive-a")
        other = router.make_study("failover", ["CT"])
        wait_until(lambda: second.modalities(other) == ["CT"], "the second archive takes over", 120)
        containers.call("start", "archive-a")
        wait_until(lambda: first.modalities(other) == ["CT"], "the first one gets it when it is back", 120)

        wait_until(
            lambda: remote.modalities(study) == ["CT", "CT"],
            "in its window the remote archive gets the images",
            (MINUTES_UNTIL_IT_OPENS + 1) * 60,
        )
        wait_until(lambda: router.status_of(study, "REMOTE") == "Completed", "and that is all for it")
        check(second.modalities(study) == [], "the second archive got only what the first could not take")


if __name__ == "__main__":
    sys.exit(main(checks))
