# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the side database is, and the name under which this Orthanc owns deliveries."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SQLITE = "sqlite:///"
FILE = "router.db"


def database_path(wanted: str, orthanc: Mapping[str, Any], configuration_file: str) -> Path:
    """The file of the side database: `wanted` (from Router.Database, or the environment), else beside Orthanc's index.

    Orthanc takes a relative folder from where its configuration file is (orthanc: Configuration.cpp).
    """
    wanted = os.environ.get("ROUTER_DATABASE", "") or wanted
    if wanted:
        return Path(wanted.removeprefix(SQLITE))
    folder = Path(orthanc.get("IndexDirectory") or orthanc.get("StorageDirectory") or "OrthancStorage")
    place = Path(configuration_file) if configuration_file else Path.cwd()
    return (place if place.is_dir() else place.parent) / folder / FILE


def owner(orthanc: Mapping[str, Any], server_identifier: str | None) -> str:
    """The same over restarts, different for each Orthanc."""
    if server_identifier:
        return server_identifier
    ports = f"{orthanc.get('DicomPort', 4242)}-{orthanc.get('HttpPort', 8042)}"
    return f"{socket.gethostname()}-{orthanc.get('DicomAet', 'ORTHANC')}-{ports}"
