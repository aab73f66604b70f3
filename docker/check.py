#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checks docker-compose.yml: a study that the router gets arrives at both destinations. Takes a minute.

Starts the containers, and removes them and their volumes afterwards: not for an installation that is in use.
"""

import sys
from pathlib import Path

from checking import Containers, Orthanc, check, main, wait_until

REPOSITORY = Path(__file__).resolve().parents[1]


def checks() -> None:
    containers = Containers(REPOSITORY / "docker-compose.yml")
    router, archive, workstation = Orthanc(8042), Orthanc(8043), Orthanc(8044)
    with containers.running():
        for orthanc in (router, archive, workstation):
            orthanc.wait_until_ready()
        status = router.get("/router/status")
        check(status["State"] == "Running", f"the router runs: {status['Problems']}")
        check(containers.call("exec", "router", "id", "-u").strip() != "0", "it does not run as root")
        study = router.make_study("container check", ["CT", "CT", "CT"])
        arrives(study, router, "ARCHIVE", archive)
        arrives(study, router, "WORKSTATION", workstation)
        told = containers.call("exec", "router", "dicom-router", "destinations")
        check("ARCHIVE" in told, "the command line works inside of the container")


def arrives(study: str, router: Orthanc, name: str, destination: Orthanc) -> None:
    """Raises CheckError unless the destination gets the whole study and the router says so."""
    wait_until(lambda: destination.modalities(study) == ["CT"] * 3, f"{name} has the study")
    wait_until(lambda: router.status_of(study, name) == "Completed", f"it is Completed for {name}")


if __name__ == "__main__":
    sys.exit(main(checks))
