# SPDX-License-Identifier: AGPL-3.0-or-later
"""`DeleteAfterSend`: deleting from Orthanc what every destination has, and nothing else.

A study is not deleted as such: the instances that were just compared with the ledger are, one by one. An instance that
arrives meanwhile is not among them and stays.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from dicom_router.bell import BellThread
from dicom_router.deliveries.delivery import Status
from dicom_router.deliveries.instance import Instance
from dicom_router.destination import Destination
from dicom_router.intake.settling import STUDY
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.store.cleanups import WantedCleanup
from dicom_router.store.database import session
from dicom_router.store.store import Store
from dicom_router.studies.study import exists, list_instances

LOOK_AGAIN_SECONDS = 20.0
RESULTS_A_ROUND = 100


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
        self._ends: dict[str, tuple[str, int]] = {}  # study -> its last change, and the end of the change log after it
        self._store = store
        self._rest = rest
        self._destinations = destinations
        self._clock = clock
        self._log = log

    def look(self) -> bool:
        """Delete what may be deleted now; True when there is more. Raises OrthancError; the rest is looked at again."""
        if not self._ours():
            return False
        more = self._delete_results()
        for wanted in self._store.cleanups.wanted():
            if self._store.cleanups.nothing_open(wanted.study_id):
                self._clean(wanted)
        return more

    def _delete_results(self) -> bool:
        """What came out of processes and has been sent wherever it will be; some of it, so that a stop is quick."""
        more = False
        for run, results in self._store.runs.used_up():
            some = sorted(results)[:RESULTS_A_ROUND]
            if some:  # those that are gone do not matter (orthanc: OrthancRestResources.cpp, BulkDelete)
                self._rest.post("/tools/bulk-delete", {"Resources": some}, timeout=600.0)
            if len(some) < len(results):
                self._store.runs.forget(run, some)
                more = True
            else:
                self._store.runs.forget_all(run)
        return more

    def _clean(self, wanted: WantedCleanup) -> None:
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
        self._rest.post("/tools/bulk-delete", {"Resources": [instance.id for instance in instances]}, timeout=600.0)
        text = f"{len(instances)} instances were deleted from Orthanc, as the rule asks"
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

    def _round(self) -> float:
        try:
            with session(self._store.database):
                if self._cleanup.look():
                    return 0.0
        except OrthancError as problem:
            self._log(f"studies could not be deleted after sending and will be later: {problem}")
        except Exception as problem:  # noqa: BLE001 - deleting later is safe, not looking again is not
            self._log(f"deleting after sending met an unexpected error and goes on: {problem!r}")
        return LOOK_AGAIN_SECONDS
