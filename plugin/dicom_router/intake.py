# SPDX-License-Identifier: AGPL-3.0-or-later
"""From Orthanc's change log to studies that are complete enough to be looked at.

The change log is the truth, Orthanc's change callback only a doorbell. Orthanc says StableStudy when a study has been
quiet for `StableAge`, but forgets to when it is restarted before (orthanc: ServerIndex.cpp keeps that in memory). So
every NewInstance row stays unsettled here until its study has been looked at later than it; what stays unsettled for
too long gets the router's own quiet timer. `Position.settled_seq` makes that survive a crash.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from dicom_router.orthanc_rest import OrthancError, OrthancRest, OrthancUnreachableError
from dicom_router.store.journal import Position

PAGE = 1000
GRACE_SECONDS = 3.0  # Orthanc looks for stable resources every half second; the rest is for a busy machine
RETRY_SECONDS = 15.0
SAFETY_POLL_SECONDS = 5.0


class Positions(Protocol):
    """Where the reading of the change log is kept."""

    def position(self) -> Position | None:
        """Where reading goes on, or None on the very first start."""

    def move(self, position: Position) -> None:
        """All up to here has been acted upon."""


# Look at a study and write what follows together with the position. Answers the IDs of the instances seen, which are
# settled by that. Raises OrthancError when Orthanc could not be asked; a study that is gone is no error.
LookAt = Callable[[str, str, Position], set[str]]


@dataclass
class Quiet:
    """A study with unsettled instances and no stable row: when to look at it, and which rows that settles."""

    look_at: float
    first_seq: int
    last_seq: int


class Intake:
    """Reads the change log. Not thread-safe: one thread calls `poll`."""

    def __init__(
        self, rest: OrthancRest, positions: Positions, look_at: LookAt, stable_age: float, log: Callable[[str], None]
    ) -> None:
        self._rest = rest
        self._positions = positions
        self._look_at = look_at
        self._stable_age = stable_age
        self._log = log
        self._seq = 0
        self._date = ""
        self._skip_until_date = ""
        self._unsettled: dict[str, tuple[int, float]] = {}  # instance -> (seq, when it was read), in order of seq
        self._stable: dict[str, int] = {}  # study -> seq of its last stable row
        self._quiet: dict[str, Quiet] = {}
        self._failed: dict[str, tuple[int, str]] = {}  # study -> the place before the stable row not acted upon
        self._written: Position | None = None

    def begin(self, now: float) -> None:
        """Find the place to go on from. Raises OrthancError."""
        last = int(self._rest.get("/changes?last")["Last"])
        position = self._positions.position()
        if position is None:  # the first start: what Orthanc already holds is not routed, backfill is for that
            position = Position(last, last)
            self._positions.move(position)
        if last < position.seq:
            self._log("the change log of Orthanc was made anew; it is read from its start, by date")
            self._skip_until_date = position.date
            position = Position(0, 0, position.date)
        self._seq, self._date, self._written = position.seq, position.date, position
        self._read_unsettled(position, now)

    def _read_unsettled(self, position: Position, now: float) -> None:
        """Read again the rows that were acted upon, for instances whose study has not been looked at since."""
        since = position.settled_seq
        while since < position.seq:
            page = self._page(since)
            rows = [row for row in page["Changes"] if row["Seq"] <= position.seq]
            for row in rows:
                if row["ChangeType"] == "StableStudy":
                    self._stable[row["ID"]] = row["Seq"]
                elif row["ChangeType"] == "NewInstance":
                    self._arrived(row, now)
            if page["Done"] or not rows:
                return
            since = rows[-1]["Seq"]

    def poll(self, now: float) -> float:
        """Read what is new and act upon it; `now` in seconds of any steady clock.

        Answers when to poll again at the latest. Raises OrthancError; what was not acted upon is read again.
        """
        done = False
        while not done:
            page = self._page(self._seq)
            for row in page["Changes"]:
                self._row(row, now)
            done = page["Done"] or not page["Changes"]
        self._map_overdue(now)
        self._look_at_quiet(now)
        self._write_position()
        return min([now + SAFETY_POLL_SECONDS, *(quiet.look_at for quiet in self._quiet.values())])

    def position(self) -> Position:
        """What has been acted upon so far."""
        # A stable row whose study could not be looked at is read again after a restart, and what followed it.
        seq, date = min([(self._seq, self._date), *self._failed.values()])
        settled = [quiet.first_seq - 1 for quiet in self._quiet.values()]
        if self._unsettled:
            settled.append(next(iter(self._unsettled.values()))[0] - 1)
        return Position(seq, min([seq, *settled]), date)

    def _page(self, since: int) -> dict[str, Any]:
        page: dict[str, Any] = self._rest.get(f"/changes?since={since}&limit={PAGE}")
        return page

    def _row(self, row: dict[str, Any], now: float) -> None:
        if row["Date"] >= self._skip_until_date:
            if row["ChangeType"] == "NewInstance":
                self._arrived(row, now)
            elif row["ChangeType"] == "StableStudy":
                before = self._seq, self._date
                self._stable[row["ID"]] = row["Seq"]
                self._seq, self._date = row["Seq"], row["Date"]
                self._look(row["ID"], "StableStudy", now, before)
        self._seq, self._date = row["Seq"], row["Date"]

    def _arrived(self, row: dict[str, Any], now: float) -> None:
        self._unsettled.pop(row["ID"], None)  # an instance that is overwritten comes again, and goes to the end
        self._unsettled[row["ID"]] = (row["Seq"], now)

    def _look(self, study_id: str, trigger: str, now: float, before: tuple[int, str] | None = None) -> None:
        """Look at a study; when that fails, keep it for later and go on with the others.

        `before` is the place before the row that asks for it, where a row does.
        """
        quiet = self._quiet.pop(study_id, None)
        before = self._failed.pop(study_id, before)
        try:
            seen = self._look_at(study_id, trigger, self.position())
        except Exception as problem:  # noqa: BLE001 - one study must not stop the others, and must not be lost
            self._log(f"study {study_id} could not be looked at and will be again: {problem!r}")
            first = quiet.first_seq if quiet else self._stable.get(study_id, self._seq)
            self._quiet[study_id] = Quiet(now + RETRY_SECONDS, first, self._seq)
            if before is not None:
                self._failed[study_id] = before
            return
        for instance_id in seen:
            self._unsettled.pop(instance_id, None)

    def _map_overdue(self, now: float) -> None:
        """Give the quiet timer to studies whose instances were read long ago and have not been looked at since."""
        overdue_before = now - self._stable_age - GRACE_SECONDS
        overdue = [instance for instance, (_, read_at) in self._unsettled.items() if read_at <= overdue_before]
        for start in range(0, len(overdue), PAGE):
            self._map(overdue[start : start + PAGE], now)

    def _map(self, instances: list[str], now: float) -> None:
        rows = self._rest.post("/tools/bulk-content", {"Resources": instances, "Level": "Instance", "Short": True})
        series = sorted({row["ParentSeries"] for row in rows})
        parents = self._rest.post("/tools/bulk-content", {"Resources": series, "Level": "Series", "Short": True})
        study_of = {row["ID"]: row["ParentStudy"] for row in parents}
        found = {row["ID"]: study_of.get(row["ParentSeries"]) for row in rows}
        for instance in instances:
            seq, _ = self._unsettled.pop(instance)
            study_id = found.get(instance)  # None: deleted meanwhile
            if study_id is not None and self._stable.get(study_id, -1) < seq:
                self._wait_quiet(study_id, seq, now)

    def _wait_quiet(self, study_id: str, seq: int, now: float) -> None:
        known = self._quiet.get(study_id)
        first = min(seq, known.first_seq) if known else seq
        last = max(seq, known.last_seq) if known else seq
        self._quiet[study_id] = Quiet(now, first, last)

    def _look_at_quiet(self, now: float) -> None:
        for study_id, quiet in list(self._quiet.items()):
            if quiet.look_at > now:
                continue
            try:
                receiving = self._still_receiving(study_id)
            except OrthancUnreachableError:
                raise
            except OrthancError as problem:  # one study must not stop the others
                self._log(f"study {study_id} could not be asked for and will be again: {problem}")
                quiet.look_at = now + RETRY_SECONDS
                continue
            if receiving:  # then Orthanc's own stable row will come
                quiet.look_at = now + self._stable_age
            else:
                self._look(study_id, "Quiet", now)

    def _still_receiving(self, study_id: str) -> bool:
        try:
            return not self._rest.get(f"/studies/{study_id}")["IsStable"]
        except OrthancError as problem:
            if problem.not_found:
                return False
            raise

    def _write_position(self) -> None:
        position = self.position()
        if position != self._written:
            self._positions.move(position)
            self._written = position
        oldest = position.settled_seq
        self._stable = {study: seq for study, seq in self._stable.items() if seq > oldest}


class IntakeThread:
    """Polls at the doorbell, and now and then without it."""

    def __init__(self, intake: Intake, clock: Callable[[], float], log: Callable[[str], None]) -> None:
        self._intake = intake
        self._clock = clock
        self._log = log
        self._bell = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="router-intake")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ring(self) -> None:
        """Something is new in the change log."""
        self._bell.set()

    def stop(self) -> None:
        """End after the study that is being looked at."""
        self._stopping = True
        self._bell.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        begun = False
        while not self._stopping:
            self._bell.clear()
            pause = RETRY_SECONDS
            try:
                now = self._clock()
                if not begun:
                    self._intake.begin(now)
                    begun = True
                pause = self._intake.poll(now) - self._clock()
            except Exception as problem:  # noqa: BLE001 - the position was not moved; the next round reads again
                self._log(f"the change log could not be read and will be again: {problem!r}")
            self._bell.wait(max(pause, 0.05))
