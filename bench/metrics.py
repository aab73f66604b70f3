# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a scrape of /router/metrics costs with a long history, and with a long queue.

PYTHONPATH=plugin:tests .venv/bin/python bench/metrics.py [--deliveries 1000000]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from builders import configured, fill
from dicom_router.api.http import ROOT
from dicom_router.deliveries.delivery import Status
from dicom_router.host.sdk import Request
from dicom_router.store.store import open_store
from rest_client import Client

SCRAPES = 20


def milliseconds(client: Client) -> list[float]:
    """What each of the scrapes took, the first one first."""
    took = []
    for _ in range(SCRAPES):
        began = time.perf_counter()
        assert client.api.handle(Request("GET", f"{ROOT}/metrics")).status == 200
        took.append(1000 * (time.perf_counter() - began))
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    number = parser.parse_args().deliveries
    settings = configured({"Destinations": {"ARCHIVE": {"Modality": "ARCHIVE"}}})
    for case, status in (("none", None), ("ended", Status.COMPLETED), ("waiting", Status.SCHEDULED)):
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(Path(folder) / "router.db", "bench", time.time)
            if status is not None:
                fill(store, 0, number, status)
            took = milliseconds(Client(store, settings))
            first, others = round(took[0], 1), round(statistics.median(took[1:]), 2)
            told = {"deliveries": case, "number": number if status else 0, "first_ms": first, "others_ms": others}
            print(json.dumps(told), flush=True)
            store.database.close()


if __name__ == "__main__":
    main()
