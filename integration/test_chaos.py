# SPDX-License-Identifier: AGPL-3.0-or-later
"""A short run of `make chaos`: faults of each kind, and an audit of what arrived."""

from random import Random

import pytest

from chaos.stage import Stage, possible
from chaos.trial import is_bad, trial

TRIALS = 14
SEED = 20261122


def test_nothing_is_lost_doubled_without_need_or_wrongly_claimed_whatever_fails() -> None:
    """Other faults each time the list grows; the same ones with the same list."""
    faults = Random(SEED).sample(possible(), TRIALS)
    with Stage() as stage:
        results = [
            (trial(stage.ground(fault), number, SEED + number, fault), fault) for number, fault in enumerate(faults)
        ]
    bad = [result.to_json() for result, fault in results if is_bad(result, fault)]
    if bad:
        pytest.fail("\n".join(map(str, bad)))
    assert sum(result.instances for result, _ in results) > TRIALS
