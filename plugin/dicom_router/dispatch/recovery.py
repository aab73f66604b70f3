# SPDX-License-Identifier: AGPL-3.0-or-later
"""After a restart, or another Orthanc's death: what became of the jobs under way, then a new attempt.

With `SaveJobs` Orthanc resumes such a job at a stale place and would send again what has arrived; so it is canceled,
what it is known to have sent goes into the ledger, and the rest becomes part of the next attempt.
"""

import time
from collections.abc import Callable

from dicom_router.dispatch.job import read_share
from dicom_router.store.ledger import Ledger, OpenChunk
from dicom_router.store.queue import DeliveryQueue
from dicom_router.transports.transport import JobState, Transport

GRACE_SECONDS = 15.0  # after the database is there (again), for the living to renew their leases
WAIT_SECONDS = 2.0  # for a canceled job to end; one that hangs sends at most the instance it is at


def take_over(
    queue: DeliveryQueue,
    ledger: Ledger,
    transport: Transport,
    now: float,
    pause: Callable[[float], object],
    *,
    restarted: bool = False,
) -> list[int]:
    """Send on what a dead Orthanc left, or with `restarted` this one's former self. Answers the deliveries.

    They are made our own before anything else: of two that find them, one only gets them.
    """
    adopted = queue.adopt(now, restarted=restarted)
    chunks = ledger.open_chunks([delivery.id for delivery in adopted]) if adopted else []
    if restarted:
        chunks += ledger.open_chunks()
    settle_jobs(ledger, transport, chunks, pause)
    queue.retry(adopted, now)
    return [delivery.id for delivery in adopted]


def settle_jobs(
    ledger: Ledger, transport: Transport, chunks: list[OpenChunk], pause: Callable[[float], object]
) -> None:
    """End the jobs of these chunks and close the chunks with what is known to have arrived."""
    for job_id in sorted({read_share(chunk.job_id, chunk.count)[0] for chunk in chunks if chunk.job_id}):
        transport.cancel(job_id)
    deadline = time.monotonic() + WAIT_SECONDS
    for chunk in chunks:
        ledger.close_chunk(chunk.id, _accepted(transport, chunk, deadline, pause))


def _accepted(transport: Transport, chunk: OpenChunk, deadline: float, pause: Callable[[float], object]) -> int:
    if not chunk.job_id:
        return chunk.accepted
    job_id, share = read_share(chunk.job_id, chunk.count)
    report = transport.report(job_id, share.of)
    while report.state is JobState.RUNNING and time.monotonic() < deadline:
        pause(0.02)
        report = transport.report(job_id, share.of)
    return max(chunk.accepted, share.read(report).accepted)
