# SPDX-License-Identifier: AGPL-3.0-or-later
"""From Orthanc's change log to studies that are complete enough to be looked at.

The change log is the truth, Orthanc's change callback only a doorbell. Orthanc says StableStudy when a study has been
quiet for `StableAge`, but forgets to when it is restarted before (orthanc: ServerIndex.cpp keeps that in memory). So
every NewInstance row stays unsettled here until its study has been looked at later than it; what stays unsettled for
too long gets the router's own quiet timer. `Position.settled_seq` makes that survive a crash.

Where several Orthancs share an index, one of them reads for all (`Tenure`).
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Protocol

from dicom_router.bell import BellThread
from dicom_router.intake.gaps import Gaps
from dicom_router.intake.settling import KINDS, PAGE, RETRY_SECONDS, STUDY, Settling
from dicom_router.orthanc_rest import OrthancRest
from dicom_router.store.database import LOST
from dicom_router.store.journal import Position
from dicom_router.store.roles import NotOursError
from dicom_router.unexpected import kind_and_place

SAFETY_POLL_SECONDS = 5.0
SEVERAL_POLL_SECONDS = 1.0  # the doorbell of another Orthanc is not heard here
DATABASE_RETRY_SECONDS = 1.0
KEEP_SECONDS = 5.0
LONGEST_LOOK_SECONDS = 3600.0  # beyond any single question to Orthanc: else two would interrupt each other for ever


class Positions(Protocol):
    """Where the reading of the change log is kept."""

    def position(self) -> Position | None:
        """Where reading goes on, or None on the very first start."""

    def move(self, position: Position) -> None:
        """All up to here has been acted upon."""


class IndexMark(Protocol):
    """The router's mark in Orthanc's own index: missing in an index that was made anew."""

    def is_ours(self) -> bool:
        """This index has been read before."""

    def write(self) -> None:
        """From now on it has."""


class Role(Protocol):
    """A task that one Orthanc has at a time. Times in the database's epoch seconds."""

    def hold(self, now: float) -> int | None:
        """Take or keep it; None when another Orthanc has it. The number stays the same while nobody else had it."""

    def renew(self, now: float) -> None:
        """Keep it if it is ours."""

    def leave(self) -> None:
        """Somebody else may have it."""


class EndedError(NotOursError):
    """The router stops: in the middle of a backlog, too."""


class Tenure:
    """Whether this Orthanc is the one that reads. Without a role it always is.

    One thread reads; another one calls `renew`, since a look may last longer than the role's lease.
    """

    def __init__(self, role: Role | None, clock: Callable[[], float]) -> None:
        self.ours = role is None
        self._role = role
        self._clock = clock
        self._term: int | None = 0
        self._kept_at = 0.0
        self._in_round = False

    def begin(self) -> int | None:
        """At the begin of a round. The number of the term, None when another one reads."""
        if self._role is not None:
            self._kept_at = self._clock()
            self._term = self._role.hold(self._kept_at)
            self.ours = self._in_round = self._term is not None
        return self._term

    def end(self) -> None:
        """At the end of a round."""
        self._in_round = False

    def renew(self) -> None:
        """Often, from another thread: keep the role while a look lasts, but not for one that never ends."""
        now = self._clock()
        if self._role is not None and self._in_round and now < self._kept_at + LONGEST_LOOK_SECONDS:
            self._role.renew(now)

    def keep(self) -> None:
        """In a long round, now and then. Raises NotOursError."""
        if self._role is not None and self._clock() > self._kept_at + KEEP_SECONDS:
            before = self._term
            if self.begin() != before:
                raise NotOursError("Another Orthanc read the change log meanwhile.")

    def leave(self) -> None:
        """This Orthanc stops."""
        if self._role is not None and self.ours:
            self.ours = False
            self._role.leave()


# Look at a resource and write what follows together with the position. Answers the IDs of the instances seen, which are
# settled by that. Raises OrthancError when Orthanc could not be asked; one that is gone is no error.
LookAt = Callable[[str, str, Position], set[str]]


