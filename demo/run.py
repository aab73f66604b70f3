# SPDX-License-Identifier: AGPL-3.0-or-later
"""`make run`: the router and two destinations as real Orthancs, one study sent to it, each delivery told as it happens.

Runs until Ctrl-C. With `ONCE=1` it ends by itself once the study has arrived at both destinations.
"""

import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import urllib3

from support.network import port_is_free
from support.orthanc import Orthanc, OrthancProcess, python_plugin, read_orthanc_json
from support.orthanc_http import HttpError
from support.store_scu import send
from support.studies import Study, make_study

REPOSITORY = Path(__file__).resolve().parents[1]
RUN = REPOSITORY / "run"
DESTINATIONS = {"ARCHIVE": (4243, 8043), "WORKSTATION": (4244, 8044)}
ARRIVAL_SECONDS = 120
POLL_SECONDS = 0.2

Delivery = dict[str, Any]


class DemoError(Exception):
    """What went wrong, in words for the person at the terminal."""


def main() -> int:
    """Answers the exit code: 0 after Ctrl-C or arrival, 1 with a message otherwise."""
    once = os.environ.get("ONCE", "") not in {"", "0"}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with _running_orthancs() as (router, destinations):
            _demonstrate(router, destinations, once)
    except (DemoError, AssertionError, HttpError, urllib3.exceptions.HTTPError) as error:
        say(f"\nmake run failed: {error}")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _interrupt(*_: object) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # stopping takes a few seconds; let it happen in order
    raise KeyboardInterrupt


@contextlib.contextmanager
def _running_orthancs() -> Iterator[tuple[OrthancProcess, list[Orthanc]]]:
    RUN.mkdir(exist_ok=True)
    plugin = python_plugin()
    router = OrthancProcess(_router_config(plugin), RUN / "router.log")
    destinations = [
        Orthanc(RUN / aet, aet, {"DicomPort": dicom, "HttpPort": http}) for aet, (dicom, http) in DESTINATIONS.items()
    ]
    everyone = [router, *destinations]
    _check_ports(everyone)
    try:
        for orthanc in everyone:
            orthanc.log_file.unlink(missing_ok=True)
            orthanc.launch()
        for orthanc in everyone:
            orthanc.wait_until_ready()
        yield router, destinations
    finally:
        _stop(everyone)


def _router_config(plugin: Path) -> Path:
    """The shipped orthanc.json itself, unless the environment asks for another plugin folder or database."""
    shipped = REPOSITORY / "orthanc.json"
    database = os.environ.get("ROUTER_DATABASE")
    if not os.environ.get("ORTHANC_PLUGINS") and not database:
        return shipped
    config = read_orthanc_json(shipped)
    config["Plugins"] = [str(plugin)]
    for key in ("StorageDirectory", "IndexDirectory", "PythonScript"):
        config[key] = str(REPOSITORY / config[key])
    if database:
        config["Router"]["Database"] = database
    derived = RUN / "orthanc.json"
    derived.write_text(json.dumps(config, indent=2))
    return derived


def _check_ports(orthancs: list[OrthancProcess]) -> None:
    taken = [port for orthanc in orthancs for port in (orthanc.dicom, orthanc.http) if not port_is_free(port)]
    if taken:
        raise DemoError(
            f"port {' and '.join(map(str, taken))} is in use. See who has it: `ss -ltnp`.\n"
            "If it is Debian's Orthanc service: `sudo systemctl stop orthanc`. "
            "If it is another `make run`: end that one with Ctrl-C."
        )


def _stop(orthancs: list[OrthancProcess]) -> None:
    alive = [orthanc for orthanc in orthancs if orthanc.is_alive]
    if alive:
        say("Stopping ...")
    for orthanc in alive:
        orthanc.ask_to_stop()
    for orthanc in alive:
        try:
            orthanc.wait_until_stopped()
        except AssertionError:
            orthanc.kill()
            raise


def _demonstrate(router: OrthancProcess, destinations: list[Orthanc], once: bool) -> None:
    _check_that_it_routes(router)
    known = {delivery["ID"]: _told(delivery) for delivery in _deliveries(router)}
    say(f"The router runs. Web page: {router.url}/router/ui/")
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(
            Path(folder), "CT", series=2, instances=5, PatientName="Demo^Patient", StudyDescription="Demo CT"
        )
        sent = send(study.files, router.node)
    if sent.error or sent.refused:
        raise DemoError(f"the router did not take the study: {sent}\n{router.log_tail()}")
    say(f"Sent a study of {len(study.files)} images to {router.aet} (DICOM port {router.dicom}).")
    deadline = time.monotonic() + ARRIVAL_SECONDS
    arrived = False
    while not (arrived and once):
        for orthanc in (router, *destinations):
            if not orthanc.is_alive:
                raise DemoError(f"{orthanc.name} has ended. The end of its log:\n{orthanc.log_tail()}")
        deliveries = _deliveries(router)
        _tell_changes(deliveries, known)
        if not arrived:
            arrived = _has_arrived(study, deliveries, destinations)
            if arrived:
                say(f"The study has arrived: {len(study.files)} images at each of {', '.join(DESTINATIONS)}.")
                if not once:
                    say("Send more to it at DICOM port 4242. Ctrl-C ends.")
            elif once and time.monotonic() > deadline:
                raise DemoError(f"the study has not arrived within {ARRIVAL_SECONDS} s. Log:\n{router.log_tail()}")
        time.sleep(POLL_SECONDS)


def _check_that_it_routes(router: OrthancProcess) -> None:
    answer = router.request("GET", "/router/status")
    if answer.status != HTTPStatus.OK:
        raise DemoError(f"the plugin does not answer ({answer.status}). The router's log:\n{router.log_tail()}")
    if answer.json["State"] != "Running":
        raise DemoError(f"routing is {answer.json['State']}: {json.dumps(answer.json['Problems'], indent=2)}")


def _deliveries(router: OrthancProcess) -> list[Delivery]:
    """The latest ones, oldest first."""
    return list(reversed(router.get("/router/history?limit=100")["Items"]))


def _told(delivery: Delivery) -> str:
    reason = f"  {delivery['Reason']}" if delivery["Reason"] else ""
    return (
        f"{delivery['StudyDescription']}  -> {delivery['Destination']:<12} {delivery['Status']:<10}"
        f" {delivery['InstancesSent']}/{delivery['InstancesCount']}{reason}"
    )


def _tell_changes(deliveries: list[Delivery], known: dict[str, str]) -> None:
    for delivery in deliveries:
        told = _told(delivery)
        if known.get(delivery["ID"]) != told:
            known[delivery["ID"]] = told
            say(f"{datetime.now().astimezone():%H:%M:%S}  {told}")


def _has_arrived(study: Study, deliveries: list[Delivery], destinations: list[Orthanc]) -> bool:
    """Whether the router says so for every destination, and every destination really has it."""
    completed = {
        each["Destination"]
        for each in deliveries
        if each["StudyInstanceUID"] == study.uid and each["Status"] == "Completed"
    }
    return completed == set(DESTINATIONS) and all(
        sorted(_held(destination, study.uid)) == sorted(study.sop_instance_uids) for destination in destinations
    )


def _held(orthanc: Orthanc, study_instance_uid: str) -> list[str]:
    found = orthanc.post("/tools/lookup", study_instance_uid)
    studies = (each["Path"] for each in found if each["Type"] == "Study")
    instances = itertools.chain.from_iterable(orthanc.get(f"{path}/instances") for path in studies)
    return [instance["MainDicomTags"]["SOPInstanceUID"] for instance in instances]


def say(text: str) -> None:
    """At once, also into a pipe."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
