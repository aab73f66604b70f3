# SPDX-License-Identifier: AGPL-3.0-or-later
"""A destination that is away for minutes: how soon it gets something once it is back, and when all is drained.

    PYTHONPATH=integration .venv/bin/python bench/outage.py [--minutes 5] [--studies 10]

The router runs with its own default retry, whose pauses grow far beyond what a drain may wait for.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

from support.router import Router
from support.scripted_scp import ScriptedScp
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

DEFAULT_RETRY = {"First": "30s", "Factor": 2, "Max": "1h", "Jitter": 0.2, "GiveUpAfter": "7d"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--studies", type=int, default=10)
    chosen = parser.parse_args()
    pacs = ScriptedScp("PACS")
    with tempfile.TemporaryDirectory() as name:
        router = Router(Path(name) / "router", {"PACS": pacs.node}, section={"Retry": DEFAULT_RETRY})
        router.start()
        try:
            pacs.stop_listening()
            for number in range(chosen.studies):
                study = make_study(Path(name) / str(number), instances=20, pixels=(64, 64))
                send(study.files, router.node)
            threading.Event().wait(60 * chosen.minutes)
            waiting = len(router.history())
            pacs.start_listening()
            back = time.monotonic()
            wait_until(lambda: pacs.received, 120, "the first instance arrives")
            first = time.monotonic() - back
            router.wait_until_completed(chosen.studies, 120)
            drained = time.monotonic() - back
        finally:
            router.kill()
            pacs.close()
    told = {
        "Minutes": chosen.minutes,
        "Waiting": waiting,
        "FirstAfter": round(first, 1),
        "DrainedAfter": round(drained, 1),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