class Intake:
    """Reads the change log. Not thread-safe: one thread calls `poll`.

    `triggers` tells which triggers the rules of now have; studies are always looked at, so that each has its decision.
    """

    def __init__(
        self,
        rest: OrthancRest,
        positions: Positions,
        mark: IndexMark,
        look_at: LookAt,
        stable_age: float,
        log: Callable[[str], None],
        triggers: Callable[[], Collection[str]] = frozenset,
        tenure: Tenure | None = None,
    ) -> None:
        self._tenure = tenure or Tenure(None, float)
        self._several = tenure is not None
        self._gaps = Gaps()
        self._rest = rest
        self._positions = positions
        self._mark = mark
        self._look_at = look_at
        self._stable_age = stable_age
        self._log = log
        self._triggers = triggers
        self._seq = 0
        self._date = ""
        self._skip_until_date = ""
        self._settlings: dict[str, Settling] = {}  # by the trigger that each of them waits for
        self._written: Position | None = None
        self._ended = False

    def begin(self, now: float) -> None:
        """Find the place to go on from; what was read before is forgotten. Raises OrthancError."""
        self._settlings.clear()
        self._gaps = Gaps()
        self._skip_until_date = ""
        self._follow_rules()
        position = self._place(self._positions.position(), self._rest.get("/changes?last"))
        self._positions.move(position)
        self._mark.write()
        if position.seq == 0:
            self._skip_until_date = position.date
        self._seq, self._date, self._written = position.seq, position.date, position
        self._read_unsettled(position, now)

    def _place(self, kept: Position | None, end: dict[str, Any]) -> Position:
        """Where to go on, given the last place and the answer of `/changes?last`."""
        last = int(end["Last"])
        if kept is None:  # the first start: what Orthanc already holds is not routed, backfill is for that
            date = end["Changes"][-1]["Date"] if end["Changes"] else ""
            return Position(last, last, date)
        if not self._mark.is_ours():
            self._log("the index of Orthanc was made anew; its change log is read from the start, by date")
            return Position(0, 0, kept.date)
        if last < kept.seq:
            # The rows behind went with their resources; or an older index was restored, whose new rows take their
            # numbers again. Either way nothing that exists lies behind `last`.
            return Position(last, min(kept.settled_seq, last), kept.date)
        return kept

    def _read_unsettled(self, position: Position, now: float) -> None:
        """Read again the rows that were acted upon, for instances whose study has not been looked at since."""
        since = position.settled_seq
        while since < position.seq:
            page = self._page(since)
            rows = [row for row in page["Changes"] if row["Seq"] <= position.seq]
            for row in rows:
                if row["ChangeType"] in self._settlings:
                    self._settlings[row["ChangeType"]].was_stable(row["ID"], row["Seq"])
                if row["ChangeType"] == "NewInstance":
                    self._arrived(row, now)
            if page["Done"] or not rows:
                return
            since = rows[-1]["Seq"]

    def poll(self, now: float) -> float:
        """Read what is new and act upon it; `now` in seconds of any steady clock.

        Answers when to poll again at the latest. Raises OrthancError; what was not acted upon is read again.
        """
        self._follow_rules()
        done = False
        while not done:
            page = self._page(self._seq)
            for row in page["Changes"]:
                self._row(row, now)
            done = page["Done"] or not page["Changes"]
        if self._several:
            self._read_gaps(now)
        for settling in self._settlings.values():
            settling.catch_up(self._seq, now)
        self._write_position()
        looks = [at for settling in self._settlings.values() if (at := settling.next_look()) is not None]
        return min([now + (SEVERAL_POLL_SECONDS if self._several else SAFETY_POLL_SECONDS), *looks])

    def position(self) -> Position:
        """What has been acted upon so far."""
        settlings = self._settlings.values()
        failed = [place for each in settlings for place in each.failed_places()]
        seq, date = min([(self._seq, self._date), *failed, *self._gaps.places()])
        return Position(seq, min([seq, *(first - 1 for each in settlings for first in each.unsettled_seqs())]), date)

    def _follow_rules(self) -> None:
        wanted = {STUDY.trigger, *self._triggers()}
        for kind in KINDS:
            if kind.trigger not in wanted:
                self._settlings.pop(kind.trigger, None)
            elif kind.trigger not in self._settlings:
                self._settlings[kind.trigger] = Settling(
                    kind, self._rest, self._look, self._stable_age, self._log, several=self._several
                )

    def end(self) -> None:
        """Orthanc stops: look at nothing more. What was not looked at is after the next start."""
        self._ended = True

    def _go_on(self) -> None:
        if self._ended:
            raise EndedError("The router stops.")
        self._tenure.keep()

    def _look(self, resource_id: str, trigger: str) -> set[str]:
        self._go_on()
        return self._look_at(resource_id, trigger, self.position())

    def _page(self, since: int) -> dict[str, Any]:
        self._go_on()
        page: dict[str, Any] = self._rest.get(f"/changes?since={since}&limit={PAGE}")
        return page

    def _row(self, row: dict[str, Any], now: float) -> None:
        before = self._seq, self._date
        if self._several:
            self._gaps.passed_over(before, row["Seq"], now)
        if row["Date"] >= self._skip_until_date:
            if row["ChangeType"] == "NewInstance":
                self._arrived(row, now)
            settling = self._settlings.get(row["ChangeType"])
            if settling is not None:
                self._seq, self._date = row["Seq"], row["Date"]
                settling.triggered(row["ID"], row["Seq"], before, now)
        self._seq, self._date = row["Seq"], row["Date"]

    def _read_gaps(self, now: float) -> None:
        """Act upon rows that have appeared among those read before."""
        self._gaps.give_up(self._seq, now)
        span = self._gaps.span()
        since, last = (span[0] - 1, span[1]) if span else (0, 0)
        while since < last:
            rows = [row for row in self._page(since)["Changes"] if row["Seq"] <= last]
            for row in rows:
                self._late_row(row, now)
            since = rows[-1]["Seq"] if rows else last

    def _late_row(self, row: dict[str, Any], now: float) -> None:
        gap = self._gaps.holds(row["Seq"])
        if gap is None:
            return
        if row["ChangeType"] == "NewInstance":
            self._arrived(row, now)
        settling = self._settlings.get(row["ChangeType"])
        if settling is not None:
            settling.triggered(row["ID"], row["Seq"], gap.before, now)
        self._gaps.appeared(gap, row["Seq"])

    def _arrived(self, row: dict[str, Any], now: float) -> None:
        for settling in self._settlings.values():
            settling.arrived(row["ID"], row["Seq"], now)

    def _write_position(self) -> None:
        position = self.position()
        if position != self._written:
            self._positions.move(position)
            self._written = position
        for settling in self._settlings.values():
            settling.forget_before(position.settled_seq)


