# SPDX-License-Identifier: AGPL-3.0-or-later
"""What routing asks about the results of processes."""

from collections.abc import Collection
from typing import Protocol


class Results(Protocol):
    """What came out of processes, by Orthanc's IDs of the instances."""

    def hidden(self, instance_ids: Collection[str]) -> set[str]:
        """Those among these that no rule looks at."""

    def made_by(self, maker: str, instance_ids: Collection[str]) -> set[str]:
        """Those among these that came out of this process."""

    def results(self, run: int) -> set[str]:
        """All that came out of one run."""

    def failed_with(self, process: str, study_id: str, content: str) -> bool:
        """Whether a run has failed on just these instances."""


class NoResults:
    """There are no processes."""

    def hidden(self, instance_ids: Collection[str]) -> set[str]:  # noqa: ARG002
        """None."""
        return set()

    def made_by(self, maker: str, instance_ids: Collection[str]) -> set[str]:  # noqa: ARG002
        """None."""
        return set()

    def results(self, run: int) -> set[str]:  # noqa: ARG002
        """None."""
        return set()

    def failed_with(self, process: str, study_id: str, content: str) -> bool:  # noqa: ARG002
        """None has."""
        return False
