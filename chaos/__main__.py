# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run trials: PYTHONPATH=integration:. python -m chaos [--trials 20] [--seed 1] [--fault NAME] [--results FILE]."""

import argparse
import json
import sys
import time
import traceback
from pathlib import Path
from random import Random

from chaos.audit import Result
from chaos.faults import FAULTS, Fault, possible
from chaos.report import read, table, write
from chaos.world import World, world

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"


def trial(made: World, number: int, seed: int, fault: Fault) -> Result:
    """One fault, its end, and the audit."""
    made.forget()
    notes = []
    try:
        fault.act(made, Random(seed))
    finally:
        made.heal()
    healed = time.monotonic()
    try:
        made.settle()
    except AssertionError as problem:
        notes.append(str(problem))
    recovery = time.monotonic() - healed
    found = made.audit()
    notes += [*found.lost[:5], *found.false_completed[:5], *found.failed[:5]]
    return Result(
        trial=number,
        seed=seed,
        fault=fault.name,
        instances=found.instances,
        lost=len(found.lost),
        doubled=found.doubled,
        false_completed=len(found.false_completed),
        failed=len(found.failed),
        recovery=round(recovery, 2),
        notes=notes,
    )


def is_bad(result: Result, fault: Fault) -> bool:
    """Something is lost, wrongly claimed or given up, or came twice although no acknowledgement was cut."""
    return bool(result.lost or result.false_completed or result.failed or (result.doubled and not fault.cuts))


def run(trials: int, seed: int, only: str, results: Path | None) -> int:
    """All trials in one world; the number of bad ones."""
    bad = 0
    with world() as made:
        faults = [each for each in possible(made) if only in each.name]
        if not made.can_fill_disk:
            print("The disk cannot be filled here: that takes root. This fault is left out.", file=sys.stderr)
        for number in range(trials):
            fault = faults[(seed + number) % len(faults)]
            result = trial(made, number, seed * 100_000 + number, fault)
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
    parser.add_argument("--trials", type=int, default=len(FAULTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", default="", help="only the faults whose name contains this")
    parser.add_argument("--results", type=Path, help="append each trial to this file, as a line of JSON")
    parser.add_argument("--report", type=Path, help="no trials: write docs/reliability.md from this file")
    options = parser.parse_args()
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
