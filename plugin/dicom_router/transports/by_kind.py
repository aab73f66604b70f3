# SPDX-License-Identifier: AGPL-3.0-or-later
"""One transport for all destinations: each call goes to the way of the destination's kind, or to whose job it is."""

from collections.abc import Mapping, Sequence

from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.destination import Destination, Kind
from dicom_router.transports.own_jobs import OwnJobs
from dicom_router.transports.transport import JobReport, Jobs, Transport, Wait


class TransportsByKind:
    """`of_orthanc` reads every job of Orthanc, whoever submitted it; `own` are the router's own."""

    def __init__(self, of_orthanc: Jobs, kinds: Mapping[Kind, Transport], own: OwnJobs) -> None:
        self._of_orthanc = of_orthanc
        self._kinds = kinds
        self._own = own

    def submit(self, destination: Destination, instances: Sequence[Instance]) -> str:
        return self._kinds[destination.kind].submit(destination, instances)

    def report(self, job_id: str, count: int) -> JobReport:
        return self._jobs(job_id).report(job_id, count)

    def pause(self, job_id: str, count: int) -> JobReport | None:
        return self._jobs(job_id).pause(job_id, count)

    def cancel(self, job_id: str) -> None:
        self._jobs(job_id).cancel(job_id)

    def try_one(self, destination: Destination, instance: Instance) -> SendError | None:
        return self._kinds[destination.kind].try_one(destination, instance)

    def probe(self, destination: Destination) -> SendError | None:
        return self._kinds[destination.kind].probe(destination)

    def find(self, destination: Destination, instances: Sequence[Instance], wait: Wait) -> set[str] | SendError:
        return self._kinds[destination.kind].find(destination, instances, wait)

    def commit(self, destination: Destination, instances: Sequence[Instance], wait: Wait) -> set[str] | SendError:
        return self._kinds[destination.kind].commit(destination, instances, wait)

    def address(self, destination: Destination) -> tuple[str, int] | None:
        return self._kinds[destination.kind].address(destination)

    def _jobs(self, job_id: str) -> Jobs:
        return self._own if self._own.owns(job_id) else self._of_orthanc
