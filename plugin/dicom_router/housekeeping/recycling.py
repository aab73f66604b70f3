# SPDX-License-Identifier: AGPL-3.0-or-later
"""Orthanc may delete the oldest patient to make room (`MaximumStorageSize`, `MaximumPatientCount`), sent or not."""

from collections.abc import Mapping
from typing import Any

from dicom_router.orthanc_rest import OrthancRest
from dicom_router.problems import Problem

NEAR = 0.9  # of the limit

# (limit in orthanc.json and, since 1.11.3, in /system; what counts against it in /statistics; its unit)
LIMITS = (
    ("MaximumStorageSize", "TotalDiskSizeMB", "MB"),
    ("MaximumPatientCount", "CountPatients", "patients"),
)


def risk(rest: OrthancRest, configuration: Mapping[str, Any], waiting: int) -> Problem | None:
    """A warning while Orthanc is near a limit and `waiting` deliveries have not ended. Raises OrthancError."""
    recycles = configuration.get("MaximumStorageMode", "Recycle") == "Recycle"
    if not waiting or not recycles or not any(configuration.get(limit) for limit, _, _ in LIMITS):
        return None
    statistics = rest.get("/statistics")
    for limit, counted, unit in LIMITS:
        most, used = int(configuration.get(limit) or 0), float(statistics.get(counted, 0))
        if most and used >= NEAR * most:
            text = (
                f"Orthanc holds {used:.0f} of {most} {unit} and will delete the oldest patients to make room, "
                f"while {waiting} deliveries wait to be sent. Raise {limit}, or see why they wait."
            )
            return Problem(limit, text)
    return None
