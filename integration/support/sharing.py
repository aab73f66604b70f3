# SPDX-License-Identifier: AGPL-3.0-or-later
"""Several routers over one index: Orthanc's own tables, the stored files and the side database are common to all."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .network import DicomNode
from .orthanc import plugin_file, python_plugin
from .postgres_server import PASSWORD, USER, PostgresServer
from .router import Router


def shared_config(server: PostgresServer, index: str, storage: Path) -> dict[str, Any]:
    """What every Orthanc over the index `index` is told (Debian's orthanc-postgresql, several writers)."""
    return {
        "Plugins": [str(python_plugin()), str(plugin_file("libOrthancPostgreSQLIndex.so"))],
        "StorageDirectory": str(storage),
        "PostgreSQL": {
            "EnableIndex": True,
            "EnableStorage": False,
            "Host": "127.0.0.1",
            "Port": server.port,
            "Database": index,
            "Username": USER,
            "Password": PASSWORD,
            "Lock": False,
            "IndexConnectionsCount": 5,
            "MaximumConnectionRetries": 10,
        },
    }


def several_routers(
    start_router: Callable[..., Router],
    server: PostgresServer,
    folder: Path,
    destinations: Mapping[str, DicomNode],
    aets: tuple[str, ...] = ("ROUTER1", "ROUTER2"),
    **arguments: Any,
) -> list[Router]:
    """Running routers with these AE titles, one after the other started over one new index and side database."""
    storage = folder / "storage"
    config = shared_config(server, server.database(), storage)
    database = server.url(server.database())
    return [start_router(dict(destinations), aet=aet, config=config, database=database, **arguments) for aet in aets]
