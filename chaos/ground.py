# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every trial stands on: two destinations, one far away behind a proxy that can fail, one near that verifies."""

import json
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any

import urllib3

from chaos.audit import Audit, Expected, audit, open_deliveries
from support.latency_proxy import LatencyProxy, Mode
from support.network import DicomNode
from support.orthanc import Orthanc
from support.orthanc_http import HttpError
from support.router import REPOSITORY, Delivery, Router
from support.scripted_scp import ScriptedScp
from support.store_scu import BackgroundSend, send
from support.studies import Study, make_study
from support.waiting import wait_until

FAR, NEAR = "FAR", "NEAR"
DELETE = "DELETE"
RETRY = {"First": "200ms", "Factor": 2, "Max": "1s", "Jitter": 0.5, "GiveUpAfter": "7d"}
SETTLE_SECONDS = 240.0
LOOK_SECONDS = 0.2
SMALL = (16, 16)  # pixels


class Ground(ABC):
    """The receivers, and what was sent. The routers are made by who stands on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scp = ScriptedScp(FAR, keep_data=False)
        self.proxy = LatencyProxy(self.scp.node.port)
        self.near = Orthanc(folder / "near", NEAR, {"DicomAlwaysAllowFind": True})
        self.sent: list[Expected] = []
        self._to_delete: set[str] = set()
        self._studies = 0

    @property
    @abstractmethod
    def routers(self) -> list[Router]:
        """All of them, also those that are dead."""

    @property
    def nodes(self) -> dict[str, DicomNode]:
        """The destinations, as the routers reach them."""
        return {FAR: DicomNode(FAR, self.proxy.port, self.scp.node.host), NEAR: self.near.node}

    def start(self) -> None:
        self.near.start()
        for router in self.routers:
            router.start()

    def close(self) -> None:
        for orthanc in (*self.routers, self.near):
            orthanc.kill()
        self.proxy.close()
        self.scp.close()

    # Studies

    def make(self, instances: int, **tags: object) -> Study:
        """Files of a new study."""
        self._studies += 1
        study = make_study(self.folder / "studies" / str(self._studies), instances=instances, pixels=SMALL, **tags)
        if tags.get("StationName") == DELETE:
            self._to_delete.add(study.uid)
        return study

    def send(self, study: Study, to: Router | None = None) -> None:
        """By C-STORE, to the end or to the router's end."""
        self._note(study, send(study.files, (to or self.routers[0]).node).acknowledged)

    def send_in_background(self, study: Study, to: Router | None = None) -> BackgroundSend:
        return BackgroundSend(study.files, (to or self.routers[0]).node)

    def sent_in_background(self, study: Study, sending: BackgroundSend) -> None:
        self._note(study, sending.wait().acknowledged)

    def _note(self, study: Study, acknowledged: list[str]) -> None:
        answered = frozenset(acknowledged)
        self.sent.append(Expected(study.uid, answered, frozenset(study.sop_instance_uids) - answered))

    # The end of a trial

    def heal(self) -> None:
        """All is well again."""
        self.scp.behave()
        self.proxy.delay = 0.0
        if self.proxy.mode is Mode.BLACK_HOLE:
            self.proxy.cut()  # what it swallowed does not come again, as it would in a network
        self.proxy.forward()
        for orthanc in (self.near, *self.routers):
            if not orthanc.is_alive:
                orthanc.start()

    def settle(self) -> None:
        """Until all that was acknowledged has arrived everywhere, no delivery is open, and what is to go is gone."""
        wait_until(self._settled, SETTLE_SECONDS, "all has arrived and no delivery is open", every=LOOK_SECONDS)

    def _settled(self) -> bool:
        received = self.scp.received
        if not all(received[uid] for each in self.sent for uid in each.acknowledged):
            return False
        try:
            history = self.history()
            return not open_deliveries(history) and not self._audit(history).lost and not self._undeleted()
        except (HttpError, urllib3.exceptions.HTTPError):
            return False  # its database is away

    def _undeleted(self) -> bool:
        """A study is still there that should be deleted once it was sent."""
        asked = [{"Level": "Study", "Query": {"StudyInstanceUID": uid}} for uid in self._to_delete & self._uids]
        return any(self._living().post("/tools/find", each) for each in asked)

    def history(self) -> list[Delivery]:
        """Of all that this trial has sent."""
        router = self._living()
        return [delivery for uid in sorted(self._uids) for delivery in router.history(study=uid)]

    @property
    def _uids(self) -> set[str]:
        return {each.study_uid for each in self.sent}

    def _living(self) -> Router:
        return next(router for router in self.routers if router.is_alive)

    def audit(self) -> Audit:
        """Of all that this trial has sent."""
        return self._audit(self.history())

    def _audit(self, history: list[Delivery]) -> Audit:
        received = {FAR: self.scp.received, NEAR: Counter(self.near.sop_instance_uids())}
        return audit(self.sent, received, history)

    def forget(self) -> None:
        """The next trial begins. What the routers store stays; the near one is asked often, and is emptied."""
        self.sent.clear()
        self._to_delete.clear()
        held = self.near.get("/studies")
        if held:
            self.near.post("/tools/bulk-delete", {"Resources": held})


def rules() -> list[dict[str, Any]]:
    """All goes to both; what comes from a DELETE modality is deleted from the router's Orthanc afterwards."""
    return [
        {"Name": "delete", "Match": {"StationName": DELETE}, "Send": [FAR, NEAR], "DeleteAfterSend": True},
        {"Name": "all", "Match": {}, "Send": [FAR, NEAR]},
    ]


def destinations() -> dict[str, Any]:
    """Quick to try again; the near one is asked what it has."""
    return {
        FAR: {"Modality": FAR, "Associations": 3, "Timeout": "2s", "Retry": RETRY},
        NEAR: {"Modality": NEAR, "Verify": "Counted", "Retry": RETRY},
    }


class Orders:
    """For the sabotage inside one router."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.give()

    @property
    def environment(self) -> dict[str, str]:
        """By which the router finds them."""
        return {"CHAOS_ORDERS": str(self._path), "CHAOS_PLUGIN": str(REPOSITORY / "plugin")}

    def give(self, **orders: Any) -> None:
        """From now on; nothing said takes back everything."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(orders))
        new.replace(self._path)


SABOTAGE = {"PythonScript": str(REPOSITORY / "chaos" / "sabotage.py")}
