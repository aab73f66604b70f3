# SPDX-License-Identifier: AGPL-3.0-or-later
"""What was paused by hand stays paused over a restart."""

from conftest import OpenStore
from dicom_router.store.store import Store


def test_nothing_is_paused_at_first(store: Store) -> None:
    assert not store.switches.router_paused()
    assert not store.switches.destination_paused("ARCHIVE")


def test_a_pause_outlives_a_restart_and_so_does_its_end(open_store: OpenStore) -> None:
    switches = open_store("here").switches
    switches.pause_router(paused=True)
    switches.pause_destination("ARCHIVE", paused=True)
    restarted = open_store("here").switches
    assert restarted.router_paused()
    assert restarted.destination_paused("ARCHIVE")
    assert not restarted.destination_paused("WORKSTATION")
    restarted.pause_router(paused=False)
    restarted.pause_destination("ARCHIVE", paused=False)
    again = open_store("here").switches
    assert not again.router_paused()
    assert not again.destination_paused("ARCHIVE")


def test_pausing_twice_is_the_same_as_once(store: Store) -> None:
    for _ in range(2):
        store.switches.pause_destination("A destination", paused=True)
    assert store.switches.destination_paused("A destination")
    for _ in range(2):
        store.switches.pause_destination("A destination", paused=False)
    assert not store.switches.destination_paused("A destination")


def test_a_destination_and_the_router_are_paused_apart(store: Store) -> None:
    store.switches.pause_destination("ARCHIVE", paused=True)
    assert not store.switches.router_paused()
    store.switches.pause_router(paused=True)
    store.switches.pause_destination("ARCHIVE", paused=False)
    assert store.switches.router_paused()
