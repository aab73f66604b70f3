# SPDX-License-Identifier: AGPL-3.0-or-later
"""A short run of `make chaos`: faults of each kind, and an audit of what arrived."""

from random import Random

import pytest

from chaos.__main__ import is_bad, trial
from chaos.faults import Fault, possible
from chaos.world import world

TRIALS = 14
SEED = 20261122


def test_nothing_is_lost_doubled_without_need_or_wrongly_claimed_whatever_fails() -> None:
    """Other faults each time the list grows; the same ones with the same list."""
    with world() as made:
        faults: list[Fault] = Random(SEED).sample(possible(made), TRIALS)
        results = [(trial(made, number, SEED + number, fault), fault) for number, fault in enumerate(faults)]
    bad = [result.to_json() for result, fault in results if is_bad(result, fault)]
    if bad:
        pytest.fail("\n".join(map(str, bad)))
    assert sum(result.instances for result, _ in results) > TRIALS
