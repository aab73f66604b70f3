# SPDX-License-Identifier: AGPL-3.0-or-later
"""The UIDs by which another system knows the series of some instances."""

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_router.deliveries.instance import Instance
from dicom_router.orthanc_rest import OrthancRest


@dataclass(frozen=True, order=True)
class SeriesUids:
    """A series, and its study."""

    study: str
    series: str


def series_of(rest: OrthancRest, instances: Sequence[Instance]) -> dict[SeriesUids, set[str]]:
    """The series of these instances, each with the SOP Instance UIDs of those in it; raises OrthancError.

    Copies say themselves where they belong; of what is stored here, Orthanc does.
    """
    stored = [each for each in instances if not each.series_instance_uid]
    of_series = _indexed(rest, sorted({each.series_id for each in stored})) if stored else {}
    found: dict[SeriesUids, set[str]] = {}
    for each in instances:
        own = SeriesUids(each.study_instance_uid, each.series_instance_uid)
        uids = own if own.series else of_series.get(each.series_id)
        if uids is not None:
            found.setdefault(uids, set()).add(each.sop_instance_uid)
    return found


def _indexed(rest: OrthancRest, series_ids: Sequence[str]) -> dict[str, SeriesUids]:
    rows = rest.ask("/tools/bulk-content", {"Resources": series_ids, "Level": "Series"})
    studies = {row["ParentStudy"] for row in rows}
    uids = {each: rest.get(f"/studies/{each}")["MainDicomTags"]["StudyInstanceUID"] for each in studies}
    return {row["ID"]: SeriesUids(uids[row["ParentStudy"]], row["MainDicomTags"]["SeriesInstanceUID"]) for row in rows}
