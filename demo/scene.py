# SPDX-License-Identifier: AGPL-3.0-or-later
"""A made-up hospital for the pictures of the web page: a router, two archives that work, and one that does not."""

import contextlib
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from support.long_history import write_long_history
from support.network import DicomNode, free_port
from support.orthanc import Orthanc
from support.router import Router
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

PATIENTS = (
    ("Lindqvist^Maja", "F", "19710304"),
    ("Okafor^Daniel", "M", "19880917"),
    ("Marchetti^Elena", "F", "19530621"),
    ("Brandt^Jonas", "M", "20010112"),
    ("Haddad^Samir", "M", "19660729"),
    ("Kowalska^Zofia", "F", "19441205"),
    ("Nguyen^Linh", "F", "19920418"),
    ("O'Brien^Sean", "M", "19790802"),
)
STUDIES = (
    ("CT", "CT Thorax", "CT1"),
    ("MR", "MR Head", "MR2"),
    ("CR", "Chest PA", "XRAY3"),
    ("US", "Abdomen", "US1"),
    ("CT", "CT Abdomen contrast", "CT1"),
)
RULES = [
    {"Name": "everything to the archive", "Match": {}, "Send": ["ARCHIVE"]},
    {"Name": "CT and MR to the workstation", "Match": {"Modality": ["CT", "MR"]}, "Send": ["WORKSTATION"]},
    {"Name": "chest to research", "Match": {"StudyDescription": {"Contains": "Chest"}}, "Send": ["RESEARCH"]},
    {"Name": "night to the second site", "Match": {"Modality": "CT"}, "Send": ["SITE2"]},
]
SAVED = [  # over REST, one version after the other
    {"Name": "chest X-rays to the reading room", "Match": {"Modality": "CR"}, "Send": ["WORKSTATION"]},
    {
        "Name": "chest X-rays to the reading room",
        "Description": "Read at once, also after hours.",
        "Match": {
            "Modality": ["CR", "DX"],
            "Any": [
                {"StudyDescription": {"Contains": "chest", "IgnoreCase": True}},
                {"BodyPartExamined": "CHEST"},
            ],
        },
        "Send": [{"FirstOf": ["WORKSTATION", "ARCHIVE"], "After": "10m"}],
        "Priority": "Urgent",
        "Tests": [{"Given": {"Modality": "CR", "StudyDescription": "Chest PA"}, "Expect": True}],
    },
]
HISTORY = 9000
DAYS = 4.0


@contextlib.contextmanager
def running_scene(folder: Path) -> Iterator[Router]:
    """The router with studies sent, until the block ends."""
    archive, workstation = (Orthanc(folder / aet, aet) for aet in ("ARCHIVE", "WORKSTATION"))
    nodes = {
        "ARCHIVE": archive.node,
        "WORKSTATION": workstation.node,
        "RESEARCH": DicomNode("RESEARCH", free_port()),
        "SITE2": archive.node,
    }
    section = {
        "Destinations": {"SITE2": {"Modality": "SITE2", "Schedule": "03:00-03:30"}},
        "Retry": {"First": "2s", "Max": "5s", "Jitter": 0, "Factor": 2, "GiveUpAfter": "7d"},
    }
    router = Router(folder / "ROUTER", nodes, rules=RULES, section=section)
    everyone = [archive, workstation, router]
    try:
        for orthanc in everyone:
            orthanc.start()
        router.stop()
        _write_past(folder / "ROUTER" / "storage" / "router.db")
        router.start()
        _send_studies(router)
        for version in SAVED:
            router.router_put(f"/rules/{quote(str(version['Name']))}", version)
        yield router
    finally:
        for orthanc in everyone:
            orthanc.kill()


def _write_past(database: Path) -> None:
    """A few days of work, less of it at night."""
    write_long_history(database, HISTORY, DAYS)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "DELETE FROM delivery WHERE abs(random()) % 100 > CASE WHEN CAST(created_at / 3600 AS INTEGER) % 24 "
            "BETWEEN 7 AND 16 THEN 90 - 4 * abs(CAST(created_at / 3600 AS INTEGER) % 24 - 11) ELSE 22 END"
        )


def _send_studies(router: Router) -> None:
    chance = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, sex, born) in enumerate(PATIENTS):
            modality, description, station = STUDIES[number % len(STUDIES)]
            study = make_study(
                Path(folder) / str(number),
                modality,
                series=chance.randint(1, 3),
                instances=chance.randint(4, 12),
                PatientName=name,
                PatientID=f"{4210000 + number * 137}",
                PatientSex=sex,
                PatientBirthDate=born,
                StudyDescription=description,
                AccessionNumber=f"2611{22000 + number}",
            )
            send(study.files, router.node, station)
    wait_until(lambda: _is_settled(router), 90, "all that can arrive has arrived, and RESEARCH is held")


def _is_settled(router: Router) -> bool:
    states = {each["Name"]: each for each in router.router_get("/destinations")}
    sent = {each["StudyInstanceUID"] for each in router.history(destination="ARCHIVE", q="26112")}
    return (
        len(sent) == len(PATIENTS)
        and router.router_get("/status")["Queue"]["Sending"] == 0
        and states["RESEARCH"]["State"] == "Held"
        and not states["ARCHIVE"]["Counts"]["Scheduled"]
        and not states["WORKSTATION"]["Counts"]["Scheduled"]
    )
