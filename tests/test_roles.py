# SPDX-License-Identifier: AGPL-3.0-or-later
"""A task of one Orthanc at a time, on each database."""

import pytest

from builders import NOW
from conftest import OpenDatabase
from dicom_router.intake.intake import LONGEST_LOOK_SECONDS, Tenure
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


def test_one_who_renews_keeps_it_without_taking_it_again(roles: Roles) -> None:
    one, two, _ = roles
    one.hold(NOW)
    one.renew(NOW + LEASE - 1)
    assert two.hold(NOW + LEASE + 1) is None
    one.confirm()


def test_what_was_left_or_taken_by_another_is_not_renewed(roles: Roles) -> None:
    one, two, _ = roles
    one.hold(NOW)
    one.leave()
    one.renew(NOW + 1)
    assert two.hold(NOW + 2) is not None
    one.renew(NOW + 3)
    two.confirm()


class Watch:
    """The clock that two Orthancs share."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float, *renewing: Tenure) -> None:
        """Every two seconds those that live renew what they have."""
        end = self.now + seconds
        while self.now < end:
            self.now += 2
            for tenure in renewing:
                tenure.renew()


def test_a_look_that_outlasts_the_lease_is_not_begun_by_another(roles: Roles) -> None:
    one, two, _ = roles
    watch = Watch()
    reader, other = Tenure(one, watch), Tenure(two, watch)
    assert reader.begin() is not None
    watch.passes(30 * LEASE, reader, other)
    assert other.begin() is None
    one.confirm()


def test_a_look_that_never_ends_does_not_keep_the_task(roles: Roles) -> None:
    one, two, _ = roles
    watch = Watch()
    reader, other = Tenure(one, watch), Tenure(two, watch)
    reader.begin()
    watch.passes(LONGEST_LOOK_SECONDS + LEASE + 4, reader)
    assert other.begin() is not None


@pytest.mark.parametrize("why", ["it died", "it does not read"])
def test_only_a_living_reader_keeps_the_task(roles: Roles, why: str) -> None:
    one, two, _ = roles
    watch = Watch()
    reader, other = Tenure(one, watch), Tenure(two, watch)
    reader.begin()
    if why == "it does not read":
        reader.end()
    watch.passes(LEASE + 2, *([reader] if why == "it does not read" else []))
    assert other.begin() is not None
