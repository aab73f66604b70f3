# SPDX-License-Identifier: AGPL-3.0-or-later
"""A destination is trusted, tried, held and probed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_router.dispatch.breaker import Breaker

NOW = 10_000.0


def held(now: float = NOW) -> Breaker:
    breaker = Breaker()
    assert [breaker.failed(now, "refused") for _ in range(3)] == [False, False, True]
    return breaker


def test_a_new_destination_must_be_tried_first() -> None:
    breaker = Breaker()
    assert breaker.may_try(NOW)
    assert not breaker.proven(NOW)


def test_a_destination_that_accepted_something_is_proven_for_a_while() -> None:
    breaker = Breaker()
    breaker.succeeded(NOW)
    assert breaker.proven(NOW + 299)
    assert not breaker.may_try(NOW + 299)
    assert not breaker.proven(NOW + 301)
    assert breaker.may_try(NOW + 301)


def test_one_failure_takes_the_proof_away_but_does_not_hold() -> None:
    breaker = Breaker()
    breaker.succeeded(NOW)
    assert not breaker.failed(NOW + 1, "aborted")
    assert not breaker.proven(NOW + 1)
    assert breaker.may_try(NOW + 1)


def test_three_failures_in_a_row_hold_it() -> None:
    breaker = held()
    assert breaker.held
    assert breaker.last_error == "refused"
    assert not breaker.may_try(NOW + 1e9)
    assert not breaker.proven(NOW + 1)


def test_a_success_between_failures_starts_the_count_anew() -> None:
    breaker = Breaker()
    for _ in range(5):
        breaker.failed(NOW, "aborted")
        breaker.failed(NOW, "aborted")
        assert breaker.succeeded(NOW)
    assert not breaker.held


def test_it_is_told_once_that_it_is_held() -> None:
    breaker = held()
    assert not breaker.failed(NOW + 1, "a chunk that was still under way")


def test_it_is_away_from_when_it_is_held_until_it_accepts_something() -> None:
    breaker = Breaker()
    breaker.failed(NOW - 100, "aborted")
    assert breaker.away_for(NOW) == 0
    breaker = held()
    assert breaker.away_for(NOW + 10) == 10
    breaker.probed(NOW + 15, "refused")
    breaker.probed(NOW + 45, None)
    breaker.failed(NOW + 46, "accepts echoes only")
    assert breaker.away_for(NOW + 50) == 50
    breaker.succeeded(NOW + 60)
    assert breaker.away_for(NOW + 70) == 0


def test_a_clock_that_is_set_back_counts_anew_how_long_it_is_away() -> None:
    breaker = held()
    breaker.probed(NOW - 3600, "refused")
    assert breaker.away_for(NOW - 3600 + 10) == 10


def test_only_one_is_tried_at_a_time() -> None:
    breaker = Breaker(trying=True)
    assert not breaker.may_try(NOW)


def test_probes_come_after_15_then_30_then_every_50_seconds() -> None:
    breaker = held()
    pauses, at = [], NOW
    for _ in range(5):
        assert not breaker.probe_due(breaker.probe_at - 0.001)
        assert breaker.probe_due(breaker.probe_at)
        pauses.append(breaker.probe_at - at)
        at = breaker.probe_at
        assert not breaker.probed(at, "still refused")
    assert pauses == [15, 30, 50, 50, 50]


def test_a_clock_that_is_set_back_delays_no_probe() -> None:
    breaker = held()
    assert breaker.probe_due(NOW - 3600)
    for _ in range(4):
        breaker.probed(NOW - 3600, "still refused")
    assert not breaker.probe_due(NOW - 3600)
    assert breaker.probe_due(NOW - 3600 + 50)


def test_only_one_probe_is_under_way() -> None:
    breaker = held()
    breaker.probing = True
    assert not breaker.probe_due(breaker.probe_at)


def test_a_probe_that_is_answered_allows_a_try_but_no_lane() -> None:
    breaker = held()
    assert breaker.probed(NOW + 15, None)
    assert breaker.may_try(NOW + 15)
    assert not breaker.proven(NOW + 15)


def test_a_try_that_fails_after_the_probe_holds_it_again_for_longer() -> None:
    breaker = held()
    first = breaker.probe_at - NOW
    breaker.probed(NOW + 15, None)
    assert breaker.failed(NOW + 16, "accepts echoes only")
    assert breaker.held
    assert breaker.probe_at - (NOW + 16) > first


@pytest.mark.parametrize("failures", [1, 2, 3, 7])
def test_being_back_is_told_when_it_was_failing(failures: int) -> None:
    breaker = Breaker()
    assert not breaker.succeeded(NOW)
    for _ in range(failures):
        breaker.failed(NOW, "x")
    assert breaker.succeeded(NOW)
    assert not breaker.succeeded(NOW)
    assert breaker.last_success == NOW


@given(st.lists(st.sampled_from(["succeeded", "failed", "answered", "silent"]), max_size=40))
def test_it_is_never_proven_and_held_nor_stuck(events: list[str]) -> None:
    breaker, now = Breaker(), NOW
    for event in events:
        now += 1
        if event == "succeeded":
            breaker.succeeded(now)
        elif event == "failed":
            breaker.failed(now, "x")
        elif breaker.held:
            breaker.probed(now, None if event == "answered" else "x")
        assert not (breaker.held and (breaker.proven(now) or breaker.may_try(now)))
        assert breaker.held or breaker.proven(now) or breaker.may_try(now)
        assert not breaker.held or breaker.probe_at <= now + 60
