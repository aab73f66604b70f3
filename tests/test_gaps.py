# SPDX-License-Identifier: AGPL-3.0-or-later
"""Numbers of the change log that were passed over."""

from hypothesis import given
from hypothesis import strategies as st

from dicom_router.intake.gaps import FARTHEST, PATIENCE_SECONDS, Gaps

NOW = 1000.0


def test_a_log_without_gaps_waits_for_nothing() -> None:
    gaps = Gaps()
    for seq in range(1, 10):
        gaps.passed_over((seq - 1, "d"), seq, NOW)
    assert (gaps.span(), gaps.places()) == (None, [])


def test_reading_would_begin_again_before_the_first_gap() -> None:
    gaps = Gaps()
    gaps.passed_over((4, "first"), 8, NOW)
    gaps.passed_over((9, "second"), 11, NOW)
    assert gaps.span() == (5, 10)
    assert gaps.places() == [(4, "first")]


def test_what_appears_is_no_longer_waited_for() -> None:
    gaps = Gaps()
    gaps.passed_over((4, "d"), 8, NOW)
    for seq in (6, 5, 7):
        gap = gaps.holds(seq)
        assert gap is not None
        gaps.appeared(gap, seq)
        assert gaps.holds(seq) is None
    assert gaps.span() is None


def test_what_does_not_appear_is_given_up() -> None:
    gaps = Gaps()
    gaps.passed_over((4, "d"), 8, NOW)
    gaps.passed_over((8, "d"), 10, NOW + 5)
    gaps.give_up(10, NOW + PATIENCE_SECONDS + 1)
    assert gaps.span() == (9, 9)
    gaps.give_up(9 + FARTHEST, NOW + 6)
    assert gaps.span() is None


@given(st.sets(st.integers(1, 30), min_size=1), st.randoms(use_true_random=False))
def test_whatever_appears_in_whatever_order_is_found_once(seen: set[int], chance: object) -> None:
    gaps = Gaps()
    before = 0
    for seq in sorted(seen):
        gaps.passed_over((before, "d"), seq, NOW)
        before = seq
    missing = [seq for seq in range(1, max(seen)) if seq not in seen]
    chance.shuffle(missing)  # type: ignore[attr-defined]
    for seq in missing:
        gap = gaps.holds(seq)
        assert gap is not None
        gaps.appeared(gap, seq)
    assert gaps.span() is None
