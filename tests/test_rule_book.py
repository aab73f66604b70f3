# SPDX-License-Identifier: AGPL-3.0-or-later
"""The rules made over REST: order and versions."""

import pytest

from builders import NOW
from conftest import OpenStore
from dicom_router.store.store import Store


def names(store: Store) -> list[str]:
    return [kept.name for kept in store.rule_book.living()]


def test_rules_stand_in_the_order_in_which_they_were_made(store: Store) -> None:
    for name in ("b", "a", "c"):
        assert store.rule_book.put({"Name": name, "Send": ["X"]}, NOW).version == 1
    assert names(store) == ["b", "a", "c"]


def test_a_new_version_keeps_the_place(store: Store) -> None:
    for name in ("a", "b"):
        store.rule_book.put({"Name": name}, NOW)
    kept = store.rule_book.put({"Name": "a", "Stop": True}, NOW + 1)
    assert (kept.version, kept.body, kept.made_at) == (2, {"Name": "a", "Stop": True}, NOW + 1)
    assert names(store) == ["a", "b"]
    assert store.rule_book.get("a") == kept


def test_all_versions_are_kept_newest_first_also_of_a_deleted_rule(store: Store) -> None:
    store.rule_book.put({"Name": "a", "Stop": False}, NOW)
    store.rule_book.put({"Name": "a", "Stop": True}, NOW + 1)
    assert store.rule_book.delete("a", NOW + 2)
    told = [(kept.version, kept.body) for kept in store.rule_book.versions("a")]
    assert told == [(3, None), (2, {"Name": "a", "Stop": True}), (1, {"Name": "a", "Stop": False})]
    assert names(store) == []
    assert store.rule_book.get("a") is None
    assert store.rule_book.put({"Name": "a"}, NOW + 3).version == 4


def test_what_is_not_there_is_not_deleted(store: Store) -> None:
    assert not store.rule_book.delete("a", NOW)
    assert store.rule_book.versions("a") == []
    store.rule_book.put({"Name": "a"}, NOW)
    assert store.rule_book.delete("a", NOW)
    assert not store.rule_book.delete("a", NOW)
    assert len(store.rule_book.versions("a")) == 2


def test_the_order_can_be_changed_and_new_rules_come_last(store: Store) -> None:
    for name in ("a", "b", "c"):
        store.rule_book.put({"Name": name}, NOW)
    assert store.rule_book.order(["c", "a", "b"])
    store.rule_book.put({"Name": "d"}, NOW)
    assert names(store) == ["c", "a", "b", "d"]


@pytest.mark.parametrize("wanted", [[], ["a"], ["a", "a"], ["a", "b", "b"], ["a", "b", "c"], ["a", "B"]])
def test_an_order_that_does_not_name_exactly_the_rules_changes_nothing(store: Store, wanted: list[str]) -> None:
    for name in ("b", "a"):
        store.rule_book.put({"Name": name}, NOW)
    assert not store.rule_book.order(wanted)
    assert names(store) == ["b", "a"]


def test_rules_outlive_a_restart(open_store: OpenStore) -> None:
    body = {"Name": "nächtlich", "Match": {"Modality": ["CT", "MR"]}, "Send": [{"To": "X", "Late": "All"}]}
    open_store("here").rule_book.put(body, NOW)
    assert [kept.body for kept in open_store("there").rule_book.living()] == [body]
