# SPDX-License-Identifier: AGPL-3.0-or-later
"""Studies that Orthanc holds already, through the rules; one study at a time, behind all that is fresh."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dicom_router.orthanc_rest import OrthancUnreachableError
from dicom_router.routing.routing import BACKFILL, Routing
from dicom_router.store.database import LOST
from dicom_router.studies.study import ResourceFacts
from dicom_router.unexpected import kind_and_place

DATABASE_RETRY_SECONDS = 1.0
PAGE = 500
PAUSE_SECONDS = 0.02  # between studies: what is fresh goes first


@dataclass(frozen=True)
class Progress:
    """How far a backfill is. Times are seconds since the epoch."""

    state: str = "None"  # None, Running, Done, Stopped, Failed
    dry_run: bool = False
    studies: int = 0  # found so far
    looked_at: int = 0
    matched: int = 0
    deliveries: int = 0
    failed: int = 0  # studies that could not be looked at
    destinations: Mapping[str, int] = field(default_factory=dict)
    started_at: float | None = None
    ended_at: float | None = None
    error: str = ""


class BusyError(Exception):
    """A backfill runs already."""


class Backfill:
    """At most one at a time. It ends with Orthanc and does not go on afterwards: what was sent is not sent again."""

    def __init__(
        self,
        routing: Routing,
        clock: Callable[[], float],
        ring: Callable[[], None],
        log: Callable[[str], None],
        most_found: int = 0,
    ) -> None:
        """`most_found`: how many studies Orthanc tells at most when it is asked for some; 0 for no limit."""
        self._routing = routing
        self._clock = clock
        self._ring = ring
        self._log = log
        self._most_found = most_found
        self._progress = Progress()
        self._destinations: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def progress(self) -> Progress:
        """Of the one that runs, or of the last."""
        return self._progress

    def begin(self, query: Mapping[str, str], rules: Sequence[str] | None, *, dry_run: bool) -> Progress:
        """Start; raises BusyError."""
        with self._lock:
            if self._progress.state == "Running" or self._stopping.is_set():
                raise BusyError("A backfill runs already; see GET /router/backfill.")
            self._destinations = Counter()
            self._progress = Progress(state="Running", dry_run=dry_run, started_at=self._clock())
            self._thread = threading.Thread(target=self._run, args=(dict(query), rules), name="router-backfill")
            self._thread.start()
        return self._progress

    def cancel(self) -> None:
        """End after the study that is being looked at."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return
        self._stopping.set()
        thread.join()
        self._stopping.clear()

    def stop(self) -> None:
        """End for good: Orthanc stops."""
        self._stopping.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def _run(self, query: dict[str, str], rules: Sequence[str] | None) -> None:
        state, error = "Done", ""
        try:
            for study_id in self._find(query):
                if self._stopping.wait(PAUSE_SECONDS):
                    state = "Stopped"
                    break
                if not self._look_until_answered(study_id, rules):
                    state = "Stopped"
                    break
        except Exception as problem:  # noqa: BLE001 - told where the backfill is asked for
            state, error = "Failed", str(problem)
            self._log(f"the backfill ended: {kind_and_place(problem)}")
        self._tell(state=state, error=error, ended_at=self._clock())

    def _find(self, query: dict[str, str]) -> list[str]:
        """All of them at once, so that what arrives meanwhile does not move the pages. IDs are small."""
        if self._most_found and not query:
            return self._list()
        found = list(self._search(query))
        if self._most_found and len(found) >= self._most_found:
            raise ValueError(
                f"Orthanc's LimitFindResults ({self._most_found}) cuts the answer short: ask for less at once, "
                "as by StudyDate, or for all studies with an empty Query."
            )
        return found

    def _list(self) -> list[str]:
        found: dict[str, None] = {}
        while not self._stopping.is_set():
            page: list[str] = self._routing.rest.get(f"/studies?since={len(found)}&limit={PAGE}")
            if not page or found.keys() >= set(page):
                break
            found |= dict.fromkeys(page)
            self._tell(studies=len(found))
        return list(found)

    def _search(self, query: dict[str, str]) -> dict[str, None]:
        found: dict[str, None] = {}
        since = 0
        while not self._stopping.is_set():
            body = {"Level": "Study", "Query": query, "Limit": PAGE, "Since": since}
            page: list[str] = self._routing.rest.ask("/tools/find", body)
            found |= dict.fromkeys(page)
            self._tell(studies=len(found))
            if len(page) < PAGE:
                break
            since += PAGE
        return found

    def _look_until_answered(self, study_id: str, rules: Sequence[str] | None) -> bool:
        """While the router's database is away, the backfill waits. False: it was stopped then."""
        while True:
            try:
                self._look(study_id, rules)
            except LOST:
                if self._stopping.wait(DATABASE_RETRY_SECONDS):
                    return False
            else:
                return True

    def _look(self, study_id: str, rules: Sequence[str] | None) -> None:
        """One that cannot be looked at ends nothing."""
        try:
            matched, made, labels = self._try(study_id, rules) if self._progress.dry_run else self._do(study_id, rules)
        except (*LOST, OrthancUnreachableError):
            raise
        except Exception as problem:  # noqa: BLE001 - counted, and told
            self._log(f"study {study_id} could not be looked at by the backfill: {kind_and_place(problem)}")
            self._tell(failed=self._progress.failed + 1, looked_at=self._progress.looked_at + 1)
            return
        self._destinations.update(labels)
        self._tell(
            looked_at=self._progress.looked_at + 1,
            matched=self._progress.matched + matched,
            deliveries=self._progress.deliveries + made,
            destinations=dict(self._destinations),
        )

    def _try(self, study_id: str, rules: Sequence[str] | None) -> tuple[bool, int, set[str]]:
        facts = ResourceFacts(self._routing.rest, study_id)
        if facts.is_copy():
            return False, 0, set()
        found = self._routing.looks(facts, self._routing.rules_of(rules))
        planned = self._routing.planned(found)
        return any(look.decision.targets for look in found), len(planned), planned

    def _do(self, study_id: str, rules: Sequence[str] | None) -> tuple[bool, int, set[str]]:
        routed = self._routing.look_at(study_id, BACKFILL, only_rules=rules)
        if routed.deliveries:
            self._ring()
        return any(verdict["Matched"] for verdict in routed.verdicts), len(routed.deliveries), set(routed.destinations)

    def _tell(self, **values: object) -> None:
        self._progress = replace(self._progress, **values)  # type: ignore[arg-type]
