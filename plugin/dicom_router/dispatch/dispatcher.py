# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one loop that sends: it claims deliveries, hands chunks to the transport, and closes what has ended.

One thread owns all state. What blocks (listing a study, a probe, the one try of an unproven destination, verification)
runs on pools and reports back through the inbox; so do Orthanc's job events and the REST routes.
"""

import threading
import time
from collections.abc import Mapping
from functools import partial

from dicom_router.destination import Destination
from dicom_router.dispatch.breaker import Breaker
from dicom_router.dispatch.closing import Closing
from dicom_router.dispatch.giving_up import GivingUp
from dicom_router.dispatch.hang_up import hang_up
from dicom_router.dispatch.health import Blocked, Health
from dicom_router.dispatch.job import LONGEST_LOOK
from dicom_router.dispatch.one_by_one import OneByOne
from dicom_router.dispatch.outside import Outside
from dicom_router.dispatch.recovery import GRACE_SECONDS, take_over
from dicom_router.dispatch.sender import Sender
from dicom_router.dispatch.timer import Timer
from dicom_router.dispatch.workers import Workers
from dicom_router.store.database import LOST, session
from dicom_router.store.failover import MOST_AT_ONCE
from dicom_router.store.queue import LEASE_SECONDS
from dicom_router.store.store import Store
from dicom_router.transports.transport import JobState
from dicom_router.unexpected import kind_and_place

ERROR_PAUSE_SECONDS = 0.5
IDLE_SECONDS = 10.0
SHARED_IDLE_SECONDS = 2.0  # what another Orthanc adds rings no bell here
FAILOVER_SECONDS = 1.0
FAILOVER_RESTS = 20  # times as long as a look took: among a million that wait for something else it takes a second
LEASE_RENEWAL_SECONDS = 5.0
FENCE_SECONDS = LEASE_SECONDS - 15.0  # without a renewal for so long, all is given back before another takes it
DATABASE_RETRY_SECONDS = 1.0
STOP_GRACE_SECONDS = 0.6  # for jobs to end by themselves before their connections are shut down
HANG_UP_SECONDS = 0.6  # for Orthanc to notice that they were


class Dispatcher:
    """Sends what the queue holds."""

    def __init__(self, store: Store, destinations: Mapping[str, Destination], lanes: int, outside: Outside) -> None:
        self._database = store.database
        self._queue = store.queue
        self._failover = store.failover
        self._ledger = store.ledger
        self._outside = outside
        self._workers = Workers()
        self._health = Health(destinations, store.switches, store.queue, self._workers, outside)
        self._sender = Sender(store.queue, store.ledger, self._health, self._workers, outside, lanes)
        self._giving_up = GivingUp(store.overdue, self._health, outside)
        self._closing = Closing(store.queue, store.ledger, self._workers, outside)
        self._thread = threading.Thread(target=self._run, name="router-dispatch")
        self._next_renewal = Timer()
        self._next_failover = Timer()
        self._next_adoption = Timer()
        self._handing_over = OneByOne("could not be handed to the next destination", outside.log)
        self._renewed_at = outside.clock()
        self._idle_seconds = SHARED_IDLE_SECONDS if store.shared else IDLE_SECONDS
        self._recovered = False
        self._database_lost = False
        self._given_back = False  # what was under way, at the end

    # Called from other threads

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End within about two seconds: nothing is lost, what is on its way is given back. Joins all threads."""
        self._workers.stopping.set()
        self.ring()
        if self._thread.is_alive():
            self._thread.join()
        self._workers.join()

    def ring(self) -> None:
        """Something may be due: look now."""
        self._workers.post(_nothing)

    def job_ended(self, job_id: str, state: JobState) -> None:
        """Orthanc tells that a job has ended."""
        self._workers.post(lambda: self._sender.under_way.job_ended(job_id, state))

    def cancel_asked(self, delivery_id: int) -> None:
        """A delivery that is being sent should end."""
        self._workers.post(lambda: self._sender.cancel(delivery_id))

    def add_destination(self, destination: Destination) -> None:
        """A rule names a modality of Orthanc that was not known before."""
        self._workers.post(lambda: self._health.add(destination))

    def blocked(self, name: str) -> Blocked | None:
        """Why nothing is sent to a destination now; None when it may be sent to."""
        return self._health.blocked(name)

    def breaker(self, name: str) -> Breaker:
        """The health of a destination; to read only."""
        return self._health.breaker(name)

    # The loop

    def _run(self) -> None:
        while not self._workers.stopping.is_set():
            try:
                with session(self._database):
                    self._go_on()
            except LOST as problem:
                self._wait_for_database(problem)
        if not self._given_back:
            self._cut_off()

    def _go_on(self) -> None:
        """All there is to do, until the router stops. Raises the errors of LOST."""
        self._next_renewal = Timer()
        self._next_adoption.wait(self._outside.clock(), GRACE_SECONDS)
        if not self._recovered:
            self._recover()
            self._recovered = True
        while not self._workers.stopping.is_set():
            self._turn()
        try:
            self._shut_down()
            self._given_back = True
        except Exception as problem:  # noqa: BLE001 - the next start finds out what is under way
            self._outside.log(f"the dispatcher could not write everything down at its end: {kind_and_place(problem)}")

    def _wait_for_database(self, problem: Exception) -> None:
        """What is on its way goes on, until another Orthanc might believe that this one is dead."""
        if not self._database_lost:
            self._database_lost = True
            self._outside.log(f"the router's database does not answer; nothing new is sent until it does: {problem}")
        if self._outside.clock() > self._renewed_at + FENCE_SECONDS:
            self._sender.end_all()
        self._workers.stopping.wait(DATABASE_RETRY_SECONDS)

    def _recover(self) -> None:
        try:
            lost = self._take_over(restarted=True)
        except LOST:
            raise
        except Exception as problem:  # noqa: BLE001 - sending the new ones is better than sending none
            self._outside.log(
                f"what was under way before the restart could not be looked at: {kind_and_place(problem)}"
            )
            return
        if lost:
            self._outside.log(f"{len(lost)} deliveries that were under way before the restart are sent on")

    def _take_over(self, *, restarted: bool = False) -> list[int]:
        outside = self._outside
        return take_over(self._queue, self._ledger, outside.transport, outside.clock(), time.sleep, restarted=restarted)

    def _turn(self) -> None:
        try:
            made_room = self._advance(self._outside.clock())
            if self._database_lost:
                self._database_lost = False
                self._outside.log("the router's database answers again; sending goes on")
            self._workers.receive(0.0 if made_room else self._pause())
        except LOST:
            raise
        except Exception as problem:  # noqa: BLE001 - the loop outlives any mistake; guarded writes keep the queue right
            self._outside.log(f"the dispatcher met an unexpected error and goes on: {kind_and_place(problem)}")
            self._workers.stopping.wait(ERROR_PAUSE_SECONDS)

    def _advance(self, now: float) -> bool:
        """Do what is due now. True when there is more at once, as when the end of an attempt has made room."""
        self._renew_leases(now)  # first: what was taken over while this process stood still must not be sent here
        self._adopt(now)
        self._queue.wake_due(now)
        more = self._fail_over(now)
        gave_up = self._giving_up.look(now)
        self._health.wake(now)
        self._health.probe(now)
        self._sender.under_way.poll(now)
        self._sender.withdraw(now)
        self._sender.try_unproven(now)
        self._sender.start_processes(now)
        self._sender.fill(now)
        return self._closing.close_over(self._sender.active, now) or more or gave_up

    def _pause(self) -> float:
        """Seconds until something is due."""
        now = self._outside.clock()
        look = self._sender.under_way.next_look()
        gathered = self._sender.next_change(now)
        soon = [at for at in (look, gathered) if at is not None]
        if soon:
            return min([*soon, now + LONGEST_LOOK]) - now
        failover = self._failover.next_due()
        if failover is not None:  # also of what waits for something else: it is looked at again, but not at once
            failover = max(failover, self._next_failover.at)
        due = (self._queue.next_due(), failover, self._health.next_change())
        return min([now + self._idle_seconds, *(at for at in due if at is not None)]) - now

    def _renew_leases(self, now: float) -> None:
        if not self._next_renewal.due(now):
            return
        self._next_renewal.wait(now, LEASE_RENEWAL_SECONDS)
        if self._sender.active:
            ours = self._queue.renew_leases([sending.delivery.lease for sending in self._sender.active], now)
            self._sender.end_others(ours)
        self._renewed_at = now

    def _adopt(self, now: float) -> None:
        """Send on what an Orthanc that died left behind."""
        if not self._next_adoption.due(now):
            return
        self._next_adoption.wait(now, LEASE_RENEWAL_SECONDS)
        lost = self._take_over()
        if lost:
            self._outside.log(f"{len(lost)} deliveries are taken over, whose Orthanc has died or was cut off")

    def _fail_over(self, now: float) -> bool:
        """Hand what has waited for an unreachable destination for too long to the next one. True: there may be more."""
        if not self._next_failover.due(now):
            return False
        began = time.monotonic()
        due = self._failover.due(now, self._health.reachable())
        took = time.monotonic() - began
        over = self._failover.fail_over
        handed = [self._handing_over.done(delivery.id, partial(over, delivery, now)) for delivery in due]
        more = len(due) == MOST_AT_ONCE and all(handed)
        self._next_failover.wait(now, 0.0 if more else max(FAILOVER_SECONDS, FAILOVER_RESTS * took))
        return more

    # Stopping

    def _shut_down(self) -> None:
        # Orthanc tells us of its stop while it holds what the end of a job needs, and the end of a job holds the
        # registry of jobs (SignalJobFailure under JobsRegistry's mutex waits for OrthancPlugins' change callback):
        # once one has ended, no call about jobs is answered until we have stopped. Paused jobs tell nobody.
        deadline = time.monotonic() + STOP_GRACE_SECONDS
        while self._sender.under_way.pause() and self._busy() and time.monotonic() < deadline:
            self._workers.receive(0.02)
        if self._busy():
            self._hang_up()
            deadline = time.monotonic() + HANG_UP_SECONDS
            while self._health.probing() and time.monotonic() < deadline:
                self._workers.receive(0.02)
        self._closing.give_back(self._sender.active, self._outside.clock())

    def _cut_off(self) -> None:
        """The same without the database, which does not answer: the next start finds out how far all came."""
        deadline = time.monotonic() + STOP_GRACE_SECONDS
        while self._under_way_in_orthanc() and time.monotonic() < deadline:
            time.sleep(0.02)
        if self._busy():
            self._hang_up()

    def _under_way_in_orthanc(self) -> bool:
        """A job that was told to pause goes on, and Orthanc still answers."""
        reports = [report for _, report in self._sender.under_way.halt()]
        return None not in reports and any(report and report.state is JobState.RUNNING for report in reports)

    def _hang_up(self) -> None:
        hang_up({peer for peers in self._sender.peers.values() for peer in peers})

    def _busy(self) -> bool:
        return self._health.probing() or any(sending.chunks or sending.verifying for sending in self._sender.active)


def _nothing() -> None:
    """A message that only wakes the loop."""
