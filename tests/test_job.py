# SPDX-License-Identifier: AGPL-3.0-or-later
"""A job that several small deliveries share: what its end says of each of them."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import BROKEN, DEAD, NOT_UNDERSTOOD, NOW
from dicom_router.deliveries.outcome import SendError
from dicom_router.dispatch.job import LONGEST_LOOK, OF_ALL, Job, Share, read_share
from dicom_router.transports.transport import JobReport, JobState

RUNNING, SUCCESS, FAILURE = JobState.RUNNING, JobState.SUCCESS, JobState.FAILURE
STOPPED, CUT_SHORT, GONE = JobState.STOPPED, JobState.CUT_SHORT, JobState.GONE

COUNTS = st.lists(st.integers(1, 5), min_size=2, max_size=10)


def shares(counts: list[int]) -> list[Share]:
    before = [0, *accumulate(counts)]
    return [Share(start, count, sum(counts)) for start, count in zip(before, counts, strict=False)]


def states(counts: list[int], report: JobReport) -> list[tuple[JobState, int]]:
    told = [share.read(report) for share in shares(counts)]
    return [(each.state, each.accepted) for each in told]


def test_a_clock_that_is_set_back_delays_no_look_at_a_job() -> None:
    job = Job(100)
    job.submitted("job", NOW, 10.0)
    assert not job.due(NOW)
    assert job.due(NOW + LONGEST_LOOK)
    assert job.due(NOW - 3600)


@pytest.mark.parametrize("error", [BROKEN, DEAD, NOT_UNDERSTOOD])
def test_a_failure_is_told_to_the_one_whose_instance_failed(error: SendError) -> None:
    report = JobReport(FAILURE, 3, error)
    assert states([2, 2, 2], report) == [(SUCCESS, 2), (FAILURE, 1), (CUT_SHORT, 0)]
    assert states([3, 2, 1], report) == [(SUCCESS, 3), (FAILURE, 0), (CUT_SHORT, 0)]
    assert states([1, 2, 1], JobReport(FAILURE, 0, error)) == [(FAILURE, 0), (CUT_SHORT, 0), (CUT_SHORT, 0)]


def test_after_a_stop_with_the_last_instance_accepted_nobody_is_blamed() -> None:
    assert states([2, 2, 2], JobReport(STOPPED, 3)) == [(SUCCESS, 2), (STOPPED, 1), (CUT_SHORT, 0)]
    assert states([2, 2, 2], JobReport(STOPPED, 4)) == [(SUCCESS, 2), (SUCCESS, 2), (CUT_SHORT, 0)]


@pytest.mark.parametrize("code", sorted(OF_ALL))
def test_what_ends_the_whole_job_is_nobodys_fault(code: str) -> None:
    report = JobReport(FAILURE, 3, SendError.passing(code, "…"))
    assert states([2, 2, 2], report) == [(SUCCESS, 2), (CUT_SHORT, 1), (CUT_SHORT, 0)]


def test_a_delivery_is_through_while_the_job_goes_on_but_the_last_one_ends_with_it() -> None:
    assert states([2, 2], JobReport(RUNNING, 1)) == [(RUNNING, 1), (RUNNING, 0)]
    assert states([2, 2], JobReport(RUNNING, 3)) == [(SUCCESS, 2), (RUNNING, 1)]
    assert states([2, 2], JobReport(RUNNING, 4)) == [(SUCCESS, 2), (RUNNING, 2)]


def test_of_a_job_that_nobody_knows_all_is_unknown() -> None:
    assert states([2, 2], JobReport(GONE, 0)) == [(GONE, 0), (GONE, 0)]


def test_a_job_of_one_delivery_is_told_as_it_is() -> None:
    for report in (JobReport(RUNNING, 5), JobReport(FAILURE, 2, BROKEN), JobReport(STOPPED, 1), JobReport(GONE, 0)):
        assert Share(0, 5, 5).read(report) is report


@given(counts=COUNTS, state=st.sampled_from([RUNNING, SUCCESS, FAILURE, STOPPED]), data=st.data())
def test_every_instance_is_told_of_once_and_one_delivery_at_most_is_blamed(
    counts: list[int], state: JobState, data: st.DataObject
) -> None:
    whole = sum(counts)
    least = {SUCCESS: whole, STOPPED: 1}.get(state, 0)
    most = whole - 1 if state is FAILURE else whole
    accepted = data.draw(st.integers(least, most))
    told = states(counts, JobReport(state, accepted, BROKEN if state is FAILURE else None))
    assert sum(number for _, number in told) == accepted
    assert [each for each, _ in told].count(FAILURE) == (state is FAILURE)
    for (each, number), count in zip(told, counts, strict=True):
        assert each is not SUCCESS or number == count
        assert each in {SUCCESS, state, CUT_SHORT}


@given(counts=COUNTS, job_id=st.sampled_from(["5f3a-77", "own/5f3a", "a/1"]))
def test_the_ledger_finds_the_share_again(counts: list[int], job_id: str) -> None:
    for share in shares(counts):
        assert read_share(share.text(job_id), share.count) == (job_id, share)


def test_the_ledger_keeps_the_plain_name_of_a_job_that_is_not_shared() -> None:
    assert Share(0, 5, 5).text("5f3a-77") == "5f3a-77"
    assert read_share("5f3a-77", 5) == ("5f3a-77", Share(0, 5, 5))
