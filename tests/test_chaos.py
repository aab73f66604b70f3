# SPDX-License-Identifier: AGPL-3.0-or-later
"""The audit of a trial finds what is wrong; the report adds up."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from chaos.audit import Expected, audit, open_deliveries
from chaos.report import table, write

SENT = [Expected("study", frozenset({"1", "2", "3"}))]


def delivery(**changes: Any) -> dict[str, Any]:
    return {
        "ID": 7,
        "StudyInstanceUID": "study",
        "Destination": "FAR",
        "Status": "Completed",
        "InstancesSent": 3,
        "InstancesCount": 3,
    } | changes


def test_all_that_arrived_once_and_is_claimed_is_clean() -> None:
    found = audit(SENT, {"FAR": Counter("123")}, [delivery()])
    assert found.clean
    assert (found.instances, found.doubled) == (3, 0)


def test_what_was_acknowledged_and_is_not_there_is_lost() -> None:
    found = audit(SENT, {"FAR": Counter("13"), "NEAR": Counter("123")}, [delivery(InstancesSent=2, InstancesCount=2)])
    assert found.lost == ("FAR 2",)
    assert not found.clean


def test_late_images_of_a_study_are_expected_too() -> None:
    found = audit([*SENT, Expected("study", frozenset({"4"}))], {"FAR": Counter("123")}, [])
    assert found.lost == ("FAR 4",)


def test_what_came_twice_is_counted_and_what_belongs_to_other_trials_is_not() -> None:
    assert audit(SENT, {"FAR": Counter("1223" + "99")}, []).doubled == 1


def test_what_was_stored_but_not_acknowledged_any_more_may_be_sent_and_need_not() -> None:
    """The router died between the two."""
    expected = [Expected("study", frozenset("12"), frozenset("3"))]
    assert audit(expected, {"FAR": Counter("123")}, [delivery()]).clean
    assert audit(expected, {"FAR": Counter("12")}, [delivery(InstancesSent=2, InstancesCount=2)]).clean
    assert audit(expected, {"FAR": Counter("12")}, [delivery()]).false_completed


@pytest.mark.parametrize(
    "history",
    [
        [delivery(InstancesSent=2)],
        [delivery(), delivery(ID=8)],
        [delivery(InstancesSent=4, InstancesCount=4)],
    ],
    ids=["less than it should", "the same twice", "more than there is"],
)
def test_a_false_claim_of_the_history_is_found(history: list[dict[str, Any]]) -> None:
    assert audit(SENT, {"FAR": Counter("123")}, history).false_completed


@pytest.mark.parametrize("status", ["Failed", "Warning"])
def test_what_was_given_up_is_not_clean(status: str) -> None:
    found = audit(SENT, {"FAR": Counter("123")}, [delivery(Status=status)])
    assert found.failed == ("FAR 7",)
    assert not found.clean


def test_a_delivery_that_has_not_ended_is_open() -> None:
    assert open_deliveries([delivery(), delivery(Status="Retrying")]) == [delivery(Status="Retrying")]


def test_the_table_adds_up_and_replaces_the_one_before(tmp_path: Path) -> None:
    row = {"fault": "killed", "instances": 5, "lost": 0, "false_completed": 0, "doubled": 1, "recovery": 2.0}
    rows = [row, row | {"recovery": 7.5}, row | {"fault": "cut", "doubled": 0}]
    page = tmp_path / "page.md"
    page.write_text("before\n\n## Figures\n\nold\n\n## After\n\nmore\n")
    write(rows, page)
    text = page.read_text()
    assert "| killed | 2 | 10 | 0 | 0 | 2 | 7.5 s |" in text
    assert "| **all** | 3 | 15 | 0 | 0 | 2 | 7.5 s |" in text
    assert text.startswith("before\n")
    assert text.endswith("s |\n\n## After\n\nmore\n")
    assert "old" not in text
    assert table(rows) in text
