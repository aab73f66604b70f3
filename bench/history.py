# SPDX-License-Identifier: AGPL-3.0-or-later
"""The history with a million deliveries: what REST answers in, and what a person waits for in the browser.

PYTHONPATH=integration .venv/bin/python bench/history.py [--deliveries 1000000]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from support.browser import Watched, running_chromium
from support.long_history import write_long_history
from support.network import DicomNode, free_port
from support.router import Router

ROUNDS = 5
REQUESTS = {
    "first page": "/history?limit=50",
    "state": "/history?limit=50&status=Failed",
    "destination": "/history?limit=50&destination=ARCHIVE",
    "destination and state": "/history?limit=50&destination=ARCHIVE&status=Failed",
    "rule": "/history?limit=50&rule=rule%203",
    "accession number": "/history?limit=50&accession=A777",
    "patient": "/history?limit=50&patient=P777",
    "any text, few": "/history?limit=50&q=a24999",
    "any text, many": "/history?limit=50&q=thorax",
    "a month": "/history?limit=50&from={month_ago}",
    "deep in the pages": "/history?limit=50&cursor=1000",
    "status": "/status",
    "destinations": "/destinations",
    "statistics": "/statistics",
}


def main() -> None:
    """One line of JSON for each case: milliseconds, the median of some rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    count = parser.parse_args().deliveries
    with tempfile.TemporaryDirectory() as folder:
        nodes = {name: DicomNode(name, free_port()) for name in ("ARCHIVE", "WORKSTATION", "RESEARCH", "CLOUD")}
        router = Router(Path(folder) / "ROUTER", nodes, section={"Database": ""})
        try:
            router.start()
            router.stop()
            write_long_history(router.folder / "storage" / "router.db", count)
            router.start()
            _ask(router, count)
            _look(router, count)
        finally:
            router.kill()


def _ask(router: Router, count: int) -> None:
    month_ago = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 30 * 86400))
    for name, path in REQUESTS.items():
        address = path.format(month_ago=month_ago)
        _tell(f"REST: {name}", count, lambda address=address: router.router_get(address))


def _look(router: Router, count: int) -> None:
    with running_chromium() as browser:
        page = Watched(browser, router.url).go("#/history")
        rows = page.get_by_role("row")
        expect(rows).to_have_count(51, timeout=60_000)

        def first_page() -> None:
            page.reload()
            expect(rows).to_have_count(51, timeout=60_000)

        _tell("browser: first page", count, first_page)
        _tell("browser: a filter", count, lambda: _toggle_failed(page))


def _toggle_failed(page: Page) -> None:
    """On, until only those are shown; and off again, which counts too."""
    toggle = page.get_by_role("button", name="Failed", exact=True)
    toggle.click()
    expect(page.get_by_role("row").filter(has_text="Failed")).to_have_count(50, timeout=60_000)
    toggle.click()
    expect(page.get_by_role("row").filter(has_text="Completed").first).to_be_visible(timeout=60_000)


def _tell(name: str, count: int, work: Callable[[], object]) -> None:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - began))
    taken.sort()
    told = {"case": name, "deliveries": count, "median_ms": round(taken[ROUNDS // 2], 1), "best_ms": round(taken[0], 1)}
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
