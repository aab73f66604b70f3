# SPDX-License-Identifier: AGPL-3.0-or-later
"""The very first start: where the reading of the change log begins is written down before anything can go wrong."""

from dicom_router.host.global_properties import FIRST_START
from dicom_router.host.index_mark import IndexMark
from dicom_router.host.sdk import OrthancHost
from dicom_router.intake.first_start import first_place
from dicom_router.orthanc_rest import OrthancRest
from dicom_router.store.journal import Position
from dicom_router.store.store import Store
from dicom_router.whole_numbers import whole_number


class StartingPlace:
    """Where the very first start begins. `loaded_at` and `now` in epoch seconds."""

    def __init__(self, host: OrthancHost, loaded_at: float) -> None:
        self._host = host
        self._loaded_at = loaded_at

    def keep(self, store: Store, rest: OrthancRest, now: float, *, stopgap: bool = False) -> None:
        """Write it into a database that knows none; also while routing is suspended. Raises OrthancError.

        A `stopgap` is used while nobody can tell which database is meant: the right one has to learn it too.
        """
        known = store.journal.position()
        told = self._host.global_property(FIRST_START)
        remembered = whole_number(told)
        if known is None:
            IndexMark(self._host, store.marks if store.shared else None).write()
            seq = first_place(rest.get, self._loaded_at, now) if remembered is None else remembered
            store.journal.begin(Position(seq, seq))
            self._host.set_global_property(FIRST_START, str(seq) if stopgap else "")
            return
        # Also while routing is suspended: an older index may have been restored, whose new rows take numbers again.
        store.journal.go_back(int(rest.get("/changes?last")["Last"]))
        if not stopgap and told:
            if store.shared and remembered is not None and not store.marks.made():
                # Another Orthanc opened the database first, and may have begun behind what this one received.
                store.journal.begin(Position(remembered, remembered))
            # What was remembered for this database, or for none, must not make a later one begin in the past.
            self._host.set_global_property(FIRST_START, "")

    def remember(self, rest: OrthancRest, now: float) -> None:
        """The database cannot be opened: write it into Orthanc's own index, so that nothing is missed."""
        if not self._host.global_property(FIRST_START):
            self._host.set_global_property(FIRST_START, str(first_place(rest.get, self._loaded_at, now)))
