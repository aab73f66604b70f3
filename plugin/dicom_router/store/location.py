# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the side database is, and the name under which this Orthanc owns deliveries."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicom_router.filing.names import mark_of
from dicom_router.postgres_address import PostgresAddress, is_postgres, read_address

SQLITE = "sqlite:///"
FILE = "router.db"
OVERRIDE = "ROUTER_DATABASE"  # in the environment; for tests and `make run`
PROCESSING = "router-processing-"


def database_place(wanted: str, orthanc: Mapping[str, Any], configuration_file: str) -> Path | PostgresAddress:
    """Where the side database is: `wanted` (from Router.Database, or the environment), else beside Orthanc's index.

    Orthanc takes a relative folder from where its configuration file is (orthanc: Configuration.cpp).
    Raises ValueError where the address of a PostgreSQL database cannot be read.
    """
    wanted = os.environ.get(OVERRIDE, "") or wanted
    if is_postgres(wanted):
        return read_address(wanted)
    if wanted:
        return Path(wanted.removeprefix(SQLITE))
    return _beside_index(orthanc, configuration_file) / FILE


def processing_folder(orthanc: Mapping[str, Any], configuration_file: str, owner: str) -> Path:
    """Where processes have folders: on Orthanc's disk, which is made for patient data; each Orthanc has its own."""
    return (_beside_index(orthanc, configuration_file) / f"{PROCESSING}{mark_of(owner)}").absolute()


def _beside_index(orthanc: Mapping[str, Any], configuration_file: str) -> Path:
    folder = Path(orthanc.get("IndexDirectory") or orthanc.get("StorageDirectory") or "OrthancStorage")
    place = Path(configuration_file) if configuration_file else Path.cwd()
    return (place if place.is_dir() else place.parent) / folder


def told_place(orthanc: Mapping[str, Any]) -> str | None:
    """`Router.Database`, also where the rest of the section is wrong; None where it does not say which database."""
    section = orthanc.get("Router", {})
    told = section.get("Database", "") if isinstance(section, dict) else None
    readable = isinstance(told, str) and (not told or told.startswith(SQLITE) or is_postgres(told))
    return told if readable else None


def owner(orthanc: Mapping[str, Any], server_identifier: str | None) -> str:
    """The same over restarts, different for each Orthanc."""
    if server_identifier:
        return server_identifier
    ports = f"{orthanc.get('DicomPort', 4242)}-{orthanc.get('HttpPort', 8042)}"
    return f"{socket.gethostname()}-{orthanc.get('DicomAet', 'ORTHANC')}-{ports}"
