# SPDX-License-Identifier: AGPL-3.0-or-later
"""Housekeeping: history after its retention, the ledger of studies that are gone, Orthanc's own recycling."""

import threading
from collections.abc import Callable

from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.problems import Problem
from dicom_router.store.database import session
from dicom_router.store.store import Store
from dicom_router.studies.study import exists
from dicom_router.unexpected import kind_and_place

ROUND_SECONDS = 30.0
ROUNDS_TO_PRUNE = 20
STUDIES_A_ROUND = 200  # looked up in Orthanc, one quick call each


class Retention:
    """Forgets what need not be kept."""

    def __init__(self, store: Store, rest: OrthancRest, history_seconds: float, clock: Callable[[], float]) -> None:
        self.stopping = threading.Event()
        self._store = store
        self._rest = rest
        self._history_seconds = history_seconds
        self._clock = clock
        self._deleted: set[str] = set()
        self._after = ""

    def deleted(self, resource_id: str) -> None:
        """Orthanc deleted something; whether it was a study is found out when pruning."""
        self._deleted.add(resource_id)

    def prune(self) -> None:
        """A part of what is to be forgotten. Raises OrthancError; the rest comes next time."""
        before = self._clock() - self._history_seconds
        for forget in (self._store.history.prune, self._store.history.prune_decisions):
            while forget(before) and not self.stopping.is_set():
                pass
        deleted, self._deleted = self._deleted, set()
        studies = self._store.ledger.studies(self._after, STUDIES_A_ROUND)
        self._after = studies[-1] if len(studies) == STUDIES_A_ROUND else ""
        for study_id in [*deleted, *studies]:
            if self.stopping.is_set():
                return
            if not exists(self._rest, "Study", study_id):
                self._store.ledger.prune(study_id)


class HousekeepingThread:
    """Now and then: prune, and look whether Orthanc is about to recycle."""

    def __init__(
        self, retention: Retention, store: Store, recycling: Callable[[], Problem | None], log: Callable[[str], None]
    ) -> None:
        self.warning: Problem | None = None
        self.looked = False  # the warning, or that there is none, is known
        self._retention = retention
        self._store = store
        self._recycling = recycling
        self._log = log
        self._thread = threading.Thread(target=self._run, name="router-housekeeping")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def deleted(self, resource_id: str) -> None:
        """Orthanc deleted something."""
        self._retention.deleted(resource_id)

    def stop(self) -> None:
        """End."""
        self._retention.stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        rounds = 0
        while True:
            self._try(self._watch)
            if self._retention.stopping.wait(ROUND_SECONDS):
                return
            rounds += 1
            if rounds % ROUNDS_TO_PRUNE == 0:
                self._try(self._retention.prune)

    def _watch(self) -> None:
        warning = self._recycling()
        if warning is not None and (self.warning is None or self.warning.path != warning.path):
            self._log(f"{warning.path}: {warning.message}")
        self.warning = warning
        self.looked = True

    def _try(self, work: Callable[[], None]) -> None:
        try:
            with session(self._store.database):
                work()
        except OrthancError as problem:
            self._log(f"housekeeping could not ask Orthanc and will again: {problem}")
        except Exception as problem:  # noqa: BLE001 - the next round tries again
            self._log(f"housekeeping failed and will be tried again: {kind_and_place(problem)}")
