# SPDX-License-Identifier: AGPL-3.0-or-later
"""What of Orthanc's own configuration matters to the router."""

import os
from collections.abc import Mapping
from typing import Any

from dicom_router.problems import Problem

DEFAULT_CONCURRENT_JOBS = 2  # Orthanc's own default
DEFAULT_STABLE_AGE = 60
FEW_LANES = 4

Configuration = Mapping[str, Any]


def lanes(configuration: Configuration) -> int:
    """How many jobs Orthanc runs at once."""
    # 0 stands for the number of processors (orthanc: Configuration.json).
    return int(configuration.get("ConcurrentJobs", DEFAULT_CONCURRENT_JOBS)) or os.cpu_count() or 1


def stable_age(configuration: Configuration) -> float:
    """After how many seconds without a new instance a study is stable."""
    return float(configuration.get("StableAge", DEFAULT_STABLE_AGE))


def most_found(configuration: Configuration) -> int:
    """How many studies `/tools/find` tells at most, over all pages together; 0 for no limit."""
    return int(configuration.get("LimitFindResults") or 0)


def name(configuration: Configuration) -> str:
    """What people call this Orthanc."""
    return str(configuration.get("Name") or configuration.get("DicomAet") or "Orthanc")


def warnings(configuration: Configuration) -> list[Problem]:
    """What is legal there, and slows the router down or makes it send twice."""
    found = []
    if lanes(configuration) < FEW_LANES:
        message = (
            f"Orthanc runs {lanes(configuration)} jobs at once, for all destinations together; "
            "with 8 or 16 the router sends several times faster."
        )
        found.append(Problem("ConcurrentJobs", message))
    if configuration.get("SaveJobs", True):
        message = (
            "After a crash Orthanc itself resumes its jobs from an old position and can send instances twice; "
            "the router keeps its own queue, so set it to false unless other jobs need it."
        )
        found.append(Problem("SaveJobs", message))
    return found
