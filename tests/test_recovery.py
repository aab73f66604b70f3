# SPDX-License-Identifier: AGPL-3.0-or-later
"""After a restart: what became of the jobs that were under way goes into the ledger."""

from collections.abc import Sequence
from typing import cast

import pytest

from builders import ARCHIVE, BROKEN, instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.dispatch import recovery
from dicom_router.dispatch.job import Share
from dicom_router.dispatch.recovery import settle_jobs
from dicom_router.store.store import Store
from dicom_router.transports.transport import JobReport, JobState, Transport

DIGESTS = [instance(number).digest for number in range(5)]
CANCELED = SendError.passing("JobCanceled", "Orthanc's job was canceled.")
RUNNING, SUCCESS, FAILURE, GONE = JobState.RUNNING, JobState.SUCCESS, JobState.FAILURE, JobState.GONE


class Scripted:
    """Answers each look at a job in turn; the last answer stays."""

    def __init__(self, *reports: JobReport) -> None:
        self.reports = list(reports)
        self.canceled: list[str] = []

    def cancel(self, job_id: str) -> None:
        self.canceled.append(job_id)

    def report(self, job_id: str, count: int) -> JobReport:
        assert job_id in self.canceled, "a job is ended before it is asked"
        assert count == len(DIGESTS)
        return self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]


def settled(store: Store, reports: Sequence[JobReport], *, known: int = 0, job: str = "job") -> tuple[Scripted, int]:
    """The transport that was asked, and how many of five instances the ledger has then."""
    chunk = store.ledger.open_chunk("study", ARCHIVE, 7, DIGESTS)
    store.ledger.submitted(chunk, job)
    store.ledger.advance(chunk, known)
    transport = Scripted(*reports)
    settle_jobs(store.ledger, cast(Transport, transport), store.ledger.open_chunks(), lambda _: None)
    assert store.ledger.open_chunks() == []
    accepted = store.ledger.accepted("study", ARCHIVE)
    assert accepted == set(DIGESTS[: len(accepted)])
    return transport, len(accepted)


@pytest.mark.parametrize(
    ("reports", "known", "expected"),
    [
        ([JobReport(SUCCESS, 5)], 0, 5),
        ([JobReport(FAILURE, 3, BROKEN)], 0, 3),
        ([JobReport(FAILURE, 0, BROKEN)], 0, 0),
        ([JobReport(GONE, 0)], 0, 0),
        ([JobReport(GONE, 0)], 2, 2),
        ([JobReport(FAILURE, 1, BROKEN)], 2, 2),
        ([JobReport(RUNNING, 1), JobReport(RUNNING, 2), JobReport(FAILURE, 4, BROKEN)], 0, 4),
        ([JobReport(RUNNING, 2), JobReport(SUCCESS, 5)], 0, 5),
    ],
)
def test_what_is_known_to_have_arrived_is_kept(
    store: Store, reports: list[JobReport], known: int, expected: int
) -> None:
    transport, accepted = settled(store, reports, known=known)
    assert accepted == expected
    assert transport.canceled == ["job"]


def test_of_a_job_that_deliveries_shared_each_gets_its_part(store: Store) -> None:
    counts, accepted = {"one": (0, 2), "two": (2, 2), "three": (4, 1)}, {}
    for number, (study, (before, count)) in enumerate(counts.items()):
        chunk = store.ledger.open_chunk(study, ARCHIVE, number, DIGESTS[before : before + count])
        store.ledger.submitted(chunk, Share(before, count, len(DIGESTS)).text("job"))
    transport = Scripted(JobReport(RUNNING, 2), JobReport(FAILURE, 3, CANCELED))
    settle_jobs(store.ledger, cast(Transport, transport), store.ledger.open_chunks(), lambda _: None)
    for study in counts:
        accepted[study] = len(store.ledger.accepted(study, ARCHIVE))
    assert accepted == {"one": 2, "two": 1, "three": 0}
    assert transport.canceled == ["job"]
    assert store.ledger.open_chunks() == []


def test_a_chunk_that_was_never_submitted_asks_nobody(store: Store) -> None:
    transport, accepted = settled(store, [JobReport(SUCCESS, 5)], job="")
    assert (transport.canceled, accepted) == ([], 0)


def test_a_job_that_does_not_end_is_waited_for_only_a_while(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "WAIT_SECONDS", 0.05)
    _, accepted = settled(store, [JobReport(RUNNING, 2)])
    assert accepted == 2


def test_nothing_under_way_needs_nothing(store: Store) -> None:
    settle_jobs(store.ledger, cast(Transport, Scripted(JobReport(GONE, 0))), [], lambda _: None)
    assert store.ledger.studies("", 5) == []
