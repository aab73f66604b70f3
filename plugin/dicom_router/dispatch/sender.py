# SPDX-License-Identifier: AGPL-3.0-or-later
"""Handing out chunks: which delivery gets the next lane, and what comes back from Orthanc's jobs."""

import uuid
from collections.abc import Collection
from functools import partial

from dicom_router.deliveries.delivery import Delivery, Priority, Reason
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import INTERRUPTED, SendError
from dicom_router.destination import Kind
from dicom_router.dispatch.hang_up import resolve
from dicom_router.dispatch.health import Blocked, Health
from dicom_router.dispatch.lanes import Candidate, next_destination
from dicom_router.dispatch.outside import Outside
from dicom_router.dispatch.preparation import Prepared, prepare
from dicom_router.dispatch.sending import Chunk, Sending
from dicom_router.dispatch.workers import Workers
from dicom_router.orthanc_rest import OrthancError, OrthancUnreachableError
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue
from dicom_router.transports.transport import JobReport, JobState

NEVER_OPENS_RECHECK = 86400.0  # seconds
MOST_PROCESSES = 2  # at once, of all rules together
LARGEST_TRY = 64 * 1024 * 1024  # bytes; a larger instance is not copied through this process


def arrived_before(delivery: Delivery, unsent: int) -> int:
    """How many instances earlier attempts have sent; after a crash the ledger knows of more than the delivery does."""
    if delivery.error_code != INTERRUPTED:
        return delivery.instances_sent
    return max(delivery.instances_sent, delivery.instances_count - delivery.instances_refused - unsent)


