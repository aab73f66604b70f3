# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router and its two destinations: one far away, behind a proxy that can fail, and one near that verifies."""

import json
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaos.audit import Audit, Expected, audit, open_deliveries
from support.latency_proxy import LatencyProxy
from support.network import DicomNode
from support.orthanc import Orthanc
from support.router import REPOSITORY, Router
from support.scripted_scp import ScriptedScp
from support.store_scu import BackgroundSend, send
from support.studies import Study, make_study
from support.waiting import wait_until

FAR, NEAR = "FAR", "NEAR"
RETRY = {"First": "200ms", "Factor": 2, "Max": "1s", "Jitter": 0.5, "GiveUpAfter": "1h"}
DISK_MEGABYTES = 8
SETTLE_SECONDS = 240.0
SMALL = (16, 16)  # pixels


class World:
    """What a trial acts on. `disk` is where the side database lies, on a small file system of its own if possible."""

    def __init__(self, folder: Path, disk: Path, *, can_fill_disk: bool) -> None:
        self.folder = folder
        self.disk = disk
        self.can_fill_disk = can_fill_disk
        self.scp = ScriptedScp("FAR", keep_data=False)
        self.proxy = LatencyProxy(self.scp.node.port)
        self.near = Orthanc(folder / "near", "NEAR", {"DicomAlwaysAllowFind": True})
        self.orders = folder / "orders.json"
        self.sent: list[Expected] = []
        self._studies = 0
        far = DicomNode("FAR", self.proxy.port, self.scp.node.host)
        self.router = Router(
            folder / "router",
            {FAR: far, NEAR: self.near.node},
            rules=rules(),
            section={
                "Database": f"sqlite:///{disk / 'router.db'}",
                "Destinations": {
                    FAR: {"Modality": FAR, "Associations": 3, "Timeout": "2s", "Retry": RETRY},
                    NEAR: {"Modality": NEAR, "Verify": "Counted", "Retry": RETRY},
                },
            },
            config={"PythonScript": str(REPOSITORY / "chaos" / "sabotage.py")},
        )
        self.router.environment |= {"CHAOS_ORDERS": str(self.orders), "CHAOS_PLUGIN": str(REPOSITORY / "plugin")}
        self.order()

    @property
    def database(self) -> Path:
        return self.disk / "router.db"

    def start(self) -> None:
        self.near.start()
        self.router.start()

    def close(self) -> None:
        for orthanc in (self.router, self.near):
            orthanc.kill()
        self.proxy.close()
        self.scp.close()

    # Orders for the sabotage inside

    def order(self, **orders: Any) -> None:
        """From now on; nothing said takes back everything."""
        new = self.orders.with_suffix(".new")
        new.write_text(json.dumps(orders))
        new.replace(self.orders)

    # Studies

    def make(self, instances: int, **tags: object) -> Study:
        """Files of a new study."""
        self._studies += 1
        return make_study(self.folder / "studies" / str(self._studies), instances=instances, pixels=SMALL, **tags)

    def send(self, study: Study) -> None:
        """By C-STORE, to the end or to the router's end."""
        self._note(study, send(study.files, self.router.node).acknowledged)

    def send_in_background(self, study: Study) -> BackgroundSend:
        return BackgroundSend(study.files, self.router.node)

    def sent_in_background(self, study: Study, sending: BackgroundSend) -> None:
        self._note(study, sending.wait().acknowledged)

    def _note(self, study: Study, acknowledged: list[str]) -> None:
        self.sent.append(Expected(study.uid, frozenset(acknowledged)))

    # The end of a trial

    def heal(self) -> None:
        """All is well again."""
        self.order()
        self.scp.behave()
        self.proxy.delay = 0.0
        self.proxy.forward()
        if not self.near.is_alive:
            self.near.start()
        if not self.router.is_alive:
            self.router.start()

    def settle(self) -> None:
        """Until everything that was acknowledged has arrived everywhere, and no delivery is open."""
        wait_until(self._settled, SETTLE_SECONDS, "all has arrived and no delivery is open")

    def _settled(self) -> bool:
        return not self.audit().lost and not open_deliveries(self.router.history())

    def audit(self) -> Audit:
        """Of all that this trial has sent."""
        received = {FAR: self.scp.received, NEAR: Counter(self.near.sop_instance_uids())}
        return audit(self.sent, received, self.router.history())

    def forget(self) -> None:
        """The next trial begins; what is stored stays."""
        self.sent.clear()


def rules() -> list[dict[str, Any]]:
    """All goes to both; what comes from a DELETE modality is deleted from the router's Orthanc afterwards."""
    return [
        {"Name": "delete", "Match": {"StationName": "DELETE"}, "Send": [FAR, NEAR], "DeleteAfterSend": True},
        {"Name": "all", "Match": {}, "Send": [FAR, NEAR]},
    ]


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
