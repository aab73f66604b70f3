# SPDX-License-Identifier: AGPL-3.0-or-later
"""Threads that wait for destinations: none of them takes them all."""

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from dicom_router.dispatch.verifiers import MOST_OF_ONE, SHARED, Verifiers

LIMIT = 15.0  # seconds that a condition may take


class Asked:
    """Verifiers whose destinations answer when a test says so."""

    def __init__(self) -> None:
        self.verifiers = Verifiers()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self._answers: dict[str, threading.Semaphore] = {}

    def ask(self, name: str, count: int = 1) -> None:
        may_answer = self._answers.setdefault(name, threading.Semaphore(0))

        def work() -> None:
            self.begun.append(name)
            may_answer.acquire()
            self.ended.append(name)

        for _ in range(count):
            self.verifiers.start(name, work)

    def answer(self, name: str, count: int = 1) -> None:
        self._answers[name].release(count)

    def begins(self, **expected: int) -> None:
        end = time.monotonic() + LIMIT
        while Counter(self.begun) != expected:
            assert time.monotonic() < end, Counter(self.begun)
            time.sleep(0.005)

    def all_answer(self) -> None:
        for each in self._answers.values():
            each.release(1000)


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked()
    yield made
    made.all_answer()
    made.verifiers.join(LIMIT)


def test_one_destination_takes_a_part_of_the_threads_and_others_begin_at_once(asked: Asked) -> None:
    asked.ask("A", 24)
    asked.begins(A=MOST_OF_ONE)
    asked.ask("B")
    asked.begins(A=MOST_OF_ONE, B=1)


def test_a_destination_has_a_thread_also_when_all_that_are_shared_are_taken(asked: Asked) -> None:
    asked.ask("A", 24)
    asked.ask("B", 24)
    asked.ask("C", 3)
    asked.ask("D")
    asked.begins(A=MOST_OF_ONE, B=SHARED - MOST_OF_ONE, C=1, D=1)
    asked.answer("C")
    asked.begins(A=MOST_OF_ONE, B=SHARED - MOST_OF_ONE, C=2, D=1)


def test_what_becomes_free_goes_to_who_has_the_fewest(asked: Asked) -> None:
    asked.ask("A", 24)
    asked.ask("B", 24)
    asked.begins(A=8, B=8)
    asked.ask("C", 3)
    asked.begins(A=8, B=8, C=1)
    asked.answer("A")  # C's own thread was beyond the shared ones
    asked.answer("A")
    asked.begins(A=8, B=8, C=2)


def test_all_have_their_turn_and_in_order_for_one_destination(asked: Asked) -> None:
    order: list[int] = []
    asked.ask("A", MOST_OF_ONE)
    asked.begins(A=MOST_OF_ONE)
    for number in range(50):
        asked.verifiers.start("A", lambda number=number: order.append(number))
    asked.answer("A")
    end = time.monotonic() + LIMIT
    while len(order) < 50:
        assert time.monotonic() < end
        time.sleep(0.005)
    assert order == sorted(order)


def test_at_the_stop_what_runs_is_waited_for_and_nothing_else_begins(asked: Asked) -> None:
    asked.ask("A", 24)
    asked.begins(A=MOST_OF_ONE)
    threading.Timer(0.05, asked.all_answer).start()
    asked.verifiers.join(LIMIT)
    assert len(asked.ended) == len(asked.begun) <= 24
    begun = len(asked.begun)
    asked.ask("B")
    assert len(asked.begun) == begun