class IntakeThread(BellThread):
    """Polls at the doorbell, and now and then without it; where several Orthancs could, only while it is our task."""

    def __init__(
        self,
        intake: Intake,
        clock: Callable[[], float],
        log: Callable[[str], None],
        tenure: Tenure | None = None,
    ) -> None:
        super().__init__("router-intake")
        self._intake = intake
        self._clock = clock
        self._log = log
        self._tenure = tenure or Tenure(None, clock)
        self._term: int | None = None  # in which reading has begun
        self._database_lost = False

    def stop(self) -> None:
        """End after the look under way, and let another Orthanc read."""
        self._intake.end()
        super().stop()
        with suppress(*LOST):
            self._tenure.leave()

    def _round(self) -> float:
        try:
            pause = self._read()
        except NotOursError:
            self._term = None
            return SEVERAL_POLL_SECONDS
        except LOST as problem:
            self._term = None
            if not self._database_lost:
                self._log(f"the change log is not read while the router's database does not answer: {problem}")
            self._database_lost = True
            return DATABASE_RETRY_SECONDS
        except Exception as problem:  # noqa: BLE001 - the position was not moved; the next round reads again
            self._log(f"the change log could not be read and will be again: {kind_and_place(problem)}")
            return RETRY_SECONDS
        finally:
            self._tenure.end()
        self._database_lost = False
        return pause

    def _read(self) -> float:
        term = self._tenure.begin()
        if term is None:
            self._term = None
            return SEVERAL_POLL_SECONDS
        now = self._clock()
        if term != self._term:
            self._intake.begin(now)
            self._term = term
        return self._intake.poll(now) - self._clock()
