# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a delivery is tried again."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_router.deliveries.retry import RetryPolicy, next_attempt

PLAIN = RetryPolicy(first=30, factor=2, max=3600, jitter=0, give_up_after=7 * 86400)
POLICIES = st.builds(
    RetryPolicy,
    first=st.floats(0.001, 1e6),
    factor=st.floats(1, 100),
    max=st.floats(0.001, 3e9),
    jitter=st.floats(0, 1),
    give_up_after=st.floats(0, 3e9),
)
LUCK = st.floats(0, 1)


def pause(policy: RetryPolicy, attempts: int, luck: float = 0.5) -> float:
    at = next_attempt(policy, attempts, created_at=1000.0, now=1000.0, luck=luck)
    assert at is not None
    return at - 1000.0


def test_the_defaults_are_those_of_the_contract() -> None:
    assert RetryPolicy() == RetryPolicy(30.0, 2.0, 3600.0, 0.2, 7 * 86400.0)


def test_the_pauses_grow_up_to_the_longest() -> None:
    told = [pause(PLAIN, attempts) for attempts in range(1, 11)]
    assert told == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_a_factor_of_one_does_not_grow() -> None:
    assert {pause(RetryPolicy(30, 1, 3600, 0), attempts) for attempts in range(1, 50)} == {30.0}


def test_the_first_pause_is_not_longer_than_the_longest() -> None:
    assert pause(RetryPolicy(first=7200, max=3600, jitter=0), 1) == 3600


@given(attempts=st.integers(1, 60), luck=LUCK)
def test_the_pause_is_spread_by_the_jitter_only(attempts: int, luck: float) -> None:
    policy = RetryPolicy(jitter=0.2)
    middle = pause(PLAIN, attempts)
    assert 0.8 * middle - 1e-6 <= pause(policy, attempts, luck) <= 1.2 * middle + 1e-6


def test_luck_spreads_over_the_whole_jitter() -> None:
    policy = RetryPolicy(first=100, jitter=0.2)
    assert [pause(policy, 1, luck) for luck in (0.0, 0.5, 1.0)] == pytest.approx([80, 100, 120])


def test_it_gives_up_when_the_time_is_over() -> None:
    deadline = 1000.0 + PLAIN.give_up_after
    assert next_attempt(PLAIN, 5, 1000.0, deadline, 0.5) is None
    assert next_attempt(PLAIN, 5, 1000.0, deadline + 1, 0.5) is None


def test_the_last_attempt_is_at_the_deadline() -> None:
    deadline = 1000.0 + PLAIN.give_up_after
    assert next_attempt(PLAIN, 50, 1000.0, deadline - 1, 0.5) == deadline


@given(policy=POLICIES, attempts=st.integers(0, 10**9), age=st.floats(0, 4e9), luck=LUCK)
def test_any_policy_gives_a_time_between_now_and_the_deadline_or_gives_up(
    policy: RetryPolicy, attempts: int, age: float, luck: float
) -> None:
    created = 1.795e9
    now = created + age
    at = next_attempt(policy, attempts, created, now, luck)
    deadline = created + policy.give_up_after
    if at is None:
        assert now >= deadline
    else:
        assert math.isfinite(at)
        assert now <= at <= deadline


@given(policy=POLICIES, attempts=st.integers(1, 200), luck=LUCK)
def test_pauses_never_shrink(policy: RetryPolicy, attempts: int, luck: float) -> None:
    def after(count: int) -> float:
        at = next_attempt(policy, count, 0.0, 0.0, luck)
        return math.inf if at is None else at

    assert after(attempts) <= after(attempts + 1)
