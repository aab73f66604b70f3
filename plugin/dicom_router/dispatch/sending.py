# SPDX-License-Identifier: AGPL-3.0-or-later
"""One attempt of one delivery: what is still to be sent, what is on its way, and what came of it. Pure."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from dicom_router.deliveries.delivery import Delivery, Reason
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import INTERRUPTED, RETRY_ONCE, Scope, SendError
from dicom_router.destination import Destination, Kind
from dicom_router.dispatch.job import Job, Share

LARGEST_CHUNK = 100  # beyond, a failed job's progress no longer tells where it stopped
SMALLEST_CHUNK = 5  # below, setting up an association costs more than it brings
MOST_SHARED = 10  # instances in a job of several deliveries: beyond, setting up an association costs little of it
STRIKES = 3  # failures in a row without one instance accepted between them, then the attempt ends


@dataclass
class Chunk:
    """Instances of one delivery within a job, after `before` others."""

    ledger_id: int
    instances: list[Instance]
    job: Job
    before: int = 0
    accepted: int = 0

    @property
    def share(self) -> Share:
        """Its place in the job."""
        return Share(self.before, len(self.instances), self.job.count)


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
    in_trouble: dict[str, tuple[Instance, SendError]] = field(default_factory=dict)  # by ID; not refused for good
    sent: int = 0
    refused: int = 0
    unnamed: list[tuple[Instance, SendError]] = field(
        default_factory=list
    )  # refused for good, and not written down yet
    second_round: bool = False
    strikes: int = 0
    verifying: bool = False
    verified: bool = False  # the destination was asked and has all, or its Verify level asks for nothing
    unasked: bool = False  # what was accepted left Orthanc before the destination was asked for it
    sent_again: bool = False  # what the destination did not keep has been sent once more
    error: SendError | None = None  # the last thing that went wrong
    ending: SendError | Reason | None = None  # the attempt starts nothing more
    planned: float | None = None  # when to go on, where `ending` is a Reason that knows
    cut_off: bool = False  # its jobs were told to end
    alone: bool = False  # a job that it shared with others went wrong
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
    def left(self) -> list[Instance]:
        """What has neither been accepted nor refused, once nothing is on its way."""
        return [*self.pending, *(instance for instance, _ in self.set_aside)]

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

    def may_share(self) -> bool:
        """All that is left may go by one job with other small deliveries: C-STOREs over the same association."""
        plain = self.destination.kind is Kind.MODALITY and self.destination.alteration is None
        return plain and not self.alone and 0 < len(self.pending) <= MOST_SHARED

    def shares_with(self, other: "Sending") -> bool:
        """Both may go by one job."""
        same = _plain(self.destination) == _plain(other.destination)
        contexts = {instance.context for each in (self, other) for instance in each.pending}
        return same and self.may_share() and other.may_share() and len(contexts) == 1

    def take_all(self) -> list[Instance]:
        """All that is left."""
        taken = list(self.pending)
        self.pending.clear()
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
        """The attempt starts nothing more, and is given back once what is on its way has ended.

        Where its own last failure is why the destination is held, the attempt has failed: else it would never be
        given up.
        """
        error = self.error if reason is Reason.HELD and self.strikes else None
        self.ending = reason if error is None or error.scope is Scope.INSTANCE else error
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

    def chunk_cut_short(self, chunk: Chunk, accepted: int) -> None:
        """The job ended at somebody else's instance: the rest goes again, alone."""
        self.chunks.remove(chunk)
        self._accepted(chunk.instances[:accepted])
        self.give_back(chunk.instances[accepted:])
        self.alone = True
        self._second_round()

    def chunk_failed(self, chunk: Chunk, accepted: int, error: SendError) -> Instance | None:
        """The chunk stopped after `accepted` instances. Answers the instance that was refused for good, if any."""
        self.chunks.remove(chunk)
        self._accepted(chunk.instances[:accepted])
        self.error = error
        self.alone = self.alone or not chunk.share.is_all
        self.strikes = 1 if accepted else self.strikes + 1
        rest = chunk.instances[accepted:]
        refused = self._blame(rest, error)
        self._second_round()
        return refused

    def _accepted(self, instances: Sequence[Instance]) -> None:
        self.sent += len(instances)
        self.arrived += len(instances)
        self.arrived_bytes += sum(instance.size for instance in instances)
        for instance in instances:
            self.in_trouble.pop(instance.id, None)

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
            self.unnamed.append((suspect, error))
            self.strikes = 0
            self.in_trouble.pop(suspect.id, None)
            return suspect
        self.set_aside.append((suspect, error))
        self.in_trouble[suspect.id] = (suspect, error)
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

    def missing(self, instances: Sequence[Instance], error: SendError) -> bool:
        """The destination does not have these. True when they are sent once more, False when that was done already."""
        self.sent -= len(instances)
        if self.sent_again:
            self.refused += len(instances)
            self.unnamed += [(instance, error) for instance in instances]
            self.verified = True
            return False
        self.sent_again = True
        self.pending.extend(instances)
        return True

    def lost(self, what: str) -> SendError:
        """The error for a chunk whose end nobody saw."""
        text = f"Orthanc no longer knows the job that sent {what}."
        return SendError.passing("JobGone", text)


def share_a_job(ready: Sequence[Sending], fair: int) -> list[Sending]:
    """Of the sendings the first and others after it, `fair` in all, that the next job takes whole.

    One job is one association, and to set that up takes longer than to send an image.
    """
    first, *others = ready
    together = [first]
    count = len(first.pending)
    for each in others:
        if len(together) < fair and count + len(each.pending) <= MOST_SHARED and first.shares_with(each):
            together.append(each)
            count += len(each.pending)
    return together


def fair_share(deliveries: int, lanes: int) -> int:
    """How many small deliveries go by one job, so that no lane stays empty."""
    return min(MOST_SHARED, _divided(deliveries, lanes))


def _plain(destination: Destination) -> Destination:
    """Without what says which delivery it is for."""
    return replace(destination, delivery=0, unit="")


def _divided(count: int, parts: int) -> int:
    """The largest of `parts` equal shares."""
    return -(-count // parts)
