# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an Orthanc does every two seconds because of others over the same side database."""

import pytest

from dicom_router.following import FollowingThread
from dicom_router.store.store import Store


def test_the_task_of_reading_is_renewed_though_something_else_cannot_be_followed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed, logged = [], []
    following = FollowingThread(
        store, lambda: None, lambda _: None, lambda: None, lambda: renewed.append(True), logged.append
    )

    def broken() -> bool:
        raise ValueError("unexpected")

    monkeypatch.setattr(store.switches, "read", broken)
    following._round()
    assert renewed
    assert len(logged) == 1


def test_rules_saved_while_the_router_began_are_loaded(store: Store) -> None:
    loaded: list[bool] = []
    following = FollowingThread(
        store, lambda: loaded.append(True), lambda _: None, lambda: None, lambda: None, lambda _: None
    )
    following._round()
    following._round()
    assert loaded == [True]
