# SPDX-License-Identifier: AGPL-3.0-or-later
"""An Orthanc job under way, and what its end says of each chunk in it: several small deliveries may share one. Pure."""

import re
from dataclasses import dataclass, replace

from dicom_router.dispatch.timer import is_due
from dicom_router.transports.transport import JobReport, JobState

FIRST_LOOK = 0.1  # seconds after a job was submitted
SHORTEST_LOOK = 0.02  # seconds between two looks at a job: each is a call to Orthanc
LONGEST_LOOK = 0.5
LOOK_BEFORE = 0.8  # of the time that a job may take

# Errors that say nothing about the instance at which the job ended.
OF_ALL = {"JobCanceled", "JobPaused", "JobIncomplete"}


@dataclass
class Job:
    """So many instances handed to Orthanc; the one try of a destination needs no lane if no job."""

    count: int
    in_lane: bool = True
    tried: bool = False  # the one try of an unproven destination, which a thread waits for
    id: str = ""  # empty until Orthanc has made the job
    accepted: int = 0
    submitted_at: float = 0.0  # epoch seconds
    advanced_at: float = 0.0  # when it was last seen to go on
    look_at: float = 0.0
    ended: JobState | None = None  # as Orthanc told by itself

    def submitted(self, job_id: str, now: float, expected: float | None = None) -> None:
        """Orthanc has made it; it may take `expected` seconds."""
        self.id = job_id
        self.submitted_at = self.advanced_at = now
        first = FIRST_LOOK if expected is None else max(SHORTEST_LOOK, LOOK_BEFORE * expected)
        self.look_at = now + min(LONGEST_LOOK, first)

    def due(self, now: float) -> bool:
        """It is to be looked at now."""
        return is_due(now, self.look_at, LONGEST_LOOK)

    def looked(self, accepted: int, now: float) -> None:
        """It is under way: look again shortly before its end, as it goes now; ever later while it does not go on.

        Orthanc tells the end of a job up to 0.1 s late, and the next chunk waits for that.
        """
        if accepted > self.accepted:
            self.accepted, self.advanced_at = accepted, now
        age, left = now - self.submitted_at, self.count - self.accepted
        remaining = age * left / self.accepted if self.accepted else age
        pause = max(LOOK_BEFORE * remaining, now - self.advanced_at)
        self.look_at = now + min(LONGEST_LOOK, max(SHORTEST_LOOK, pause))


@dataclass(frozen=True)
class Share:
    """`count` of the `of` instances of a job, after the first `before`."""

    before: int
    count: int
    of: int

    @property
    def is_all(self) -> bool:
        """The job has nothing else."""
        return self.count == self.of

    def text(self, job_id: str) -> str:
        """For the ledger, which must know it after a restart: the job's ID, and the place in it where it is shared."""
        return job_id if self.is_all else f"{job_id}/{self.before}/{self.of}"

    def read(self, report: JobReport) -> JobReport:
        """What the report of the job says of this share."""
        if self.is_all:
            return report
        accepted = min(self.count, max(0, report.accepted - self.before))
        mine = replace(report, accepted=accepted)
        if report.state is JobState.RUNNING:
            # The last one waits for the end of the job, which frees the lane.
            through = accepted == self.count and self.before + self.count < self.of
            return JobReport(JobState.SUCCESS, accepted) if through else mine
        if accepted == self.count:
            return JobReport(JobState.SUCCESS, accepted)
        if report.state is JobState.GONE:
            return mine
        # That it ended within this share is told by the accepted ones before it.
        reached = report.accepted >= self.before
        if report.state is JobState.STOPPED:
            reached = report.accepted > self.before
        blames_all = report.error is not None and report.error.code in OF_ALL
        return mine if reached and not blames_all else JobReport(JobState.CUT_SHORT, accepted)


def read_share(text: str, count: int) -> tuple[str, Share]:
    """The job's ID and the share that `Share.text` told, of `count` instances."""
    found = re.fullmatch(r"(.+)/(\d+)/(\d+)", text)
    if found is None:
        return text, Share(0, count, count)
    return found[1], Share(int(found[2]), count, int(found[3]))