class Sender:
    """The deliveries that are being sent. All of it runs on the dispatcher's thread."""

    def __init__(
        self, queue: DeliveryQueue, ledger: Ledger, health: Health, workers: Workers, outside: Outside, lanes: int
    ) -> None:
        self.active: list[Sending] = []
        self.peers: dict[str, set[tuple[str, int]]] = {}  # IP addresses and ports of the destinations in use
        self._queue = queue
        self._ledger = ledger
        self._health = health
        self._workers = workers
        self._outside = outside
        self._transport = outside.transport
        self._lanes = lanes
        self._served: dict[str, float] = {}

    # Handing out

    def fill(self, now: float) -> None:
        """Give every free lane to somebody who can use it."""
        exhausted: set[str] = set()
        while True:
            names = self._names(process=False)
            free = self._lanes - sum(self._in_flight(name) for name in names)
            candidates = [self._candidate(name, now) for name in names if name not in exhausted] if free > 0 else []
            name = next_destination([each for each in candidates if each], free)
            if name is None:
                return
            if not self._serve(name, now):
                exhausted.add(name)

    def _in_flight(self, name: str) -> int:
        return sum(sending.lanes for sending in self._of(name))

    def _of(self, name: str) -> list[Sending]:
        return [sending for sending in self.active if sending.destination.name == name]

    def _candidate(self, name: str, now: float) -> Candidate | None:
        urgent_only = self._health.only_urgent(name)
        if urgent_only is None or not self._health.breaker(name).proven(now):
            return None
        urgent = self._queue.urgent_ready(name)
        working = any(sending.has_room for sending in self._of(name))
        if not (urgent or working or (not urgent_only and self._queue.ready(name))):
            return None
        return Candidate(name, self._in_flight(name), self._most(name), urgent, self._served.get(name, 0.0))

    def _most(self, name: str) -> int:
        """Its associations; but never the last lane while there are others, since it may begin to hang."""
        others = sum(1 for name in self._names(process=False) if self._health.destinations[name].enabled) > 1
        share = max(1, self._lanes - 1) if others else self._lanes
        own = [sending.destination.associations for sending in self._of(name)]  # their Send may say another number
        return min(max([self._health.destinations[name].associations, *own]), share)

    def _serve(self, name: str, now: float) -> bool:
        self._served[name] = now
        working = [sending for sending in self._of(name) if sending.has_room]
        if not working:
            return self._claim(name, now)
        sending = min(working, key=lambda each: each.delivery.rank)
        self._submit(sending, sending.next_chunk(min(self._most(name), sending.destination.associations)))
        return True

    def _claim(self, name: str, now: float) -> bool:
        urgent_only = self._health.only_urgent(name)
        if urgent_only is None:
            return False
        delivery = self._queue.claim(name, uuid.uuid4().hex, now, urgent_only=urgent_only)
        if delivery is None:
            return False
        destination = self._outside.effective(self._health.destinations[name], delivery)
        sent, refused = delivery.instances_sent, delivery.instances_refused
        sending = Sending(delivery, destination, sent=sent, refused=refused, began=now)
        self.active.append(sending)
        closed = self._closed(sending, now)
        if closed is not None and delivery.priority is not Priority.URGENT:
            sending.prepared = True
            sending.wait(closed.reason, closed.until)
        else:
            self._workers.start(partial(self._prepare, sending), partial(self._prepared, sending))
        return True

    def _prepare(self, sending: Sending) -> Prepared | SendError:
        name = sending.destination.name
        if name not in self.peers:
            address = self._transport.address(sending.destination)
            self.peers[name] = resolve(*address) if address else set()
        try:
            return prepare(self._outside, self._ledger, sending.delivery, sending.destination)
        except OrthancError as problem:
            return SendError.passing("OrthancError", str(problem))

    def _prepared(self, sending: Sending, result: Prepared | SendError) -> None:
        if isinstance(result, SendError):
            sending.ending = sending.ending or result
        elif not result.found:
            text = "The resource was deleted from Orthanc before it was sent."
            sending.ending = SendError.refusal("ResourceDeleted", text)
        else:
            sending.sent = arrived_before(sending.delivery, len(result.unsent))
            count = sending.sent + sending.refused + len(result.unsent)
            size = sum(instance.size for instance in result.unsent)
            self._queue.listed(sending.delivery, count, size, result.content)
            sending.take_up(result.unsent)
        sending.prepared = True

    def _submit(self, sending: Sending, instances: list[Instance]) -> None:
        chunk = self._open_chunk(sending, instances)
        try:
            job_id = self._transport.submit(sending.destination, instances)
        except OrthancError as problem:
            self._not_submitted(sending, chunk, problem)
            return
        chunk.submitted(job_id, self._outside.clock())
        self._ledger.submitted(chunk.ledger_id, job_id)
        self._queue.job_submitted(sending.delivery, job_id)

    def _open_chunk(self, sending: Sending, instances: list[Instance]) -> Chunk:
        digests = [instance.digest for instance in instances]
        study_id, name = instances[0].study_id, sending.destination.name
        try:
            ledger_id = self._ledger.open_chunk(study_id, name, sending.delivery.id, digests)
        except Exception:
            sending.give_back(instances)
            raise
        chunk = Chunk(ledger_id, instances)
        sending.chunks.append(chunk)
        return chunk

    def _not_submitted(self, sending: Sending, chunk: Chunk, problem: OrthancError) -> None:
        sending.chunks.remove(chunk)
        self._ledger.close_chunk(chunk.ledger_id, 0)
        sending.give_back(chunk.instances)
        code = "OrthancUnreachable" if isinstance(problem, OrthancUnreachableError) else "JobRefused"
        # An instance that was deleted meanwhile is found out when the next attempt lists the resource.
        sending.ending = sending.ending or SendError.passing(code, str(problem))

    # The one try of an unproven destination

    def try_unproven(self, now: float) -> None:
        """Send one instance, without a lane, to each destination that must first show that it works."""
        for name in self._names(process=False):
            if not self._health.breaker(name).may_try(now) or self._health.only_urgent(name) is None:
                continue
            active = self._of(name)
            ready = next((sending for sending in active if sending.has_work), None)
            if ready is not None:
                self._try_one(ready)
            elif not active:
                self._claim(name, now)

    def _try_one(self, sending: Sending) -> None:
        if sending.destination.whole:
            if not sending.chunks:
                self._submit(sending, sending.next_chunk(1))
            return
        instance = sending.pending[0]
        if instance.size > LARGEST_TRY or self._outside.rest.holds_interpreter:
            # Then it must be a job, one at a time: those that are not proven share a single lane.
            if not any(len(chunk.instances) == 1 for each in self.active for chunk in each.chunks):
                self._submit(sending, [sending.pending.popleft()])
            return
        chunk = self._open_chunk(sending, [sending.pending.popleft()])
        self._health.breaker(sending.destination.name).trying = True
        self._workers.start(
            partial(self._transport.try_one, sending.destination, instance), partial(self._tried, sending, chunk)
        )

    def _tried(self, sending: Sending, chunk: Chunk, error: SendError | None) -> None:
        self._health.breaker(sending.destination.name).trying = False
        self._ended(sending, chunk, JobReport(JobState.FAILURE if error else JobState.SUCCESS, int(not error), error))

    # Processes, which take none of Orthanc's jobs

    def start_processes(self, now: float) -> None:
        """Begin what waits for a command, as many at once as the machine may be asked for."""
        names = self._names(process=True)
        for name in names:
            running = sum(len(self._of(each)) for each in names)
            for _ in range(MOST_PROCESSES - running):
                if self._health.only_urgent(name) is None or not self._claim(name, now):
                    break
            for sending in self._of(name):
                if sending.has_work and not sending.chunks:
                    self._submit(sending, sending.next_chunk(1))

    def _names(self, *, process: bool) -> list[str]:
        return [name for name, each in self._health.destinations.items() if (each.kind is Kind.PROCESS) is process]

    # What comes back

    def poll(self, now: float) -> None:
        """Look at the jobs that it is time to look at."""
        for sending in list(self.active):
            for chunk in [chunk for chunk in sending.chunks if chunk.job_id and chunk.look_at <= now]:
                self._look(sending, chunk, self._transport.report(chunk.job_id, len(chunk.instances)))

    def next_look(self) -> float | None:
        """When a job is to be looked at; None when none is under way."""
        times = (chunk.look_at for sending in self.active for chunk in sending.chunks if chunk.job_id)
        return min(times, default=None)

    def job_ended(self, job_id: str, state: JobState) -> None:
        """Orthanc says that a job has ended; its result may have left Orthanc's history already."""
        found = [(each, chunk) for each in self.active for chunk in each.chunks if chunk.job_id == job_id]
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
        elif report.state is JobState.STOPPED:
            self._ledger.close_chunk(chunk.ledger_id, report.accepted)
            sending.chunk_stopped(chunk, report.accepted)
            self._health.succeeded(sending.destination)
        else:
            self._failed(sending, chunk, max(report.accepted, chunk.accepted), report.error)
        self._queue.progress(sending.delivery, sending.sent_now, sending.refused)

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
        for sending in self.active:
            sending.ending = sending.ending or Reason.QUEUED
            for chunk in [chunk for chunk in sending.chunks if chunk.job_id]:
                report = self._transport.pause(chunk.job_id, len(chunk.instances))
                if report is None:
                    return False
                self._look(sending, chunk, report)
        return True

    def withdraw(self, now: float) -> None:
        """Start nothing more for a destination that was paused or held, or whose window has closed, meanwhile."""
        for sending in self.active:
            if sending.ending is None and sending.pending:
                blocked = self._health.blocked(sending.destination.name) or self._closed(sending, now)
                urgent = sending.delivery.priority is Priority.URGENT
                if blocked is not None and not (urgent and blocked.reason is Reason.WINDOW):
                    sending.wait(blocked.reason, blocked.until)

    def _closed(self, sending: Sending, now: float) -> Blocked | None:
        opens = self._outside.window(sending.destination, now)
        return None if opens == now else Blocked(Reason.WINDOW, now + NEVER_OPENS_RECHECK if opens is None else opens)

    def cancel(self, delivery_id: int) -> None:
        """Start nothing more of this delivery, and end its jobs."""
        for sending in self.active:
            if sending.delivery.id == delivery_id:
                self.end(sending)

    def end_all(self) -> None:
        """Give all back: another Orthanc may have taken over what this one cannot tell that it still sends."""
        for sending in self.active:
            self.end(sending)

    def end_others(self, ours: Collection[str]) -> None:
        """Send no more of what has another lease by now: another Orthanc does."""
        for sending in self.active:
            if sending.delivery.lease not in ours and not sending.over:
                self.end(sending)

    def end(self, sending: Sending) -> None:
        """Give the rest of an attempt back."""
        sending.ending = sending.ending or Reason.QUEUED
        for chunk in sending.chunks:
            if chunk.job_id:
                self._transport.cancel(chunk.job_id)
