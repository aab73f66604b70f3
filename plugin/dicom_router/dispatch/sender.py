# SPDX-License-Identifier: AGPL-3.0-or-later
"""Handing out chunks: which delivery gets the next lane, and what each has to send."""

import math
import uuid
from collections.abc import Collection, Sequence
from functools import partial

from dicom_router.deliveries.delivery import LAST_URGENT_RANK, Delivery, Priority, Reason
from dicom_router.deliveries.outcome import INTERRUPTED, SendError
from dicom_router.destination import Destination, Kind
from dicom_router.dispatch.hang_up import resolve
from dicom_router.dispatch.health import Blocked, Health
from dicom_router.dispatch.lanes import Candidate, next_destination
from dicom_router.dispatch.outside import Outside
from dicom_router.dispatch.preparation import prepare
from dicom_router.dispatch.sending import MOST_SHARED, Sending, fair_share, share_a_job
from dicom_router.dispatch.under_way import UnderWay
from dicom_router.dispatch.workers import Workers
from dicom_router.orthanc_rest import OrthancError
from dicom_router.store.ledger import Ledger
from dicom_router.store.queue import DeliveryQueue
from dicom_router.studies.selection import Chosen, chosen, just_listed

NEVER_OPENS_RECHECK = 86400.0  # seconds
GATHERING_SECONDS = 0.1  # that small deliveries wait at most for others to share their job
MOST_PROCESSES = 2  # at once, of all rules together
LARGEST_TRY = 64 * 1024 * 1024  # bytes; a larger instance is not copied through this process


def arrived_before(delivery: Delivery, unsent: int) -> int:
    """How many instances earlier attempts have sent; after a crash the ledger knows of more than the delivery does."""
    if delivery.error_code != INTERRUPTED:
        return delivery.instances_sent
    return max(delivery.instances_sent, delivery.instances_count - delivery.instances_refused - unsent)


def _is_urgent(sending: Sending) -> bool:
    return sending.delivery.priority is Priority.URGENT


