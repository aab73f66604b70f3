# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is done again after a pause, whatever is done to the clock."""

from dicom_router.dispatch.timer import Timer

NOW = 10_000.0


def test_it_is_due_at_once_and_then_after_each_pause() -> None:
    timer = Timer()
    assert timer.due(NOW)
    timer.wait(NOW, 5)
    assert [timer.due(NOW + passed) for passed in (0, 4.9, 5, 99)] == [False, False, True, True]


def test_without_a_pause_it_is_due_again_at_once() -> None:
    timer = Timer()
    timer.wait(NOW, 0)
    assert timer.due(NOW)


def test_a_clock_that_is_set_back_makes_it_due() -> None:
    timer = Timer()
    timer.wait(NOW, 5)
    assert timer.due(NOW - 3600)
    timer.wait(NOW - 3600, 5)
    assert not timer.due(NOW - 3600)
