# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which instances of the change log belong to a resource that has been looked at since they arrived, at one level."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dicom_router.orthanc_rest import OrthancError, OrthancRest, OrthancUnreachableError
from dicom_router.store.database import LOST
from dicom_router.store.roles import NotOursError
from dicom_router.studies.study import ROUTES
from dicom_router.unexpected import kind_and_place

PAGE = 1000
GRACE_SECONDS = 3.0  # Orthanc looks for stable resources every half second; the rest is for a busy machine
RETRY_SECONDS = 15.0

Place = tuple[int, str]  # in the change log: seq and date
# Looks at a resource because of a trigger; answers the IDs of the instances seen. Raises when it could not.
Look = Callable[[str, str], set[str]]


@dataclass
class Quiet:
    """A resource with unsettled instances and no stable row: when to look at it, and which rows that settles."""

    look_at: float
    first_seq: int
    last_seq: int
    last_update: str = ""  # Orthanc's own mark of the last instance


@dataclass(frozen=True)
class Kind:
    """Resources of one level, and what is said when they are looked at."""

    level: str
    trigger: str  # the row of the change log that asks for it
    quiet_trigger: str  # our own timer does


INSTANCE = Kind("Instance", "NewInstance", "NewInstance")
SERIES = Kind("Series", "StableSeries", "QuietSeries")
STUDY = Kind("Study", "StableStudy", "Quiet")
PATIENT = Kind("Patient", "StablePatient", "QuietPatient")
KINDS = (INSTANCE, SERIES, STUDY, PATIENT)