def _is_large(sending: Sending) -> bool:
    count = len(sending.pending) if sending.prepared else sending.delivery.instances_count
    return count > MOST_SHARED


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
        self._first_ranks: dict[str, float | None] = {}  # of what waits, by destination, while lanes are given out
        self.under_way = UnderWay(self.active, queue, ledger, health, workers, outside)

    # Handing out

    def fill(self, now: float) -> None:
        """Give every free lane to somebody who can use it, and have the next at hand."""
        self._first_ranks.clear()
        names = self._names(process=False)
        self._fill(self._in_lanes(names), self._lanes, now)
        for name in names:
            if not self._health.destinations[name].needs_lane:
                self._fill([name], self._most(name), now)

    def _fill(self, names: Sequence[str], lanes: int, now: float) -> None:
        for name in names:
            self._claim_ahead(name, self._free_lanes(names, lanes), now)
        while True:
            free = self._free_lanes(names, lanes)
            candidates = [self._candidate(name, now) for name in names] if free > 0 else []
            chosen_name = next_destination([each for each in candidates if each], free)
            if chosen_name is None:
                return
            self._serve(chosen_name, now)

    def _free_lanes(self, names: Sequence[str], lanes: int) -> int:
        return lanes - sum(self._in_flight(name) for name in names)

    def _in_lanes(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if self._health.destinations[name].needs_lane]

    def _in_flight(self, name: str) -> int:
        """How many jobs it has; several deliveries may share one."""
        return len({id(chunk.job) for sending in self._of(name) for chunk in sending.chunks if chunk.job.in_lane})

    def _of(self, name: str) -> list[Sending]:
        return [sending for sending in self.active if sending.destination.name == name]

    def _claim_ahead(self, name: str, free: int, now: float) -> None:
        """Have as many deliveries at hand as the destination's lanes can take: to list them takes time, too.

        Small ones share a job, so there may be several for each lane; of large ones, one is enough for all.
        """
        in_flight, most = self._in_flight(name), self._most(name)
        if self._health.only_urgent(name) is None or not self._health.breaker(name).proven(now):
            return
        room = min(free, most - in_flight)
        if self._shares_jobs(name) and (in_flight or free > 0):
            room += most * (MOST_SHARED - 1)
        waiting = [sending for sending in self._of(name) if not sending.prepared or sending.has_room]
        for _ in range(max(most, len(self._of(name)))):  # more with each turn, so that none takes long
            overtakes = self._urgent_waits(name) and sum(map(_is_urgent, waiting)) < most
            enough = len(waiting) >= room or any(_is_large(sending) for sending in waiting)
            if not overtakes and (enough or self._first_rank(name) is None):
                return
            claimed = self._claim(name, now)
            if claimed is None:
                return
            waiting.append(claimed)

    def _shares_jobs(self, name: str) -> bool:
        return self._health.destinations[name].kind is Kind.MODALITY

    def _candidate(self, name: str, now: float) -> Candidate | None:
        in_flight, most = self._in_flight(name), self._most(name)
        if in_flight >= most or self._health.only_urgent(name) is None or not self._health.breaker(name).proven(now):
            return None
        ready = [sending for sending in self._of(name) if sending.has_room]
        urgent = any(_is_urgent(sending) for sending in ready)
        if not ready or (not urgent and len(ready) < self._fair_share(name, ready, now)):
            return None
        return Candidate(name, in_flight, most, urgent, self._served.get(name, 0.0))

    def _fair_share(self, name: str, ready: Sequence[Sending], now: float) -> int:
        """How many deliveries the next job takes; those that are being listed just now are worth a moment's wait."""
        small = sum(1 for sending in ready if sending.may_share())
        if small < len(ready):
            return 1
        listed = [sending for sending in self._of(name) if not sending.prepared]
        coming = len(listed) if self._gathered_at(listed) >= now else 0
        return fair_share(small + coming, self._most(name))

    def next_change(self, now: float) -> float | None:
        """When what is ready is no longer to wait for what is being listed; None when nothing waits for that."""
        at = self._gathered_at([sending for sending in self.active if not sending.prepared])
        return at if now < at < math.inf else None

    @staticmethod
    def _gathered_at(listed: Sequence[Sending]) -> float:
        return min((sending.began + GATHERING_SECONDS for sending in listed), default=math.inf)

    def _urgent_waits(self, name: str) -> bool:
        first = self._first_rank(name)
        return first is not None and first < LAST_URGENT_RANK

    def _first_rank(self, name: str) -> float | None:
        if name not in self._first_ranks:
            self._first_ranks[name] = self._queue.first_rank(name)
        return self._first_ranks[name]

    def _most(self, name: str) -> int:
        """Its associations; but never the last lane while there are others, since it may begin to hang."""
        own = [sending.destination.associations for sending in self._of(name)]  # their Send may say another number
        most = max([self._health.destinations[name].associations, *own])
        in_lanes = self._in_lanes(self._names(process=False))
        if name not in in_lanes:
            return most
        others = sum(1 for each in in_lanes if self._health.destinations[each].enabled) > 1
        return min(most, max(1, self._lanes - 1) if others else self._lanes)

    def _serve(self, name: str, now: float) -> None:
        self._served[name] = now
        ready = sorted((sending for sending in self._of(name) if sending.has_room), key=lambda each: each.delivery.rank)
        most = self._most(name)
        together = share_a_job(ready, self._fair_share(name, ready, now))
        if len(together) > 1:
            self.under_way.submit([(sending, sending.take_all()) for sending in together])
        else:
            self.under_way.submit([(ready[0], ready[0].next_chunk(min(most, ready[0].destination.associations)))])

    def _claim(self, name: str, now: float) -> Sending | None:
        urgent_only = self._health.only_urgent(name)
        if urgent_only is None:
            return None
        self._first_ranks.pop(name, None)
        delivery = self._queue.claim(name, uuid.uuid4().hex, now, urgent_only=urgent_only)
        if delivery is None:
            return None
        destination = self._outside.effective(self._health.destinations[name], delivery)
        sent, refused = delivery.instances_sent, delivery.instances_refused
        sending = Sending(delivery, destination, sent=sent, refused=refused, began=now)
        self.active.append(sending)
        closed = self._closed(sending, now)
        if closed is not None and delivery.priority is not Priority.URGENT:
            sending.prepared = True
            sending.wait(closed.reason, closed.until)
        else:
            self._list(sending, now)
        return sending

    def _list(self, sending: Sending, now: float) -> None:
        listed = just_listed(sending.delivery, now, self._outside.listings)
        if listed is not None and sending.destination.name in self.peers:
            self._workers.post(partial(self._listed, sending, listed))  # which is done again if the database goes away
        else:
            self._workers.start(partial(self._ask_orthanc, sending, now), partial(self._listed, sending))

    def _ask_orthanc(self, sending: Sending, now: float) -> Chosen | SendError:
        name = sending.destination.name
        if name not in self.peers:
            address = self._transport.address(sending.destination)
            self.peers[name] = resolve(*address) if address else set()
        try:
            return chosen(self._outside.rest, sending.delivery, now)
        except OrthancError as problem:
            return SendError.passing("OrthancError", str(problem))

    def _listed(self, sending: Sending, listed: Chosen | SendError) -> None:
        if isinstance(listed, SendError):
            sending.ending = sending.ending or listed
        else:
            self._prepare(sending, listed)
        sending.prepared = True

    def _prepare(self, sending: Sending, listed: Chosen) -> None:
        delivery, destination = sending.delivery, sending.destination
        prepared = prepare(self._outside.visible, self._ledger, delivery, destination, listed)
        if not prepared.found:
            text = "The resource was deleted from Orthanc before it was sent."
            sending.ending = SendError.refusal("ResourceDeleted", text)
            return
        sending.sent = arrived_before(delivery, len(prepared.unsent))
        count = sending.sent + sending.refused + len(prepared.unsent)
        size = sum(instance.size for instance in prepared.unsent)
        self._queue.listed(delivery, count, size, prepared.content)
        sending.take_up(prepared.unsent)

    # The one try of an unproven destination

    def try_unproven(self, now: float) -> None:
        """Send one instance, without a lane, to each destination that must first show that it works."""
        for name in self._names(process=False):
            if not self._health.breaker(name).may_try(now) or self._health.only_urgent(name) is None:
                continue
            active = self._of(name)
            ready = next((sending for sending in active if sending.has_work), None)
            if ready is not None:
                self._try_one(ready, now)
            elif all(sending.verifying for sending in active):
                self._claim(name, now)

    def _try_one(self, sending: Sending, now: float) -> None:
        if sending.destination.whole:
            if not sending.chunks:
                self.under_way.submit([(sending, sending.next_chunk(1))])
            return
        by_job = sending.destination.needs_job
        large = sending.pending[0].size > LARGEST_TRY or self._outside.rest.holds_interpreter
        if (by_job or large) and self._is_tried(sending.destination, now):
            return
        if large and not by_job:
            self.under_way.submit([(sending, [sending.pending.popleft()])])
        else:
            self.under_way.try_one(sending)

    def _is_tried(self, destination: Destination, now: float) -> bool:
        """By a job, one at a time: those that are not proven share a single lane, and what takes none has its own."""
        if destination.needs_lane:
            return self._tries_by_job(now)
        return any(sending.chunks for sending in self._of(destination.name))

    def _tries_by_job(self, now: float) -> bool:
        """A destination that is not proven is being tried in a lane."""
        return any(
            chunk.job.in_lane and chunk.job.count == 1
            for each in self.active
            if each.destination.needs_lane
            and not each.destination.whole
            and not self._health.breaker(each.destination.name).proven(now)
            for chunk in each.chunks
        )

    # Processes, which take none of Orthanc's jobs

    def start_processes(self, now: float) -> None:
        """Begin what waits for a command, as many at once as the machine may be asked for."""
        names = self._names(process=True)
        for name in names:
            running = sum(len(self._of(each)) for each in names)
            for _ in range(MOST_PROCESSES - running):
                if self._health.only_urgent(name) is None or self._claim(name, now) is None:
                    break
            for sending in self._of(name):
                if sending.has_work and not sending.chunks:
                    self.under_way.submit([(sending, sending.next_chunk(1))])

    def _names(self, *, process: bool) -> list[str]:
        return [name for name, each in self._health.destinations.items() if (each.kind is Kind.PROCESS) is process]

    # Ending early

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
                self.under_way.end(sending)

    def end_all(self) -> None:
        """Give all back: another Orthanc may have taken over what this one cannot tell that it still sends."""
        for sending in self.active:
            self.under_way.end(sending)

    def end_others(self, ours: Collection[str]) -> None:
        """Send no more of what has another lease by now: another Orthanc does."""
        for sending in self.active:
            if sending.delivery.lease not in ours and not sending.over:
                self.under_way.end(sending)
