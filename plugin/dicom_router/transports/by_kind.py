# SPDX-License-Identifier: AGPL-3.0-or-later
"""One transport for all destinations: each call goes to the way of the destination's kind, or to whose job it is.

A destination that gets altered copies gets each as a file, on a thread of ours: none of Orthanc's jobs sends what is
not stored in Orthanc.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from dicom_router.alteration import Alteration
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import SendError
from dicom_router.destination import Destination, Kind
from dicom_router.orthanc_rest import OrthancError
from dicom_router.rendering.renderer import Renderer
from dicom_router.transports.own_jobs import PREFIX, OwnJobs
from dicom_router.transports.transport import JobReport, Jobs, Transport, Wait

Ask = Callable[[Destination, Sequence[Instance], Wait], set[str] | SendError]


class TransportsByKind:
    """`of_orthanc` reads every job of Orthanc, whoever submitted it; `own` are the router's own."""

    def __init__(self, of_orthanc: Jobs, kinds: Mapping[Kind, Transport], own: OwnJobs, renderer: Renderer) -> None:
        self._of_orthanc = of_orthanc
        self._kinds = kinds
        self._own = own
        self._renderer = renderer

    def submit(self, destination: Destination, instances: Sequence[Instance]) -> str:
        if destination.alteration is not None:
            return self._own.start(instances, partial(self._send_copy, destination, destination.alteration))
        return self._kinds[destination.kind].submit(destination, instances)

    def report(self, job_id: str, count: int) -> JobReport:
        jobs, its_id = self._jobs(job_id)
        return jobs.report(its_id, count)

    def pause(self, job_id: str, count: int) -> JobReport | None:
        jobs, its_id = self._jobs(job_id)
        return jobs.pause(its_id, count)

    def cancel(self, job_id: str) -> None:
        jobs, its_id = self._jobs(job_id)
        jobs.cancel(its_id)

    def try_one(self, destination: Destination, instance: Instance) -> SendError | None:
        if destination.alteration is not None:
            return self._send_copy(destination, destination.alteration, instance)
        return self._kinds[destination.kind].try_one(destination, instance)

    def send_file(self, destination: Destination, file: bytes) -> SendError | None:
        return self._kinds[destination.kind].send_file(destination, file)

    def probe(self, destination: Destination) -> SendError | None:
        return self._kinds[destination.kind].probe(destination)

    def find(self, destination: Destination, instances: Sequence[Instance], wait: Wait) -> set[str] | SendError:
        return self._ask(self._kinds[destination.kind].find, destination, instances, wait)

    def commit(self, destination: Destination, instances: Sequence[Instance], wait: Wait) -> set[str] | SendError:
        return self._ask(self._kinds[destination.kind].commit, destination, instances, wait)

    def address(self, destination: Destination) -> tuple[str, int] | None:
        return self._kinds[destination.kind].address(destination)

    def _send_copy(self, destination: Destination, alteration: Alteration, instance: Instance) -> SendError | None:
        copy = self._renderer.render(instance, alteration)
        return copy if isinstance(copy, SendError) else self.send_file(destination, copy)

    def _ask(
        self, ask: Ask, destination: Destination, instances: Sequence[Instance], wait: Wait
    ) -> set[str] | SendError:
        """Ask for copies by the UIDs that they have there; the answer is in those of the originals."""
        if destination.alteration is None:
            return ask(destination, instances, wait)
        try:
            copies = self._renderer.copies(instances, destination.alteration)
        except OrthancError as problem:
            return SendError.passing("OrthancError", str(problem))
        found = ask(destination, copies, wait)
        if isinstance(found, SendError):
            return found
        pairs = zip(instances, copies, strict=True)
        return {instance.sop_instance_uid for instance, copy in pairs if copy.sop_instance_uid in found}

    def _jobs(self, job_id: str) -> tuple[Jobs, str]:
        """Whose job it is, and its ID there: what a job of ours of an earlier life left behind is Orthanc's."""
        if not self._own.owns(job_id):
            return self._of_orthanc, job_id
        if self._own.knows(job_id):
            return self._own, job_id
        return self._of_orthanc, job_id.removeprefix(PREFIX)