class Settling:
    """The unsettled instances of one level. An instance that is a trigger itself is settled by its own row.

    `several`: other Orthancs receive into the same index.
    """

    def __init__(
        self,
        kind: Kind,
        rest: OrthancRest,
        look: Look,
        stable_age: float,
        log: Callable[[str], None],
        *,
        several: bool = False,
    ) -> None:
        self._several = several
        self.kind = kind
        self._rest = rest
        self._look_at = look
        self._stable_age = stable_age
        self._log = log
        self._unsettled: dict[str, tuple[int, float]] = {}  # instance -> (seq, when it was read), in order of seq
        self._stable: dict[str, int] = {}  # resource -> seq of its last stable row
        self._quiet: dict[str, Quiet] = {}
        self._failed: dict[str, Place] = {}  # resource -> the place before the row not acted upon

    # What the change log tells

    def arrived(self, instance_id: str, seq: int, now: float) -> None:
        """A NewInstance row."""
        if self.kind is not INSTANCE:
            self._unsettled.pop(instance_id, None)  # an instance that is overwritten comes again, and goes to the end
            late = bool(self._unsettled) and next(reversed(self._unsettled.values()))[0] > seq
            self._unsettled[instance_id] = (seq, now)
            if late:
                self._unsettled = dict(sorted(self._unsettled.items(), key=lambda item: item[1][0]))

    def was_stable(self, resource_id: str, seq: int) -> None:
        """A row that asked for a look, acted upon before the restart."""
        self._stable[resource_id] = seq

    def triggered(self, resource_id: str, seq: int, before: Place, now: float) -> None:
        """A row that asks for a look; `before` is the place before it."""
        self._stable[resource_id] = max(seq, self._stable.get(resource_id, seq))
        self._look(resource_id, self.kind.trigger, now, seq, before)

    # What is still to be done

    def failed_places(self) -> list[Place]:
        """The places before the rows that could not be acted upon: they are read again after a restart."""
        return list(self._failed.values())

    def unsettled_seqs(self) -> list[int]:
        """The first rows that are not settled."""
        first = [next(iter(self._unsettled.values()))[0]] if self._unsettled else []
        return first + [quiet.first_seq for quiet in self._quiet.values()]

    def next_look(self) -> float | None:
        """When the own timer wants to look next."""
        times = [quiet.look_at for quiet in self._quiet.values()]
        if self._unsettled:
            _, read_at = next(iter(self._unsettled.values()))
            times.append(read_at + self._stable_age + GRACE_SECONDS)
        return min(times, default=None)

    def forget_before(self, seq: int) -> None:
        """Everything up to here is settled."""
        self._stable = {resource: at for resource, at in self._stable.items() if at > seq}

    # The own timer

    def catch_up(self, seq: int, now: float) -> None:
        """Look at what has been quiet for long without a stable row. Raises OrthancError."""
        overdue_before = now - self._stable_age - GRACE_SECONDS
        overdue = [instance for instance, (_, read_at) in self._unsettled.items() if read_at <= overdue_before]
        for start in range(0, len(overdue), PAGE):
            self._map(overdue[start : start + PAGE], now)
        for resource_id, quiet in list(self._quiet.items()):
            if quiet.look_at <= now:
                self._look_if_quiet(resource_id, quiet, seq, now)

    def _map(self, instances: list[str], now: float) -> None:
        """Give the timer to resources whose instances were read long ago and have not been looked at since."""
        found = self._parents(instances)
        for instance in instances:
            seq, _ = self._unsettled.pop(instance)
            resource_id = found.get(instance)  # None: deleted meanwhile
            if resource_id is not None and self._stable.get(resource_id, -1) < seq:
                known = self._quiet.get(resource_id)
                first = min(seq, known.first_seq) if known else seq
                last = max(seq, known.last_seq) if known else seq
                self._quiet[resource_id] = Quiet(now, first, last, known.last_update if known else "")

    def _parents(self, instances: list[str]) -> dict[str, str]:
        """The resource of this level that each instance belongs to."""
        found = self._parents_of(instances, "Instance", "ParentSeries")
        for kind, level, parent in ((SERIES, "Series", "ParentStudy"), (STUDY, "Study", "ParentPatient")):
            if self.kind is kind:
                return found
            above = self._parents_of(sorted(set(found.values())), level, parent)
            found = {instance: above[below] for instance, below in found.items() if below in above}
        return found

    def _parents_of(self, resources: list[str], level: str, parent: str) -> dict[str, str]:
        rows: list[dict[str, Any]] = self._rest.ask(
            "/tools/bulk-content", {"Resources": resources, "Level": level, "Short": True}
        )
        return {row["ID"]: row[parent] for row in rows}

    def _look_if_quiet(self, resource_id: str, quiet: Quiet, seq: int, now: float) -> None:
        try:
            receiving = self.kind is not INSTANCE and self._still_receiving(resource_id, quiet)
        except OrthancUnreachableError:
            raise
        except OrthancError as problem:  # one resource must not stop the others
            self._log(f"{self._name(resource_id)} could not be asked for and will be again: {problem}")
            quiet.look_at = now + RETRY_SECONDS
            return
        if receiving:  # then Orthanc's own stable row will come
            quiet.look_at = now + self._stable_age
        else:
            self._look(resource_id, self.kind.quiet_trigger, now, seq)

    def _still_receiving(self, resource_id: str, quiet: Quiet) -> bool:
        try:
            told = self._rest.get(f"{ROUTES[self.kind.level]}/{resource_id}")
        except OrthancError as problem:
            if problem.not_found:
                return False
            raise
        if not self._several or not told["IsStable"]:
            return not told["IsStable"]
        # Each Orthanc knows only of what it receives itself; what another one receives shows in the index.
        before, quiet.last_update = quiet.last_update, str(told.get("LastUpdate", ""))
        return quiet.last_update != before

    def _look(self, resource_id: str, trigger: str, now: float, seq: int, before: Place | None = None) -> None:
        """Look at a resource; when that fails, keep it for later and go on with the others."""
        quiet = self._quiet.pop(resource_id, None)
        before = self._failed.pop(resource_id, before)
        try:
            seen = self._look_at(resource_id, trigger)
        except (*LOST, NotOursError):  # reading begins anew from the place that was written last
            raise
        except Exception as problem:  # noqa: BLE001 - one resource must not stop the others, and must not be lost
            self._log(f"{self._name(resource_id)} could not be looked at and will be again: {kind_and_place(problem)}")
            first = quiet.first_seq if quiet else self._stable.get(resource_id, seq)
            self._quiet[resource_id] = Quiet(now + RETRY_SECONDS, first, seq)
            if before is not None:
                self._failed[resource_id] = before
            return
        for instance_id in seen:
            self._unsettled.pop(instance_id, None)

    def _name(self, resource_id: str) -> str:
        return f"{self.kind.level.lower()} {resource_id}"
