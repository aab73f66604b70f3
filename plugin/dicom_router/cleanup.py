# SPDX-License-Identifier: AGPL-3.0-or-later
"""`DeleteAfterSend`: deleting from Orthanc what every destination has, and nothing else.

A study is not deleted as such: the instances that were just compared with the ledger are, one by one. An instance that
arrives meanwhile is not among them and stays.
"""

from collections.abc import Callable, Mapping, Sequence

from dicom_router.bell import BellThread
from dicom_router.deliveries.delivery import Status
from dicom_router.deliveries.instance import Instance
from dicom_router.destination import Destination
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.store.cleanups import WantedCleanup
from dicom_router.store.database import session
from dicom_router.store.store import Store
from dicom_router.study import exists, list_instances

LOOK_AGAIN_SECONDS = 20.0
RESULTS_A_ROUND = 100


class Cleanup:
    """Deletes when it is safe, and where several Orthancs could, while `ours` says that it is this one's task."""

    def __init__(
        self,
        store: Store,
        rest: OrthancRest,
        destinations: Mapping[str, Destination],
        clock: Callable[[], float],
        log: Callable[[str], None],
        ours: Callable[[], bool] = lambda: True,
    ) -> None:
        self._ours = ours
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
            self._store.cleanups.done(wanted.study_id)
            return
        if not self._rest.get(f"/studies/{wanted.study_id}")["IsStable"]:
            return  # more is coming
        instances = list_instances(self._rest, "Study", wanted.study_id)
        last = self._store.cleanups.last_deliveries(wanted.study_id)
        completed = {name: ended[0] for name, ended in last.items() if ended[1] is Status.COMPLETED}
        if not _all_arrived(set(last), set(completed), wanted.groups):
            return
        has = {name: self._store.ledger.accepted(wanted.study_id, name) for name in completed}
        safe = [each for each in instances if self._everywhere(each, wanted.groups, has)]
        if safe:
            self._delete(wanted.study_id, safe, sorted(completed.values()))
        if not exists(self._rest, "Study", wanted.study_id):
            self._store.cleanups.done(wanted.study_id)

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
