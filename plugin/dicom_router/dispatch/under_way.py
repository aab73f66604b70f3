# SPDX-License-Identifier: AGPL-3.0-or-later
"""Chunks on their way: handed to Orthanc as jobs, looked at while they run, and what comes back of them."""

from collections.abc import Sequence
from functools import partial

from dicom_router.deliveries.delivery import Reason
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.dispatch.health import Health
from dicom_router.dispatch.job import Job
from dicom_router.dispatch.outside import Outside
from dicom_router.dispatch.pace import Pace
from dicom_router.dispatch.refusals import name_refused
from dicom_router.dispatch.sending import Chunk, Sending
from dicom_router.dispatch.workers import Workers
from dicom_router.orthanc_rest import OrthancError, OrthancUnreachableError
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue
from dicom_router.transports.transport import JobReport, JobState

LONGEST_ROUND = 2.0  # seconds of looks at jobs, before leases are renewed again

Shares = list[tuple[Sending, Chunk]]  # of one job, in the order of its instances


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

    def submit(self, parts: Sequence[tuple[Sending, list[Instance]]]) -> None:
        """Have Orthanc send these by one job. Its answer takes some milliseconds: others are submitted meanwhile."""
        job = Job(sum(len(instances) for _, instances in parts))
        shares = self._open(job, parts)
        self._workers.start(partial(self._ask, shares), partial(self._answered, job, shares))

    def _ask(self, shares: Shares) -> str | OrthancError:
        instances = [instance for _, chunk in shares for instance in chunk.instances]
        try:
            return self._transport.submit(shares[0][0].destination, instances)
        except OrthancError as problem:
            return problem

    def _answered(self, job: Job, shares: Shares, answer: str | OrthancError | SendError) -> None:
        while shares:  # when the database does not answer, this goes on where it was
            sending, chunk = shares[0]
            if isinstance(answer, str):
                self._submitted(sending, chunk, answer)
            else:
                self._not_submitted(sending, chunk, answer)
            del shares[0]
        if isinstance(answer, str):
            self._begun(job, answer)
        if not self._submitting:
            self._ended_early.clear()

    @property
    def _submitting(self) -> bool:
        return any(not chunk.job.tried and not chunk.job.id for sending in self._active for chunk in sending.chunks)

    def _submitted(self, sending: Sending, chunk: Chunk, job_id: str) -> None:
        self._ledger.submitted(chunk.ledger_id, chunk.share.text(job_id))
        self._queue.job_submitted(sending.delivery, job_id)

    def _begun(self, job: Job, job_id: str) -> None:
        shares = self._shares(job)
        expected = self._pace.expected(shares[0][0].destination.name, job.count) if shares else None
        job.submitted(job_id, self._outside.clock(), expected)
        if any(sending.cut_off for sending, _ in shares):
            self._transport.cancel(job_id)
        if job_id in self._ended_early:
            self.job_ended(job_id, self._ended_early.pop(job_id))

    def _not_submitted(self, sending: Sending, chunk: Chunk, problem: OrthancError | SendError) -> None:
        self._ledger.close_chunk(chunk.ledger_id, 0)
        if not chunk.share.is_all:  # one of the others may be the reason
            sending.chunk_cut_short(chunk, 0)
            return
        sending.chunks.remove(chunk)
        sending.give_back(chunk.instances)
        # An instance that was deleted meanwhile is found out when the next attempt lists the resource.
        sending.ending = sending.ending or _refusal(problem)

    def _shares(self, job: Job) -> Shares:
        return [(each, chunk) for each in self._active for chunk in each.chunks if chunk.job is job]

    def try_one(self, sending: Sending) -> None:
        """Send one instance, without a lane where that can be, to find out whether the destination works."""
        instance = sending.pending.popleft()
        ((_, chunk),) = self._open(Job(1, in_lane=sending.destination.needs_job, tried=True), [(sending, [instance])])
        self._health.breaker(sending.destination.name).trying = True
        self._workers.start_asking(
            partial(self._transport.try_one, sending.destination, instance), partial(self._tried, sending, chunk)
        )

    def _tried(self, sending: Sending, chunk: Chunk, error: SendError | None) -> None:
        self._health.breaker(sending.destination.name).trying = False
        self._ended(sending, chunk, JobReport(JobState.FAILURE if error else JobState.SUCCESS, int(not error), error))

    def _open(self, job: Job, parts: Sequence[tuple[Sending, list[Instance]]]) -> Shares:
        """Write down what is about to be handed over. When that cannot be done, nothing is."""
        shares: Shares = []
        before = 0
        try:
            for sending, instances in parts:
                shares.append((sending, Chunk(self._open_one(sending, instances), instances, job, before)))
                before += len(instances)
        except Exception:
            for sending, instances in parts:
                sending.give_back(instances)
            raise
        for sending, chunk in shares:
            sending.chunks.append(chunk)
        return shares

    def _open_one(self, sending: Sending, instances: list[Instance]) -> int:
        digests = [instance.digest for instance in instances]
        study_id, name = instances[0].study_id, sending.destination.name
        return self._ledger.open_chunk(study_id, name, sending.delivery.id, digests)

    # What comes back

    def poll(self, now: float) -> None:
        """Look at the jobs that it is time to look at; where Orthanc is slow to answer, at some of them."""
        for job in sorted((job for job in self._jobs() if job.due(now)), key=lambda job: job.look_at):
            self._look(job, self._report(job))
            if self._outside.clock() > now + LONGEST_ROUND:
                return

    def next_look(self) -> float | None:
        """When a job is to be looked at; None when none is under way."""
        return min((job.look_at for job in self._jobs()), default=None)

    def _jobs(self) -> list[Job]:
        """Those that Orthanc has made."""
        jobs = {id(chunk.job): chunk.job for sending in self._active for chunk in sending.chunks if chunk.job.id}
        return list(jobs.values())

    def job_ended(self, job_id: str, state: JobState) -> None:
        """Orthanc says that a job has ended; its result may have left Orthanc's history already."""
        found = [job for job in self._jobs() if job.id == job_id]
        if not found and self._submitting:
            self._ended_early[job_id] = state
        for job in found:
            job.ended = state
            self._look(job, self._report(job))

    def _report(self, job: Job) -> JobReport:
        """What Orthanc says of it; once it has forgotten it, what it said of its end."""
        report = self._transport.report(job.id, job.count)
        if report.state is JobState.GONE and job.ended is JobState.SUCCESS:
            return JobReport(JobState.SUCCESS, job.count)
        return report

    def _look(self, job: Job, report: JobReport) -> None:
        now = self._outside.clock()
        if report.state is JobState.RUNNING:
            job.looked(report.accepted, now)
        elif report.state is JobState.SUCCESS:
            self._keep_pace(job, now)
        for sending, chunk in self._shares(job):
            told = chunk.share.read(report)
            if told.state is JobState.RUNNING:
                self._advance(sending, chunk, told.accepted)
            else:
                self._ended(sending, chunk, told)

    def _keep_pace(self, job: Job, now: float) -> None:
        for sending, _ in self._shares(job)[:1]:
            self._pace.ended(sending.destination.name, job.count, now - job.submitted_at)

    def _advance(self, sending: Sending, chunk: Chunk, accepted: int) -> None:
        if accepted > chunk.accepted:
            chunk.accepted = accepted
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
        elif report.state is JobState.CUT_SHORT:
            self._ledger.close_chunk(chunk.ledger_id, report.accepted)
            sending.chunk_cut_short(chunk, report.accepted)
        elif report.state is JobState.STOPPED:
            self._ledger.close_chunk(chunk.ledger_id, report.accepted)
            sending.chunk_stopped(chunk, report.accepted)
            self._health.succeeded(sending.destination)
        else:
            self._failed(sending, chunk, max(report.accepted, chunk.accepted), report.error)
        if not sending.over:  # the end of the attempt tells it too
            self._queue.progress(sending.delivery, sending.sent_now, sending.refused)

    def _failed(self, sending: Sending, chunk: Chunk, accepted: int, error: SendError | None) -> None:
        error = error or sending.lost(f"{len(chunk.instances)} instances")
        self._ledger.close_chunk(chunk.ledger_id, accepted)
        if accepted:
            self._health.succeeded(sending.destination)
        self._health.failed(sending.destination, error)
        sending.chunk_failed(chunk, accepted, error)
        name_refused(self._queue, sending, self._outside.clock())

    # Ending early

    def halt(self) -> list[tuple[Job, JobReport | None]]:
        """The router stops: pause every job. How each stands; None, and last, when Orthanc does not answer any more."""
        for sending in self._active:  # all of them, before anything is asked
            sending.ending = sending.ending or Reason.QUEUED
        found: list[tuple[Job, JobReport | None]] = []
        for job in self._jobs():
            found.append((job, self._transport.pause(job.id, job.count)))
            if found[-1][1] is None:
                break
        return found

    def pause(self) -> bool:
        """As `halt`, and note how far each came. False when Orthanc does not answer any more."""
        found = self.halt()
        for job, report in found:
            if report is not None:
                self._look(job, report)
        return all(report is not None for _, report in found)

    def end(self, sending: Sending) -> None:
        """Give the rest of an attempt back."""
        sending.ending = sending.ending or Reason.QUEUED
        sending.cut_off = True
        for chunk in sending.chunks:
            if chunk.job.id:
                self._transport.cancel(chunk.job.id)


def _refusal(problem: OrthancError | SendError) -> SendError:
    if isinstance(problem, SendError):
        return problem
    code = "OrthancUnreachable" if isinstance(problem, OrthancUnreachableError) else "JobRefused"
    return SendError.passing(code, str(problem))
