# SPDX-License-Identifier: AGPL-3.0-or-later
"""One router, with its side database in SQLite."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.ground import SABOTAGE, Ground, Orders, destinations, rules
from support.router import Router

DISK_MEGABYTES = 8


class World(Ground):
    """What a trial acts on. `disk` is where the side database lies, on a small file system of its own if possible."""

    def __init__(self, folder: Path, disk: Path, *, can_fill_disk: bool) -> None:
        super().__init__(folder)
        self.disk = disk
        self.can_fill_disk = can_fill_disk
        self.orders = Orders(folder / "orders.json")
        self.router = Router(
            folder / "router",
            self.nodes,
            rules=rules(),
            section={"Database": f"sqlite:///{self.database}", "Destinations": destinations()},
            config=SABOTAGE,
        )
        self.router.environment |= self.orders.environment

    @property
    def routers(self) -> list[Router]:
        return [self.router]

    @property
    def database(self) -> Path:
        return self.disk / "router.db"

    def heal(self) -> None:
        self.orders.give()
        super().heal()


@contextmanager
def world() -> Iterator[World]:
    """A fresh world, closed at the end."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as name, _small_disk(Path(name) / "disk") as can_fill:
        made = World(Path(name), Path(name) / "disk", can_fill_disk=can_fill)
        try:
            made.start()
            yield made
        finally:
            made.close()


@contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    """A file system of a few megabytes at `folder`, where the user may mount one; whether that is so."""
    folder.mkdir()
    if os.geteuid() != 0:
        yield False
        return
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
