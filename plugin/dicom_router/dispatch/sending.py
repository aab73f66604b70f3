# SPDX-License-Identifier: AGPL-3.0-or-later
"""One attempt of one delivery: what is still to be sent, what is on its way, and what came of it. Pure."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dicom_router.deliveries.delivery import Delivery, Reason
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import INTERRUPTED, RETRY_ONCE, Scope, SendError
from dicom_router.destination import Destination

LARGEST_CHUNK = 100  # beyond, a failed job's progress no longer tells where it stopped
SMALLEST_CHUNK = 5  # below, setting up an association costs more than it brings
FIRST_LOOK = 0.1  # seconds after a job was submitted
SHORTEST_LOOK = 0.02  # seconds between two looks at a job: each is a call to Orthanc
LONGEST_LOOK = 0.5
LOOK_BEFORE = 0.8  # of the time that a job may take
STRIKES = 3  # failures in a row without one instance accepted between them, then the attempt ends


@dataclass
class Chunk:
    """Instances handed to one Orthanc job; without a lane, to the one try of an unproven destination."""

    ledger_id: int
    instances: list[Instance]
    in_lane: bool = True
    job_id: str = ""  # empty until Orthanc has made the job
    accepted: int = 0
    submitted_at: float = 0.0  # epoch seconds
    advanced_at: float = 0.0  # when it was last seen to go on
    look_at: float = 0.0

    def submitted(self, job_id: str, now: float, expected: float | None = None) -> None:
        """Orthanc has the job, which may take `expected` seconds."""
        self.job_id = job_id
        self.submitted_at = self.advanced_at = now
        first = FIRST_LOOK if expected is None else max(SHORTEST_LOOK, LOOK_BEFORE * expected)
        self.look_at = now + min(LONGEST_LOOK, first)

    def looked(self, accepted: int, now: float) -> None:
        """The job is under way: look again shortly before its end, as it goes now; ever later while it does not go on.

        Orthanc tells the end of a job up to 0.1 s late, and the next chunk waits for that.
        """
        if accepted > self.accepted:
            self.accepted, self.advanced_at = accepted, now
        age, left = now - self.submitted_at, len(self.instances) - self.accepted
        remaining = age * left / self.accepted if self.accepted else age
        pause = max(LOOK_BEFORE * remaining, now - self.advanced_at)
        self.look_at = now + min(LONGEST_LOOK, max(SHORTEST_LOOK, pause))


@dataclass
class Sending:
    """A claimed delivery while its attempt lasts."""

    delivery: Delivery
    destination: Destination
    pending: deque[Instance] = field(default_factory=deque)
    prepared: bool = False
    chunks: list[Chunk] = field(default_factory=list)
    chunk_size: int = 0  # once the first is taken
    set_aside: list[tuple[Instance, SendError]] = field(default_factory=list)
    sent: int = 0
    refused: int = 0
    second_round: bool = False
    strikes: int = 0
    verifying: bool = False
    verified: bool = False  # the destination was asked and has all, or its Verify level asks for nothing
    sent_again: bool = False  # what the destination did not keep has been sent once more
    error: SendError | None = None  # the last thing that went wrong
    ending: SendError | Reason | None = None  # the attempt starts nothing more
    planned: float | None = None  # when to go on, where `ending` is a Reason that knows
    cut_off: bool = False  # its jobs were told to end
    began: float = 0.0  # epoch seconds
    arrived: int = 0  # instances that were accepted in this attempt
    arrived_bytes: int = 0

    @property
    def has_work(self) -> bool:
        """There is something to hand out now."""
        return self.prepared and self.ending is None and bool(self.pending)

    @property
    def has_room(self) -> bool:
        """There is, and it may be sent over one association more."""
        return self.has_work and len(self.chunks) < self.destination.associations

    @property
    def over(self) -> bool:
        """Nothing is on its way and nothing more will be handed out."""
        busy = self.chunks or self.verifying or not self.prepared
        return not busy and (self.ending is not None or not self.pending)

    @property
    def lanes(self) -> int:
        """How many lanes it takes: one for each job, and one while its instances are being listed."""
        return sum(1 for chunk in self.chunks if chunk.in_lane) + (not self.prepared)

    @property
    def sent_now(self) -> int:
        """Instances known to be accepted, also those of chunks under way."""
        return self.sent + sum(chunk.accepted for chunk in self.chunks)

    def next_chunk(self, lanes: int) -> list[Instance]:
        """Take the next instances, in order: one of `lanes` equal shares, or all that goes whole.

        They are of one study and, unless they go whole, of one context (`Instance.context`).
        """
        if not self.chunk_size:
            share = max(SMALLEST_CHUNK, _divided(len(self.pending), lanes))
            # In as many equal chunks as needed, rather than in some of the largest and a small rest.
            self.chunk_size = _divided(share, _divided(share, LARGEST_CHUNK))
        size = len(self.pending) if self.destination.whole else self.chunk_size
        taken = [self.pending.popleft()]
        while len(taken) < size and self.pending and self._go_together(taken[0], self.pending[0]):
            taken.append(self.pending.popleft())
        return taken

    def _go_together(self, first: Instance, other: Instance) -> bool:
        return first.study_id == other.study_id and (self.destination.whole or first.context == other.context)

    def take_up(self, unsent: Sequence[Instance]) -> None:
        """These are to be sent. After a failed attempt the next begins elsewhere: that one may have met bad ones."""
        failed = self.delivery.error_code not in {"", INTERRUPTED}
        elsewhere = failed and not self.destination.whole
        begin = STRIKES * (self.delivery.attempts - 1) % max(1, len(unsent)) if elsewhere else 0
        by_context = sorted(unsent, key=lambda instance: instance.context)  # else many chunks would be small
        self.pending.extend([*by_context[begin:], *by_context[:begin]])
        self.prepared = True

    def wait(self, reason: Reason, until: float | None) -> None:
        """The attempt starts nothing more, and is given back once what is on its way has ended."""
        self.ending = reason
        self.planned = until

    def give_back(self, instances: Iterable[Instance]) -> None:
        """These were not sent; they are next."""
        self.pending.extendleft(reversed(list(instances)))

    def chunk_succeeded(self, chunk: Chunk) -> None:
        """All of the chunk was accepted."""
        self.chunks.remove(chunk)
        self._accepted(chunk.instances)
        self.strikes = 0
        self._second_round()

    def leave_under_way(self) -> None:
        """The router stops: of the chunks under way, what is known to have been accepted counts."""
        for chunk in self.chunks:
            self._accepted(chunk.instances[: chunk.accepted])
            self.give_back(chunk.instances[chunk.accepted :])
        self.chunks.clear()

    def chunk_stopped(self, chunk: Chunk, accepted: int) -> None:
        """Orthanc gave up after `accepted` instances, none of which was refused."""
        self.chunks.remove(chunk)
        self._accepted(chunk.instances[:accepted])
        self.strikes = 0
        self.give_back(chunk.instances[accepted:])
        self._second_round()

    def chunk_failed(self, chunk: Chunk, accepted: int, error: SendError) -> Instance | None:
        """The chunk stopped after `accepted` instances. Answers the instance that was refused for good, if any."""
        self.chunks.remove(chunk)
        self._accepted(chunk.instances[:accepted])
        self.error = error
        self.strikes = 1 if accepted else self.strikes + 1
        rest = chunk.instances[accepted:]
        refused = self._blame(rest, error)
        self._second_round()
        return refused

    def _accepted(self, instances: Sequence[Instance]) -> None:
        self.sent += len(instances)
        self.arrived += len(instances)
        self.arrived_bytes += sum(instance.size for instance in instances)

    def _blame(self, rest: list[Instance], error: SendError) -> Instance | None:
        if not rest:
            return None
        if error.scope is Scope.DESTINATION or self.destination.whole:
            self.give_back(rest)
            self.ending = self.ending or error
            return None
        suspect, *others = rest
        self.give_back(others)
        if error.permanent or (error.code in RETRY_ONCE and self.second_round):
            self.refused += 1
            self.strikes = 0
            return suspect
        self.set_aside.append((suspect, error))
        if error.code in RETRY_ONCE:
            self.strikes = 0  # it is refused in the second round, and must not hold back the rest
        if self.strikes >= STRIKES:
            self.ending = self.ending or error
        return None

    def _second_round(self) -> None:
        """Once everything else has gone, what was set aside gets its second chance in this attempt."""
        if self.pending or self.chunks or self.second_round or not self.set_aside or self.ending is not None:
            return
        self.second_round = True
        self.pending.extend(instance for instance, _ in self.set_aside)
        self.set_aside.clear()

    def result(self) -> SendError | Reason | None:
        """How the attempt ended: None when all has been accepted or refused for good."""
        if self.ending is not None:
            return self.ending
        if self.set_aside:
            return self.set_aside[-1][1]
        return Reason.QUEUED if self.pending else None

    def missing(self, instances: Sequence[Instance]) -> bool:
        """The destination does not have these. True when they are sent once more, False when that was done already."""
        self.sent -= len(instances)
        if self.sent_again:
            self.refused += len(instances)
            self.verified = True
            return False
        self.sent_again = True
        self.pending.extend(instances)
        return True

    def lost(self, what: str) -> SendError:
        """The error for a chunk whose end nobody saw."""
        text = f"Orthanc no longer knows the job that sent {what}."
        return SendError.passing("JobGone", text)


def _divided(count: int, parts: int) -> int:
    """The largest of `parts` equal shares."""
    return -(-count // parts)
