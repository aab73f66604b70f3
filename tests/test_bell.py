# SPDX-License-Identifier: AGPL-3.0-or-later
"""The bell-driven thread: it hears every ring, and never sleeps over its stop."""

import threading

from dicom_router.bell import BellThread

LONG = 3600.0
LIMIT = 10.0


class Rounds(BellThread):
    def __init__(self) -> None:
        super().__init__("test")
        self.done = 0
        self.changed = threading.Condition()
        self.stop_within = False

    def _round(self) -> float:
        with self.changed:
            self.done += 1
            self.changed.notify_all()
        if self.stop_within:
            self._stopping = True
            self._bell.set()
        return LONG

    def reached(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: self.done >= count, LIMIT)


def test_it_does_a_round_at_its_start_and_at_each_ring() -> None:
    rounds = Rounds()
    rounds.start()
    assert rounds.reached(1)
    rounds.ring()
    assert rounds.reached(2)
    rounds.stop()


def test_a_stop_in_the_middle_of_a_round_is_not_slept_over() -> None:
    rounds = Rounds()
    rounds.stop_within = True
    rounds.start()
    rounds._thread.join(LIMIT)
    assert not rounds._thread.is_alive()
    assert rounds.done == 1


def test_a_stop_before_the_first_round_is_heard() -> None:
    rounds = Rounds()
    rounds._stopping = True
    rounds._bell.set()  # as `stop` does, just before the thread clears its bell
    rounds.start()
    rounds._thread.join(LIMIT)
    assert not rounds._thread.is_alive()
    assert rounds.done == 0
