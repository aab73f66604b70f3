# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one loop that sends: it claims deliveries, hands chunks to the transport, and closes what has ended.

One thread owns all of the state below. What blocks (listing a study, a probe, the one try of an unproven destination)
runs on a small pool and reports back through the inbox; so do Orthanc's job events and the REST routes.
"""

import queue as thread_queue
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from peewee import Database

from dicom_router.deliveries.delivery import Delivery, Priority, Reason
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError
from dicom_router.deliveries.retry import next_attempt
from dicom_router.destination import Destination, Verify
from dicom_router.dispatch.breaker import Breaker
from dicom_router.dispatch.hang_up import hang_up, resolve
from dicom_router.dispatch.lanes import Candidate, next_destination
from dicom_router.dispatch.preparation import Prepared, accepted_instances, prepare
from dicom_router.dispatch.recovery import settle_jobs
from dicom_router.dispatch.sending import Chunk, Sending
from dicom_router.orthanc_rest import OrthancError, OrthancRest, OrthancUnreachableError
from dicom_router.store.database import session
from dicom_router.store.failover import Failover
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue
from dicom_router.store.switches import Switches
from dicom_router.transports.transport import JobReport, JobState, Transport
from dicom_router.verification import Verification, not_kept, verify

POLL_SECONDS = 0.5
IDLE_SECONDS = 10.0
FAILOVER_SECONDS = 1.0
LEASE_RENEWAL_SECONDS = 15.0
POOL_THREADS = 16
VERIFIER_THREADS = 8  # apart, since a destination may take a minute to commit
LARGEST_TRY = 64 * 1024 * 1024  # bytes; a larger instance is not copied through this process
STOP_GRACE_SECONDS = 0.6  # for jobs to end by themselves before their connections are shut down
HANG_UP_SECONDS = 0.6  # for Orthanc to notice that they were


@dataclass(frozen=True)
class Blocked:
    """Why nothing is sent to a destination now, and until when (epoch seconds) if that is known."""

    reason: Reason
    until: float | None = None


@dataclass(frozen=True)
class Outside:
    """What the dispatcher needs of the world around it."""

    transport: Transport
    rest: OrthancRest
    effective: Callable[[Destination, Delivery], Destination]  # the destination with the delivery's own options
    window: Callable[[Destination, float], float | None]  # when its window opens next: now, later, or never (None)
    closed: Callable[[], None]  # a delivery has ended
    log: Callable[[str], None]
    clock: Callable[[], float] = time.time


class Dispatcher:
    """Sends what the queue holds."""

    def __init__(
        self,
        database: Database,
        queue: DeliveryQueue,
        failover: Failover,
        ledger: Ledger,
        switches: Switches,
        destinations: Mapping[str, Destination],
        lanes: int,
        outside: Outside,
    ) -> None:
        self._database = database
        self._queue = queue
        self._failover = failover
        self._ledger = ledger
        self._switches = switches
        self._destinations = dict(destinations)
        self._lanes = lanes
        self._outside = outside
        self._transport = outside.transport
        self._breakers = {name: Breaker() for name in destinations}
        self._served = dict.fromkeys(destinations, 0.0)
        self._sending: list[Sending] = []
        self._peers: dict[str, set[tuple[str, int]]] = {}
        self._inbox: thread_queue.SimpleQueue[Callable[[], None]] = thread_queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="router-pool")
        self._verifiers = ThreadPoolExecutor(VERIFIER_THREADS, thread_name_prefix="router-verify")
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="router-dispatch")
        self._stopping = False
        self._next_poll = 0.0
        self._next_renewal = 0.0
        self._next_failover = 0.0
        self._random = random.Random()  # noqa: S311 - spreads retries

    # Called from other threads

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End within about two seconds: nothing is lost, what is on its way is given back. Joins all threads."""
        self._stopping = True
        self._stop_event.set()
        self.ring()
        if self._thread.is_alive():
            self._thread.join()
        for pool in (self._pool, self._verifiers):
            pool.shutdown(wait=True, cancel_futures=True)

    def ring(self) -> None:
        """Something may be due: look now."""
        self._inbox.put(_nothing)

    def job_ended(self, job_id: str, state: JobState) -> None:
        """Orthanc tells that a job has ended."""
        self._inbox.put(lambda: self._job_ended(job_id, state))

    def cancel_asked(self, delivery_id: int) -> None:
        """A delivery that is being sent should end."""
        self._inbox.put(lambda: self._cancel(delivery_id))

    def add_destination(self, destination: Destination) -> None:
        """A rule names a modality of Orthanc that was not known before."""
        self._inbox.put(lambda: self._add_destination(destination))

    def blocked(self, name: str) -> Blocked | None:
        """Why nothing is sent to a destination now; None when it may be sent to."""
        destination = self._destinations.get(name)
        if destination is None:
            return Blocked(Reason.UNKNOWN)
        return self._blocked(destination, self._outside.clock())

    def breaker(self, name: str) -> Breaker:
        """The health of a destination; to read only."""
        return self._breakers.get(name) or Breaker()

    def _add_destination(self, destination: Destination) -> None:
        self._breakers.setdefault(destination.name, Breaker())
        self._served.setdefault(destination.name, 0.0)
        self._destinations = {**self._destinations, destination.name: destination}

    # The loop

    def _run(self) -> None:
        with session(self._database):
            self._recover()
            while not self._stopping:
                self._turn()
            self._shut_down()

    def _turn(self) -> None:
        try:
            self._advance(self._outside.clock())
            self._receive(self._pause())
        except Exception as problem:  # noqa: BLE001 - the loop outlives any mistake; the guarded writes keep the queue right
            self._outside.log(f"the dispatcher met an unexpected error and goes on: {problem!r}")
            self._receive(POLL_SECONDS)

    def _recover(self) -> None:
        try:
            settle_jobs(self._ledger, self._transport, self._ledger.open_chunks(), time.sleep)
            lost = self._queue.take_over(self._outside.clock())
        except Exception as problem:  # noqa: BLE001
            self._outside.log(f"what was under way before the restart could not be looked at: {problem!r}")
            return
        if lost:
            self._outside.log(f"{len(lost)} deliveries that were under way before the restart are sent on")

    def _pause(self) -> float:
        if any(sending.chunks for sending in self._sending):
            return POLL_SECONDS
        now = self._outside.clock()
        times = [now + IDLE_SECONDS]
        times += [at for at in (self._queue.next_due(), self._failover.next_due()) if at is not None]
        times += [breaker.probe_at for breaker in self._breakers.values() if breaker.held and not breaker.probing]
        times += [blocked.until for name in self._destinations if (blocked := self.blocked(name)) and blocked.until]
        return max(0.0, min(times) - now)

    def _receive(self, timeout: float) -> None:
        try:
            message = self._inbox.get(timeout=max(timeout, 0.001))
        except thread_queue.Empty:
            return
        message()
        while not self._inbox.empty():
            self._inbox.get()()

    def _advance(self, now: float) -> None:
        self._queue.wake_due(now)
        self._fail_over(now)
        self._probe(now)
        self._poll(now)
        self._try_unproven(now)
        self._fill(now)
        self._close_over(now)
        self._renew_leases(now)

    # Health

    def _blocked(self, destination: Destination, now: float) -> Blocked | None:
        if self._switches.router_paused():
            return Blocked(Reason.ROUTER_PAUSED)
        if not destination.enabled:
            return Blocked(Reason.DISABLED)
        if self._switches.destination_paused(destination.name):
            return Blocked(Reason.PAUSED)
        breaker = self.breaker(destination.name)
        if breaker.held:
            return Blocked(Reason.HELD, breaker.probe_at)
        opens = self._outside.window(destination, now)
        return None if opens == now else Blocked(Reason.WINDOW, opens)

    def _only_urgent(self, name: str, now: float) -> bool | None:
        """None: nothing may be sent to it now. True: urgent deliveries only. False: all."""
        blocked = self._blocked(self._destinations[name], now)
        if blocked is None:
            return False
        return True if blocked.reason is Reason.WINDOW else None

    def _probe(self, now: float) -> None:
        for name, breaker in self._breakers.items():
            if breaker.probe_due(now):
                breaker.probing = True
                self._on_pool(
                    partial(self._transport.probe, self._destinations[name]),
                    partial(self._probed, self._destinations[name]),
                )

    def _probed(self, destination: Destination, error: SendError | None) -> None:
        now = self._outside.clock()
        if self._breakers[destination.name].probed(now, error.message if error else None):
            self._outside.log(f"destination {destination.name} answers again")
            self._queue.wake_destination(destination.name, now)

    def _succeeded(self, destination: Destination) -> None:
        now = self._outside.clock()
        if self._breakers[destination.name].succeeded(now):
            self._queue.wake_destination(destination.name, now)

    def _failed(self, destination: Destination, error: SendError) -> None:
        if error.scope is Scope.INSTANCE:
            return
        if self._breakers[destination.name].failed(self._outside.clock(), error.message):
            self._outside.log(f"destination {destination.name} is held, it does not answer: {error.message}")

    def _fail_over(self, now: float) -> None:
        """Hand what has waited for an unreachable destination for too long to the next one."""
        if now < self._next_failover:
            return
        self._next_failover = now + FAILOVER_SECONDS
        for delivery in self._failover.due(now):
            if self._unreachable(delivery):
                self._failover.fail_over(delivery, now)
            else:
                self._failover.look_again(delivery, now + FAILOVER_SECONDS)

    def _unreachable(self, delivery: Delivery) -> bool:
        if delivery.destination not in self._destinations or self.breaker(delivery.destination).held:
            return True
        return delivery.error_scope in {Scope.DESTINATION, Scope.ASSOCIATION}

    # Handing out

    def _fill(self, now: float) -> None:
        exhausted: set[str] = set()
        while True:
            free = self._lanes - sum(self._in_flight(name) for name in self._destinations)
            candidates = [self._candidate(name, now) for name in self._destinations if name not in exhausted]
            name = next_destination([each for each in candidates if each], free)
            if name is None:
                return
            if not self._serve(name, now):
                exhausted.add(name)

    def _in_flight(self, name: str) -> int:
        return sum(
            sum(1 for chunk in sending.chunks if chunk.job_id) + (not sending.prepared)
            for sending in self._sending
            if sending.destination.name == name
        )

    def _candidate(self, name: str, now: float) -> Candidate | None:
        urgent_only = self._only_urgent(name, now)
        if urgent_only is None or not self._breakers[name].proven(now):
            return None
        urgent = self._queue.urgent_ready(name)
        working = any(sending.has_work for sending in self._of(name))
        if not (urgent or working or (not urgent_only and self._queue.ready(name))):
            return None
        return Candidate(name, self._in_flight(name), self._destinations[name].associations, urgent, self._served[name])

    def _of(self, name: str) -> list[Sending]:
        return [sending for sending in self._sending if sending.destination.name == name]

    def _serve(self, name: str, now: float) -> bool:
        self._served[name] = now
        working = [sending for sending in self._of(name) if sending.has_work]
        if not working:
            return self._claim(name, now)
        sending = min(working, key=lambda each: each.delivery.rank)
        self._submit(sending, sending.next_chunk(min(self._lanes, sending.destination.associations)))
        return True

    def _claim(self, name: str, now: float) -> bool:
        urgent_only = self._only_urgent(name, now)
        if urgent_only is None:
            return False
        delivery = self._queue.claim(name, uuid.uuid4().hex, now, urgent_only=urgent_only)
        if delivery is None:
            return False
        destination = self._outside.effective(self._destinations[name], delivery)
        sending = Sending(delivery, destination, sent=delivery.instances_sent, refused=delivery.instances_refused)
        self._sending.append(sending)
        opens = self._outside.window(destination, now)
        if opens != now and delivery.priority is not Priority.URGENT:
            sending.prepared = True
            sending.ending = Reason.WINDOW
            sending.planned = opens
            return True
        self._on_pool(partial(self._prepare, sending), partial(self._prepared, sending))
        return True

    def _prepare(self, sending: Sending) -> Prepared | SendError:
        name = sending.destination.name
        if name not in self._peers:
            address = self._transport.address(sending.destination)
            self._peers[name] = resolve(*address) if address else set()
        try:
            return prepare(self._outside.rest, self._ledger, sending.delivery, sending.destination.aet)
        except OrthancError as problem:
            return SendError(ErrorClass.TRANSIENT, Scope.INSTANCE, "OrthancError", str(problem))

    def _prepared(self, sending: Sending, result: Prepared | SendError | None) -> None:
        sending.prepared = True
        if result is None:
            result = SendError(ErrorClass.TRANSIENT, Scope.INSTANCE, "InternalError", "The study could not be listed.")
        if isinstance(result, SendError):
            sending.ending = result
        elif not result.found:
            text = "The resource was deleted from Orthanc before it was sent."
            sending.ending = SendError(ErrorClass.PERMANENT, Scope.INSTANCE, "ResourceDeleted", text)
        else:
            sending.pending.extend(result.unsent)
            count = sending.sent + sending.refused + len(result.unsent)
            self._queue.listed(sending.delivery, count, sum(instance.size for instance in result.unsent))

    def _submit(self, sending: Sending, instances: list[Instance]) -> None:
        chunk = self._open_chunk(sending, instances)
        try:
            job_id = self._transport.submit(sending.destination, instances)
        except OrthancError as problem:
            self._not_submitted(sending, chunk, problem)
            return
        chunk.job_id = job_id
        self._ledger.submitted(chunk.ledger_id, job_id)
        self._queue.job_submitted(sending.delivery, job_id)

    def _open_chunk(self, sending: Sending, instances: list[Instance]) -> Chunk:
        digests = [instance.digest for instance in instances]
        ledger_id = self._ledger.open_chunk(
            instances[0].study_id, sending.destination.name, sending.delivery.id, digests
        )
        chunk = Chunk(ledger_id, instances)
        sending.chunks.append(chunk)
        return chunk

    def _not_submitted(self, sending: Sending, chunk: Chunk, problem: OrthancError) -> None:
        sending.chunks.remove(chunk)
        self._ledger.close_chunk(chunk.ledger_id, 0)
        sending.give_back(chunk.instances)
        code = "OrthancUnreachable" if isinstance(problem, OrthancUnreachableError) else "JobRefused"
        # An instance that was deleted meanwhile is found out when the next attempt lists the resource.
        sending.ending = SendError(ErrorClass.TRANSIENT, Scope.INSTANCE, code, str(problem))

    # The one try of an unproven destination

    def _try_unproven(self, now: float) -> None:
        for name, breaker in self._breakers.items():
            if not breaker.may_try(now) or self._only_urgent(name, now) is None:
                continue
            active = self._of(name)
            ready = next((sending for sending in active if sending.has_work), None)
            if ready is not None:
                self._try_one(ready)
            elif not active:
                self._claim(name, now)

    def _try_one(self, sending: Sending) -> None:
        instance = sending.pending[0]
        if instance.size > LARGEST_TRY or self._outside.rest.holds_interpreter:
            if not any(chunk for each in self._sending for chunk in each.chunks if len(chunk.instances) == 1):
                self._submit(sending, [sending.pending.popleft()])
            return
        breaker = self._breakers[sending.destination.name]
        breaker.trying = True
        chunk = self._open_chunk(sending, [sending.pending.popleft()])
        self._on_pool(
            partial(self._transport.try_one, sending.destination, instance), partial(self._tried, sending, chunk)
        )

    def _tried(self, sending: Sending, chunk: Chunk, error: SendError | None) -> None:
        self._breakers[sending.destination.name].trying = False
        if error is None:
            self._ended(sending, chunk, JobReport(JobState.SUCCESS, 1))
        else:
            self._ended(sending, chunk, JobReport(JobState.FAILURE, 0, error))

    # What comes back

    def _poll(self, now: float) -> None:
        if now < self._next_poll:
            return
        self._next_poll = now + POLL_SECONDS
        for sending in list(self._sending):
            for chunk in [chunk for chunk in sending.chunks if chunk.job_id]:
                self._look(sending, chunk, self._transport.report(chunk.job_id, len(chunk.instances)))

    def _job_ended(self, job_id: str, state: JobState) -> None:
        for sending in self._sending:
            for chunk in sending.chunks:
                if chunk.job_id == job_id:
                    report = self._transport.report(job_id, len(chunk.instances))
                    if report.state is JobState.GONE and state is JobState.SUCCESS:
                        report = JobReport(JobState.SUCCESS, len(chunk.instances))
                    self._look(sending, chunk, report)
                    return

    def _look(self, sending: Sending, chunk: Chunk, report: JobReport) -> None:
        if report.state is not JobState.RUNNING:
            self._ended(sending, chunk, report)
        elif report.accepted > chunk.accepted:
            chunk.accepted = report.accepted
            self._ledger.advance(chunk.ledger_id, chunk.accepted)
            self._queue.progress(sending.delivery, sending.sent_now, sending.refused)
            self._succeeded(sending.destination)

    def _ended(self, sending: Sending, chunk: Chunk, report: JobReport) -> None:
        if report.state is JobState.SUCCESS:
            self._ledger.close_chunk(chunk.ledger_id, len(chunk.instances))
            sending.chunk_succeeded(chunk)
            self._succeeded(sending.destination)
        else:
            accepted = max(report.accepted, chunk.accepted)
            error = report.error or sending.lost(f"{len(chunk.instances)} instances")
            self._ledger.close_chunk(chunk.ledger_id, accepted)
            if accepted:
                self._succeeded(sending.destination)
            self._failed(sending.destination, error)
            refused = sending.chunk_failed(chunk, accepted, error)
            if refused is not None:
                self._queue.refused(sending.delivery, refused, error, self._outside.clock())
        self._queue.progress(sending.delivery, sending.sent_now, sending.refused)

    def _cancel(self, delivery_id: int) -> None:
        for sending in self._sending:
            if sending.delivery.id == delivery_id:
                sending.ending = Reason.QUEUED
                self._cancel_jobs(sending)

    def _cancel_jobs(self, sending: Sending) -> None:
        for chunk in sending.chunks:
            if chunk.job_id:
                self._transport.cancel(chunk.job_id)

    # Closing

    def _close_over(self, now: float) -> None:
        for sending in [sending for sending in self._sending if sending.over]:
            if self._must_verify(sending):
                sending.verifying = True
                self._on_pool(partial(self._verify, sending), partial(self._verified, sending), self._verifiers)
            else:
                self._sending.remove(sending)
                self._close(sending, now)

    def _must_verify(self, sending: Sending) -> bool:
        wanted = sending.destination.verify is not Verify.ACCEPTED
        return wanted and not sending.verified and sending.result() is None

    def _verify(self, sending: Sending) -> Verification | SendError:
        expected = accepted_instances(self._outside.rest, self._ledger, sending.delivery)
        return verify(self._transport, sending.destination, expected, self._stop_event.wait)

    def _verified(self, sending: Sending, result: Verification | SendError) -> None:
        sending.verifying = False
        error = result if isinstance(result, SendError) else result.error
        if error is not None:
            sending.ending = sending.ending or error
        elif isinstance(result, Verification) and result.missing:
            self._not_kept(sending, result.missing)
        else:
            sending.verified = True

    def _not_kept(self, sending: Sending, missing: Sequence[Instance]) -> None:
        name = sending.destination.name
        self._outside.log(f"destination {name} accepted {len(missing)} instances that it does not have")
        for study_id in {instance.study_id for instance in missing}:
            self._ledger.remove(study_id, name, [instance.digest for instance in missing])
        if not sending.missing(missing):
            for instance in missing:
                self._queue.refused(sending.delivery, instance, not_kept(), self._outside.clock())

    def _close(self, sending: Sending, now: float) -> None:
        delivery, result = sending.delivery, sending.result()
        if result is None:
            kept = self._queue.succeed(delivery, sending.sent, sending.refused, sending.destination.verify, now)
        elif isinstance(result, Reason):
            due = sending.planned or now
            kept = self._queue.defer(delivery, result, due, sending.sent, sending.refused, now)
        else:
            retry_at = self._retry_at(sending, result, now)
            kept = self._queue.fail(delivery, result, sending.sent, sending.refused, retry_at, now)
        self._outside.closed()
        if not kept:
            self._outside.log(f"delivery {delivery.id} belongs to another router now; its result is dropped")
        self.ring()

    def _retry_at(self, sending: Sending, error: SendError, now: float) -> float | None:
        if error.permanent:
            return None
        delivery = sending.delivery
        return next_attempt(
            sending.destination.retry, delivery.attempts, delivery.created_at, now, self._random.random()
        )

    def _renew_leases(self, now: float) -> None:
        if now >= self._next_renewal:
            self._next_renewal = now + LEASE_RENEWAL_SECONDS
            self._queue.renew_leases([sending.delivery.lease for sending in self._sending], now)

    # Stopping

    def _shut_down(self) -> None:
        for sending in self._sending:
            sending.ending = sending.ending or Reason.QUEUED
            self._cancel_jobs(sending)
        if not self._drain(STOP_GRACE_SECONDS):
            hang_up({peer for peers in self._peers.values() for peer in peers})
            self._drain(HANG_UP_SECONDS)
        now = self._outside.clock()
        for sending in self._sending:
            for chunk in sending.chunks:
                self._ledger.close_chunk(chunk.ledger_id, chunk.accepted)
            sending.sent = sending.sent_now
            self._close(sending, now)

    def _drain(self, seconds: float) -> bool:
        """Wait for what is on its way. True when all of it has ended."""
        deadline = time.monotonic() + seconds
        while self._busy() and time.monotonic() < deadline:
            self._receive(0.02)
            self._next_poll = 0.0
            self._poll(self._outside.clock())
        return not self._busy()

    def _busy(self) -> bool:
        probing = any(breaker.probing or breaker.trying for breaker in self._breakers.values())
        return probing or any(sending.chunks or sending.verifying for sending in self._sending)

    def _on_pool(
        self, work: Callable[[], object], then: Callable[..., None], pool: ThreadPoolExecutor | None = None
    ) -> None:
        def run() -> None:
            try:
                result = work()
            except Exception as problem:  # noqa: BLE001 - reported as an unknown, transient error
                result = SendError.passing("InternalError", repr(problem))
            self._inbox.put(lambda: then(result))

        (pool or self._pool).submit(run)


def _nothing() -> None:
    """A message that only wakes the loop."""
