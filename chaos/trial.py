# SPDX-License-Identifier: AGPL-3.0-or-later
"""One fault, its end, and the audit."""

import time
from random import Random

from chaos.audit import Result
from chaos.fault import Fault
from chaos.ground import Ground


def trial(ground: Ground, number: int, seed: int, fault: Fault) -> Result:
    """Make the fault, heal, wait, count."""
    ground.forget()
    notes = []
    try:
        fault.act(ground, Random(seed))
    except AssertionError as problem:
        notes.append(str(problem))
        for router in ground.routers:
            router.kill()
    finally:
        ground.heal()
    healed = time.monotonic()
    try:
        ground.settle()
    except AssertionError as problem:
        notes.append(str(problem))
    recovery = time.monotonic() - healed
    found = ground.audit()
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
    """Something is lost, wrongly claimed or given up, or came twice although no acknowledgement was cut.

    Notes without any of that tell that a trial did not come to its end.
    """
    wrong = result.lost or result.false_completed or result.failed or result.notes
    return bool(wrong or (result.doubled and not fault.cuts))
