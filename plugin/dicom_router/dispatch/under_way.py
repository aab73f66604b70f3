# SPDX-License-Identifier: AGPL-3.0-or-later
"""Chunks on their way: handed to Orthanc as jobs, looked at while they run, and what comes back of them."""

from collections.abc import Sequence
from functools import partial

from dicom_router.deliveries.delivery import Reason
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.dispatch.health import Health
from dicom_router.dispatch.outside import Outside
from dicom_router.dispatch.pace import Pace
from dicom_router.dispatch.sending import Chunk, Sending
from dicom_router.dispatch.workers import Workers
from dicom_router.orthanc_rest import OrthancError, OrthancUnreachableError
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue
from dicom_router.transports.transport import JobReport, JobState


class UnderWay:
    """The chunks of the deliveries in `active`. All of it runs on the dispatcher's thread."""

    def __init__(
        self,
        active: Sequence[Sending],
        queue: DeliveryQueue,
        ledger: Ledger,
        health: Health,
        workers: Workers,
        outside: Outside,
    ) -> None:
        self._active = active
        self._queue = queue
        self._ledger = ledger
        self._health = health
        self._workers = workers
        self._outside = outside
        self._transport = outside.transport
        self._pace = Pace()
        self._ended_early: dict[str, JobState] = {}  # jobs that ended before their submission was told

    # Handing over

    def submit(self, sending: Sending, instances: list[Instance]) -> None:
        """Have Orthanc send these. Its answer takes some milliseconds: others are submitted meanwhile."""
        chunk = self._open(sending, instances, in_lane=True)
        self._workers.start(partial(self._ask, sending, chunk), partial(self._answered, sending, chunk))

    def _ask(self, sending: Sending, chunk: Chunk) -> str | OrthancError:
        try:
            return self._transport.submit(sending.destination, chunk.instances)
        except OrthancError as problem:
            return problem

    def _answered(self, sending: Sending, chunk: Chunk, answer: str | OrthancError | SendError) -> None:
        if chunk not in sending.chunks:  # told already, when the database did not answer
            return
        if isinstance(answer, str):
            self._submitted(sending, chunk, answer)
        else:
            self._not_submitted(sending, chunk, answer)
        if not self._submitting:
            self._ended_early.clear()

    @property
    def _submitting(self) -> bool:
        return any(chunk.in_lane and not chunk.job_id for sending in self._active for chunk in sending.chunks)

    def _submitted(self, sending: Sending, chunk: Chunk, job_id: str) -> None:
        self._ledger.submitted(chunk.ledger_id, job_id)
        self._queue.job_submitted(sending.delivery, job_id)
        expected = self._pace.expected(sending.destination.name, len(chunk.instances))
        chunk.submitted(job_id, self._outside.clock(), expected)
        if sending.cut_off:
            self._transport.cancel(job_id)
        if job_id in self._ended_early:
            self.job_ended(job_id, self._ended_early.pop(job_id))

    def _not_submitted(self, sending: Sending, chunk: Chunk, problem: OrthancError | SendError) -> None:
        self._ledger.close_chunk(chunk.ledger_id, 0)
        sending.chunks.remove(chunk)
        sending.give_back(chunk.instances)
        # An instance that was deleted meanwhile is found out when the next attempt lists the resource.
        sending.ending = sending.ending or _refusal(problem)

    def try_one(self, sending: Sending) -> None:
        """Send one instance on a way that takes no lane, to find out whether the destination works."""
        instance = sending.pending.popleft()
        chunk = self._open(sending, [instance], in_lane=False)
        self._health.breaker(sending.destination.name).trying = True
        self._workers.start_asking(
            partial(self._transport.try_one, sending.destination, instance), partial(self._tried, sending, chunk)
        )

    def _tried(self, sending: Sending, chunk: Chunk, error: SendError | None) -> None:
        self._health.breaker(sending.destination.name).trying = False
        self._ended(sending, chunk, JobReport(JobState.FAILURE if error else JobState.SUCCESS, int(not error), error))

    def _open(self, sending: Sending, instances: list[Instance], *, in_lane: bool) -> Chunk:
        digests = [instance.digest for instance in instances]
        study_id, name = instances[0].study_id, sending.destination.name
        try:
            ledger_id = self._ledger.open_chunk(study_id, name, sending.delivery.id, digests)
        except Exception:
            sending.give_back(instances)
            raise
        chunk = Chunk(ledger_id, instances, in_lane)
        sending.chunks.append(chunk)
        return chunk

    # What comes back

    def poll(self, now: float) -> None:
        """Look at the jobs that it is time to look at."""
        for sending in list(self._active):
            for chunk in [chunk for chunk in sending.chunks if chunk.job_id and chunk.look_at <= now]:
                self._look(sending, chunk, self._transport.report(chunk.job_id, len(chunk.instances)))

    def next_look(self) -> float | None:
        """When a job is to be looked at; None when none is under way."""
        times = (chunk.look_at for sending in self._active for chunk in sending.chunks if chunk.job_id)
        return min(times, default=None)

    def job_ended(self, job_id: str, state: JobState) -> None:
        """Orthanc says that a job has ended; its result may have left Orthanc's history already."""
        found = [(each, chunk) for each in self._active for chunk in each.chunks if chunk.job_id == job_id]
        if not found and self._submitting:
            self._ended_early[job_id] = state
        for sending, chunk in found:
            report = self._transport.report(job_id, len(chunk.instances))
            if report.state is JobState.GONE and state is JobState.SUCCESS:
                report = JobReport(JobState.SUCCESS, len(chunk.instances))
            self._look(sending, chunk, report)

    def _look(self, sending: Sending, chunk: Chunk, report: JobReport) -> None:
        if report.state is not JobState.RUNNING:
            self._ended(sending, chunk, report)
            return
        before = chunk.accepted
        chunk.looked(report.accepted, self._outside.clock())
        if chunk.accepted > before:
            self._ledger.advance(chunk.ledger_id, chunk.accepted)
            self._queue.progress(sending.delivery, sending.sent_now, sending.refused)
            self._health.succeeded(sending.destination)

    def _ended(self, sending: Sending, chunk: Chunk, report: JobReport) -> None:
        if chunk not in sending.chunks:  # told already, when the database did not answer
            return
        if report.state is JobState.SUCCESS:
            self._ledger.close_chunk(chunk.ledger_id, len(chunk.instances))
            sending.chunk_succeeded(chunk)
            self._health.succeeded(sending.destination)
            self._keep_pace(sending, chunk)
        elif report.state is JobState.STOPPED:
            self._ledger.close_chunk(chunk.ledger_id, report.accepted)
            sending.chunk_stopped(chunk, report.accepted)
            self._health.succeeded(sending.destination)
        else:
            self._failed(sending, chunk, max(report.accepted, chunk.accepted), report.error)
        if not sending.over:  # the end of the attempt tells it too
            self._queue.progress(sending.delivery, sending.sent_now, sending.refused)

    def _keep_pace(self, sending: Sending, chunk: Chunk) -> None:
        if chunk.job_id:
            took = self._outside.clock() - chunk.submitted_at
            self._pace.ended(sending.destination.name, len(chunk.instances), took)

    def _failed(self, sending: Sending, chunk: Chunk, accepted: int, error: SendError | None) -> None:
        error = error or sending.lost(f"{len(chunk.instances)} instances")
        self._ledger.close_chunk(chunk.ledger_id, accepted)
        if accepted:
            self._health.succeeded(sending.destination)
        self._health.failed(sending.destination, error)
        refused = sending.chunk_failed(chunk, accepted, error)
        if refused is not None:
            self._queue.refused(sending.delivery, refused, error, self._outside.clock())

    # Ending early

    def pause(self) -> bool:
        """The router stops: pause every job, and note how far it came. False when Orthanc does not answer any more."""
        for sending in self._active:  # all of them, before anything is asked
            sending.ending = sending.ending or Reason.QUEUED
        for sending in self._active:
            for chunk in [chunk for chunk in sending.chunks if chunk.job_id]:
                report = self._transport.pause(chunk.job_id, len(chunk.instances))
                if report is None:
                    return False
                self._look(sending, chunk, report)
        return True

    def end(self, sending: Sending) -> None:
        """Give the rest of an attempt back."""
        sending.ending = sending.ending or Reason.QUEUED
        sending.cut_off = True
        for chunk in sending.chunks:
            if chunk.job_id:
                self._transport.cancel(chunk.job_id)


def _refusal(problem: OrthancError | SendError) -> SendError:
    if isinstance(problem, SendError):
        return problem
    code = "OrthancUnreachable" if isinstance(problem, OrthancUnreachableError) else "JobRefused"
    return SendError.passing(code, str(problem))
