# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run trials: PYTHONPATH=integration:. python -m chaos [--trials 20] [--seed 1] [--fault NAME] [--results FILE]."""

import argparse
import json
import signal
import sys
import traceback
from pathlib import Path

from chaos.audit import Result
from chaos.report import read, table, write
from chaos.stage import ALL, Stage, possible
from chaos.trial import is_bad, trial

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"


def run(trials: int, seed: int, only: str, results: Path | None) -> int:
    """All trials; the number of bad ones."""
    bad = 0
    faults = possible(only)
    with Stage() as stage:
        for number in range(trials):
            fault = faults[(seed + number) % len(faults)]
            result = trial(stage.ground(fault), number, seed * 100_000 + number, fault)
            verdict = "BAD " if is_bad(result, fault) else "ok  "
            bad += is_bad(result, fault)
            print(f"{verdict}{number:4} {fault.name}: {_told(result)}", flush=True)
            if results is not None:
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result.to_json()) + "\n")
    return bad


def _told(result: Result) -> str:
    told = f"{result.instances} instances, {result.lost} lost, {result.doubled} doubled, {result.recovery:.1f} s"
    return "\n    ".join([told, *result.notes])


def main() -> int:
    """Exit code 1 when a trial was bad."""
    parser = argparse.ArgumentParser(prog="chaos", description="Fault injection with an audit of what arrived.")
    parser.add_argument("--trials", type=int, default=len(ALL))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", default="", help="only the faults whose name contains this")
    parser.add_argument("--results", type=Path, help="append each trial to this file, as a line of JSON")
    parser.add_argument("--report", type=Path, help="no trials: write docs/reliability.md from this file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers end with us
    if options.report:
        write(read(options.report), PAGE)
        return 0
    bad = run(options.trials, options.seed, options.fault, options.results)
    if options.results:
        print(table(read(options.results)))
    print(f"{bad} bad trials of {options.trials}.")
    return 1 if bad else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        traceback.print_exc()
        sys.exit(130)
