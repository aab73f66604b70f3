# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real Orthanc with the router in it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from .network import DicomNode
from .orthanc import Orthanc, merge, python_plugin
from .orthanc_http import Answer
from .waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "plugin" / "router_plugin.py"

FAST_RETRY = {"First": "200ms", "Factor": 2, "Max": "1s", "Jitter": 0.2, "GiveUpAfter": "10m"}

Delivery = dict[str, Any]


class Router(Orthanc):
    """The router with `destinations` (name to node) as its DicomModalities.

    `rules`: by default one that sends everything to all of them. `section`: merged over the "Router" section.
    `database`: the address of the side database, "" for the one beside the index.
    """

    def __init__(
        self,
        folder: Path,
        destinations: Mapping[str, DicomNode] | None = None,
        *,
        rules: list[dict[str, Any]] | None = None,
        section: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        aet: str = "ROUTER",
        database: str = "",
    ) -> None:
        destinations = destinations or {}
        everything = {"Name": "everything", "Match": {}, "Send": list(destinations)}
        router: dict[str, Any] = {
            "Enable": True,
            "Database": database,
            "Destinations": {name: {"Modality": name} for name in destinations},
            "Rules": ([everything] if destinations else []) if rules is None else rules,
            "Retry": FAST_RETRY,
        }
        own = {
            "Plugins": [str(python_plugin())],
            "PythonScript": str(SCRIPT),
            "DicomModalities": {name: [node.aet, node.host, node.port] for name, node in destinations.items()},
            "Router": merge(router, section or {}),
        }
        super().__init__(folder, aet, merge(own, config or {}))
        self.environment["ROUTER_DATABASE"] = ""  # what the tests were told holds for their own databases

    def router_get(self, path: str) -> Any:
        """`router_get("/status")` is GET /router/status."""
        return self.get(f"/router{path}")

    def router_post(self, path: str, body: Any = None) -> Any:
        return self.post(f"/router{path}", {} if body is None else body)

    def router_put(self, path: str, body: Any) -> Any:
        return self.put(f"/router{path}", body)

    def router_request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """For what should be refused: never raises for a status."""
        return self.request(method, f"/router{path}", body, headers)

    def history(self, **filters: str) -> list[Delivery]:
        """All deliveries that pass the filters, newest first; follows the pages."""
        found: list[Delivery] = []
        query = dict(filters) | {"limit": "1000"}
        while True:
            page = self.router_get(f"/history?{urlencode(query)}")
            found += page["Items"]
            if page["Next"] is None:
                return found
            query["cursor"] = page["Next"]

    def wait_for_deliveries(
        self, predicate: Callable[[list[Delivery]], bool], timeout: float = 60, **filters: str
    ) -> list[Delivery]:
        """Ask the history until `predicate` holds; the deliveries it held for. Seconds count while nothing is sent."""
        latest: list[Delivery] = []

        def holds() -> bool:
            nonlocal latest
            latest = self.history(**filters)
            return predicate(latest)

        try:
            wait_until(holds, timeout, "the deliveries are as expected", lambda: _sent(latest))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{_summary(latest)}") from None
        return latest

    def wait_until_completed(self, count: int, timeout: float = 60, **filters: str) -> list[Delivery]:
        """Wait until there are exactly `count` deliveries and all are Completed."""
        return self.wait_for_deliveries(
            lambda found: len(found) == count and all(each["Status"] == "Completed" for each in found),
            timeout,
            **filters,
        )


def _sent(deliveries: list[Delivery]) -> int:
    return sum(each["InstancesSent"] for each in deliveries)


def _summary(deliveries: list[Delivery]) -> str:
    columns = ("Destination", "Status", "Reason", "InstancesSent", "InstancesCount", "Attempts", "LastError")
    return "\n".join(str({name: delivery.get(name) for name in columns}) for delivery in deliveries) or "no deliveries"
