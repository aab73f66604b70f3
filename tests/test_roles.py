# SPDX-License-Identifier: AGPL-3.0-or-later
"""A task of one Orthanc at a time, on each database."""

import pytest

from builders import NOW
from conftest import OpenDatabase
from dicom_router.store.roles import NotOursError, Role

LEASE = 20.0


@pytest.fixture
def roles(open_database: OpenDatabase) -> tuple[Role, Role, Role]:
    """Of one Orthanc, of another one, and of the first after a restart."""
    database = open_database()
    one, two, again = (Role(database, "task", owner, LEASE) for owner in ("here", "there", "here"))
    return one, two, again


Roles = tuple[Role, Role, Role]


def test_the_first_who_asks_has_it_and_keeps_it(roles: Roles) -> None:
    one, two, _ = roles
    term = one.hold(NOW)
    assert term is not None
    assert two.hold(NOW + 1) is None
    assert one.hold(NOW + LEASE - 1) == term
    assert two.hold(NOW + LEASE + 1) is None


def test_of_one_who_died_another_takes_it(roles: Roles) -> None:
    one, two, _ = roles
    first = one.hold(NOW)
    second = two.hold(NOW + LEASE + 1)
    assert second is not None
    assert second != first
    assert one.hold(NOW + LEASE + 2) is None


def test_one_who_has_it_back_can_tell_that_another_had_it(roles: Roles) -> None:
    one, two, _ = roles
    first = one.hold(NOW)
    two.hold(NOW + LEASE + 1)
    two.leave()
    assert one.hold(NOW + LEASE + 2) not in (None, first)


def test_one_who_leaves_need_not_be_waited_for(roles: Roles) -> None:
    one, two, _ = roles
    one.hold(NOW)
    two.leave()
    assert two.hold(NOW + 1) is None
    one.leave()
    assert two.hold(NOW + 1) is not None


def test_after_a_restart_the_former_self_need_not_be_waited_for(roles: Roles) -> None:
    one, two, again = roles
    one.hold(NOW)
    two.end_former()
    assert again.hold(NOW + 1) is None
    again.end_former()
    assert again.hold(NOW + 1) is not None
    assert one.hold(NOW + 2) is None


def test_only_who_has_it_may_write(roles: Roles, open_database: OpenDatabase) -> None:
    one, two, _ = roles
    one.hold(NOW)
    one.confirm()
    with pytest.raises(NotOursError, match="task"):
        two.confirm()
    two.hold(NOW + LEASE + 1)
    with pytest.raises(NotOursError):
        one.confirm()
