# SPDX-License-Identifier: AGPL-3.0-or-later
"""The routers' own database, of the kind that the tests were told."""

import os
import subprocess

from .postgres_server import binaries
from .router import Router


def on_postgresql() -> bool:
    """With `ROUTER_DATABASE=postgresql://` the routers have theirs in a PostgreSQL server of our own."""
    return os.environ.get("ROUTER_DATABASE", "").startswith("postgresql:")


def all_that_is_kept(router: Router) -> bytes:
    """All of it: SQLite's files, or PostgreSQL's dump. For a router that has stopped."""
    database = router.config["Router"]["Database"]
    if database:
        return subprocess.run([binaries() / "pg_dump", database], check=True, capture_output=True).stdout
    return b"".join(path.read_bytes() for path in (router.folder / "storage").glob("router.db*"))
