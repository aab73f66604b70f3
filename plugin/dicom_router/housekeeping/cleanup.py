# SPDX-License-Identifier: AGPL-3.0-or-later
"""`DeleteAfterSend`: deleting from Orthanc what every destination has, and nothing else.

A study is not deleted as such: the instances that were just compared with the ledger are, one by one. An instance that
arrives meanwhile is not among them and stays.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from dicom_router.bell import BellThread
from dicom_router.deliveries.delivery import Status
from dicom_router.deliveries.instance import Instance
from dicom_router.destination import Destination
from dicom_router.intake.settling import STUDY
from dicom_router.orthanc_rest import OrthancError, OrthancRest, OrthancUnreachableError
from dicom_router.store.cleanups import WantedCleanup
from dicom_router.store.database import LOST, session
from dicom_router.store.store import Store
from dicom_router.studies.instances import list_instances
from dicom_router.studies.study import exists
from dicom_router.unexpected import kind_and_place

LOOK_AGAIN_SECONDS = 20.0
AT_ONCE = 100  # instances, so that a stop is quick


class Cleanup:
    """Deletes when it is safe, and where several Orthancs could, while `ours` says that it is this one's task.

    `triggers` tells which triggers the rules of now have.
    """

    def __init__(
        self,
        store: Store,
        rest: OrthancRest,
        destinations: Mapping[str, Destination],
        clock: Callable[[], float],
        log: Callable[[str], None],
        ours: Callable[[], bool] = lambda: True,
        triggers: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._ours = ours
        self._triggers = triggers
        self._ending = False
        self._failed: set[str] = set()  # what could not be deleted the last time
        self._ends: dict[str, tuple[str, int]] = {}  # study -> its last change, and the end of the change log after it
        self._store = store
        self._rest = rest
        self._destinations = destinations
        self._clock = clock
        self._log = log

    def look(self) -> bool:
        """Delete what may be deleted now; True when there is more. What raises an error is looked at again later.

        Raises OrthancUnreachableError and the errors of LOST; the next round begins with what has not failed.
        """
        if not self._ours():
            return False
        work: dict[str, Callable[[], bool | None]] = {}
        for run, results in self._store.runs.used_up():
            work[f"results of the process {run}"] = partial(self._delete_results, run, results)
        for wanted in self._store.cleanups.wanted():
            work[f"study {wanted.study_id}"] = partial(self._clean, wanted)
        self._failed &= work.keys()
        more = False
        for name in sorted(work, key=self._failed.__contains__):
            if self._ending:
                return False
            more |= self._by_itself(name, work[name])
        return more

    def end(self) -> None:
        """Begin nothing new; what is left is deleted after the next start."""
        self._ending = True

    def _by_itself(self, name: str, work: Callable[[], bool | None]) -> bool:
        """One that cannot be deleted keeps no other one, and is told once."""
        try:
            more = bool(work())
        except LOST:
            raise
        except OrthancUnreachableError:  # perhaps because of this one
            self._failed.add(name)
            raise
        except Exception as problem:  # noqa: BLE001 - deleting later is safe
            if name not in self._failed:
                self._log(f"{name} could not be deleted after sending and will be later: {kind_and_place(problem)}")
            self._failed.add(name)
            return False
        self._failed.discard(name)
        return more

    def _delete_results(self, run: int, results: Collection[str]) -> bool:
        """What came out of a process and has been sent wherever it will be; True when there is more of it."""
        some = sorted(results)[:AT_ONCE]
        if some:  # those that are gone do not matter (orthanc: OrthancRestResources.cpp, BulkDelete)
            self._rest.post("/tools/bulk-delete", {"Resources": some}, timeout=600.0)
        if len(some) < len(results):
            self._store.runs.forget(run, some)
            return True
        self._store.runs.forget_all(run)
        return False

    def _clean(self, wanted: WantedCleanup) -> None:
        if not self._store.cleanups.nothing_open(wanted.study_id):
            return
        if not exists(self._rest, "Study", wanted.study_id):
            self._done(wanted.study_id)
            return
        study = self._rest.get(f"/studies/{wanted.study_id}")
        if not study["IsStable"] or not self._all_looked_at(wanted.study_id, str(study.get("LastUpdate", ""))):
            return  # more is coming, or more deliveries of it
        owners = (wanted.study_id, str(study["ParentPatient"]))
        if not self._store.cleanups.nothing_open(*owners):
            return
        instances = list_instances(self._rest, "Study", wanted.study_id)
        last = self._store.cleanups.last_deliveries(*owners)
        newest = {ended.destination: ended for ended in last}
        completed = {name: ended.id for name, ended in newest.items() if ended.status is Status.COMPLETED}
        if not _all_arrived(set(newest), set(completed), wanted.groups):
            return
        has = {name: self._store.ledger.accepted(wanted.study_id, name) for name in completed}
        for name in {ended.destination for ended in last if ended.status is not Status.COMPLETED} & completed.keys():
            if not all(self._arrived(each, name, has[name]) for each in instances):
                return  # another delivery to it failed, of a series perhaps, and nothing has brought that since
        safe = [each for each in instances if self._everywhere(each, wanted.groups, has)]
        if safe:
            self._delete(wanted.study_id, safe, sorted(completed.values()))
        if not exists(self._rest, "Study", wanted.study_id):
            self._done(wanted.study_id)

    def _done(self, study_id: str) -> None:
        self._store.cleanups.done(study_id)
        self._ends.pop(study_id, None)

    def _all_looked_at(self, study_id: str, last_update: str) -> bool:
        """The rules with other triggers have had their look, too: that at its patient may come after that at a study.

        Everything of the study stands in the change log before the end that the log had after the study's last change.
        """
        if set(self._triggers()) <= {STUDY.trigger}:
            return True
        end = int(self._rest.get("/changes?last")["Last"])
        known, before = self._ends.get(study_id, ("", end))
        end = min(end, before) if known == last_update else end  # the last rows go with the resources that are deleted
        self._ends[study_id] = (last_update, end)
        position = self._store.journal.position()
        return position is not None and position.settled_seq >= end

    def _everywhere(self, instance: Instance, groups: Sequence[Sequence[str]], has: Mapping[str, set[bytes]]) -> bool:
        return all(any(self._arrived(instance, name, has.get(name, set())) for name in group) for group in groups)

    def _arrived(self, instance: Instance, name: str, accepted: set[bytes]) -> bool:
        destination = self._destinations.get(name)
        came_from_there = destination is not None and destination.aet and instance.remote_aet == destination.aet
        return bool(came_from_there) or instance.digest in accepted

    def _delete(self, study_id: str, instances: Sequence[Instance], deliveries: Sequence[int]) -> None:
        deleted = 0
        try:
            for begin in range(0, len(instances), AT_ONCE):
                if self._ending:
                    return
                part = instances[begin : begin + AT_ONCE]
                if begin:  # the parts before took a while: what was overwritten meanwhile has been sent nowhere
                    there = {instance.digest for instance in list_instances(self._rest, "Study", study_id)}
                    part = [instance for instance in part if instance.digest in there]
                if part:
                    self._rest.post("/tools/bulk-delete", {"Resources": [each.id for each in part]}, timeout=600.0)
                deleted += len(part)
        finally:
            if deleted:
                self._tell(study_id, deleted, deliveries)

    def _tell(self, study_id: str, deleted: int, deliveries: Sequence[int]) -> None:
        text = f"{deleted} instances were deleted from Orthanc, as the rule asks"
        self._log(f"study {study_id}: {text}")
        for delivery_id in deliveries:
            self._store.queue.remark(delivery_id, self._clock(), text)


def _all_arrived(tried: set[str], completed: set[str], groups: Sequence[Sequence[str]]) -> bool:
    """Every delivery of the study, whatever rule made it, reached its destination or another one of its FirstOf."""
    stood_in = {name for group in groups if completed.intersection(group) for name in group}
    return tried <= completed | stood_in


class CleanupThread(BellThread):
    """Looks when a delivery has ended, and now and then."""

    def __init__(self, cleanup: Cleanup, store: Store, log: Callable[[str], None]) -> None:
        super().__init__("router-cleanup")
        self._cleanup = cleanup
        self._store = store
        self._log = log

    def stop(self) -> None:
        """End after the part that is being deleted."""
        self._cleanup.end()
        super().stop()

    def _round(self) -> float:
        try:
            with session(self._store.database):
                if self._cleanup.look():
                    return 0.0
        except OrthancError as problem:
            self._log(f"studies could not be deleted after sending and will be later: {problem}")
        except Exception as problem:  # noqa: BLE001 - deleting later is safe, not looking again is not
            self._log(f"deleting after sending met an unexpected error and goes on: {kind_and_place(problem)}")
        return LOOK_AGAIN_SECONDS
