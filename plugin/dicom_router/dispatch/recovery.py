# SPDX-License-Identifier: AGPL-3.0-or-later
"""After a restart: learn what became of the jobs that were under way, then give their deliveries a new attempt.

With `SaveJobs` Orthanc resumes such a job at a stale place and would send again what has arrived; so it is canceled,
what it is known to have sent goes into the ledger, and the rest becomes part of the next attempt.
"""

import time
from collections.abc import Callable

from dicom_router.store.ledger import Ledger, OpenChunk
from dicom_router.transports.transport import JobState, Transport

WAIT_SECONDS = 2.0  # for a canceled job to end; one that hangs sends at most the instance it is at


def settle_jobs(
    ledger: Ledger, transport: Transport, chunks: list[OpenChunk], pause: Callable[[float], object]
) -> None:
    """End the jobs of these chunks and close the chunks with what is known to have arrived."""
    for chunk in chunks:
        if chunk.job_id:
            transport.cancel(chunk.job_id)
    deadline = time.monotonic() + WAIT_SECONDS
    for chunk in chunks:
        ledger.close_chunk(chunk.id, _accepted(transport, chunk, deadline, pause))


def _accepted(transport: Transport, chunk: OpenChunk, deadline: float, pause: Callable[[float], object]) -> int:
    if not chunk.job_id:
        return chunk.accepted
    report = transport.report(chunk.job_id, chunk.count)
    while report.state is JobState.RUNNING and time.monotonic() < deadline:
        pause(0.02)
        report = transport.report(chunk.job_id, chunk.count)
    return max(chunk.accepted, report.accepted)
