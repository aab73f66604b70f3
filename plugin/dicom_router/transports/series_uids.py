# SPDX-License-Identifier: AGPL-3.0-or-later
"""The UIDs by which another system knows the series of some instances."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dicom_router.deliveries.instance import Instance
from dicom_router.orthanc_rest import OrthancRest


@dataclass(frozen=True)
class SeriesUids:
    """A series, and its study."""

    study: str
    series: str


def series_of(rest: OrthancRest, instances: Sequence[Instance]) -> dict[SeriesUids, set[str]]:
    """The series of these instances, each with the SOP Instance UIDs of those in it; raises OrthancError.

    Altered copies tell theirs themselves.
    """
    if all(each.series_instance_uid for each in instances):
        told: dict[SeriesUids, set[str]] = defaultdict(set)
        for each in instances:
            told[SeriesUids(each.study_instance_uid, each.series_instance_uid)].add(each.sop_instance_uid)
        return told
    ids = sorted({instance.series_id for instance in instances})
    rows = rest.ask("/tools/bulk-content", {"Resources": ids, "Level": "Series"})
    studies = {row["ParentStudy"] for row in rows}
    uids = {each: rest.get(f"/studies/{each}")["MainDicomTags"]["StudyInstanceUID"] for each in studies}
    return {
        SeriesUids(uids[row["ParentStudy"]], row["MainDicomTags"]["SeriesInstanceUID"]): {
            each.sop_instance_uid for each in instances if each.series_id == row["ID"]
        }
        for row in rows
    }
