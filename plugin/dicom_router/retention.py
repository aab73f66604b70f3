# SPDX-License-Identifier: AGPL-3.0-or-later
"""Forgetting in time: history after its retention, the ledger of studies that Orthanc no longer has."""

import threading
from collections.abc import Callable

from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.store.database import session
from dicom_router.store.store import Store
from dicom_router.study import exists

ROUND_SECONDS = 600.0
STUDIES_A_ROUND = 200  # looked up in Orthanc, one quick call each


class RetentionThread:
    """Prunes a little now and then."""

    def __init__(
        self,
        store: Store,
        rest: OrthancRest,
        history_seconds: float,
        clock: Callable[[], float],
        log: Callable[[str], None],
    ) -> None:
        self._store = store
        self._rest = rest
        self._history_seconds = history_seconds
        self._clock = clock
        self._log = log
        self._deleted: set[str] = set()
        self._after = ""
        self._bell = threading.Event()
        self._thread = threading.Thread(target=self._run, name="router-retention")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def deleted(self, resource_id: str) -> None:
        """Orthanc deleted something; whether it was a study is found out in the next round."""
        self._deleted.add(resource_id)

    def stop(self) -> None:
        """End."""
        self._bell.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._bell.wait(ROUND_SECONDS):
            try:
                with session(self._store.database):
                    self._round()
            except Exception as problem:  # noqa: BLE001 - the next round tries again
                self._log(f"pruning failed and will be tried again: {problem!r}")

    def _round(self) -> None:
        while self._store.history.prune(self._clock() - self._history_seconds) and not self._bell.is_set():
            pass
        deleted, self._deleted = self._deleted, set()
        for resource_id in deleted:
            self._prune_if_gone(resource_id)
        studies = self._store.ledger.studies(self._after, STUDIES_A_ROUND)
        self._after = studies[-1] if len(studies) == STUDIES_A_ROUND else ""
        for study_id in studies:
            if self._bell.is_set():
                return
            self._prune_if_gone(study_id)

    def _prune_if_gone(self, study_id: str) -> None:
        try:
            if not exists(self._rest, "Study", study_id):
                self._store.ledger.prune(study_id)
        except OrthancError as problem:
            self._log(f"study {study_id} could not be looked up: {problem}")
