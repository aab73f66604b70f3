# SPDX-License-Identifier: AGPL-3.0-or-later
"""A command as a destination: the study is laid before it, and what it makes of it enters Orthanc.

So a process has what every delivery has: a place in the queue, attempts, a history, and a new run after a crash. What
follows from its end is made once, whatever happens in between.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import PROCESS_FAILED, SendError
from dicom_router.destination import Destination
from dicom_router.filing.names import mark_of, name_of, plain_value
from dicom_router.orthanc_rest import OrthancError, OrthancRest, OrthancUnreachableError
from dicom_router.processing.command import Ended, end_leftovers, run_command
from dicom_router.processing.folder import (
    INPUT,
    OutputFile,
    make_folder,
    output_files,
    read_proc,
    remove_folder,
)
from dicom_router.processing.outcome import Outcome, read_outcome
from dicom_router.transports.own_jobs import OwnJobs
from dicom_router.transports.transport import JobReport, Wait

STORE_SECONDS = 600.0
MOST_TOLD = 100  # files that did not enter Orthanc, by name


class Runs(Protocol):
    """What is kept of a run, by the ID of its delivery."""

    def made_of(self, run: int) -> str | None:
        """The mark of what went into a run that has ended."""

    def start(self, run: int, inputs: str) -> None:
        """It begins, or begins anew."""

    def hidden(self, instance_ids: Collection[str]) -> set[str]:
        """Those among these that are results of some run, and nothing else."""

    def intend(self, run: int, maker: str, instance_ids: Iterable[str], *, rerouted: bool) -> None:
        """These are about to enter Orthanc."""

    def disown(self, run: int, instance_id: str) -> None:
        """It was there before."""

    def forget(self, run: int, instance_ids: Iterable[str]) -> None:
        """These did not enter Orthanc, or are gone."""

    def owned(self, run: int) -> set[str]:
        """What entered Orthanc for a run."""

    def finish(
        self, run: int, outcome: Sequence[tuple[str, str]], output: str, rejected: Sequence[str], now: float
    ) -> None:
        """It has ended."""


class Aftermath(Protocol):
    """What the rule makes of a run."""

    def outcome(self, run: int) -> Outcome | None:
        """What a run came to, once it has ended."""

    def info(self, run: int) -> Mapping[str, object]:
        """What the command is told of the study. Raises OrthancError."""

    def wants_output(self, run: int, outcome: Outcome) -> bool:
        """Whether the results go anywhere."""

    def rerouted(self, run: int) -> bool:
        """Whether rules look at the results."""

    def follow(self, run: int) -> None:
        """Make the deliveries that follow, unless they are. Raises OrthancError."""


class ProcessTransport:
    """`root` is the folder in which each run has its own; `patient_data`: what a command writes may be kept."""

    def __init__(
        self,
        rest: OrthancRest,
        jobs: OwnJobs,
        runs: Runs,
        following: Aftermath,
        root: Path,
        clock: Callable[[], float],
        *,
        patient_data: bool,
    ) -> None:
        self._rest = rest
        self._jobs = jobs
        self._runs = runs
        self._following = following
        self._root = root
        self._clock = clock
        self._patient_data = patient_data

    def tidy(self) -> None:
        """At the start: end what outlived a crash, and remove its folders."""
        if self._root.is_dir():
            end_leftovers(self._root)
            remove_folder(self._root)

    # The Transport

    def submit(self, destination: Destination, instances: Sequence[Instance]) -> str:
        return self._jobs.start_whole(instances, partial(self._run, destination))

    def report(self, job_id: str, count: int) -> JobReport:
        return self._jobs.report(job_id, count)

    def pause(self, job_id: str, count: int) -> JobReport | None:
        return self._jobs.pause(job_id, count)

    def cancel(self, job_id: str) -> None:
        self._jobs.cancel(job_id)

    def try_one(self, destination: Destination, instance: Instance) -> SendError | None:
        return self._run(destination, [instance], threading.Event())

    def send_file(self, destination: Destination, file: bytes) -> SendError | None:  # noqa: ARG002
        return SendError.refusal("CannotAlter", "A process gets the files that Orthanc stores.")

    def probe(self, destination: Destination) -> SendError | None:
        """The command is there; what it needs is not known."""
        program = Path(destination.command[0])
        if program.is_absolute() and not os.access(program, os.X_OK):
            text = f"{program} is not there, or Orthanc's user may not execute it."
            return SendError.passing("CommandMissing", text)
        return None

    def find(self, destination: Destination, instances: Sequence[Instance], wait: Wait) -> set[str] | SendError:  # noqa: ARG002
        return {instance.sop_instance_uid for instance in instances}

    def commit(self, destination: Destination, instances: Sequence[Instance], wait: Wait) -> set[str] | SendError:
        return self.find(destination, instances, wait)

    def address(self, destination: Destination) -> tuple[str, int] | None:  # noqa: ARG002 - it has none
        return None

    # A run

    def _run(self, destination: Destination, instances: Sequence[Instance], stop: threading.Event) -> SendError | None:
        run = destination.delivery
        inputs = mark_of(*sorted(instance.digest.hex() for instance in instances), size=16)
        try:
            if self._runs.made_of(run) != inputs:
                error = self._make(destination, instances, inputs, stop)
                if error is not None:
                    return error
            self._following.follow(run)
        except OSError as problem:
            text = f"The folder of the process cannot be written: {os.strerror(problem.errno or 0)}."
            return SendError.passing("ProcessFolder", text)
        except OrthancError as problem:
            code = "OrthancUnreachable" if isinstance(problem, OrthancUnreachableError) else "OrthancError"
            return SendError.passing(code, str(problem))
        outcome = self._following.outcome(run)
        if outcome is not None and outcome.failed:
            text = outcome.text() if self._patient_data else "The process failed."
            return SendError.refusal(PROCESS_FAILED, text)
        return None

    def _make(
        self, destination: Destination, instances: Sequence[Instance], inputs: str, stop: threading.Event
    ) -> SendError | None:
        run, folder = destination.delivery, self._root / str(destination.delivery)
        end_leftovers(folder)
        self._discard(run)
        self._runs.start(run, inputs)
        try:
            make_folder(folder, self._following.info(run))
            for index, instance in enumerate(instances):
                if stop.is_set():
                    return _ended()
                self._lay(folder / INPUT, index, instance)
            outcome, ended = self._command(destination, folder, stop)
            if outcome is None:
                return _ended()
            # What a timeout has cut off may be half of something.
            whole = ended is not None and ended.exit_code is not None and self._following.wants_output(run, outcome)
            rejected = self._take_in(destination, folder) if whole else []
        finally:
            remove_folder(folder)
        kept = outcome.entries if self._patient_data else [(success, "") for success, _ in outcome.entries]
        told = rejected if self._patient_data else [f"{len(rejected)} files"] * bool(rejected)
        output = ended.output if ended and self._patient_data else ""
        self._runs.finish(run, kept, output, told, self._clock())
        return None

    def _lay(self, folder: Path, index: int, instance: Instance) -> None:
        uid = instance.sop_instance_uid
        path = folder / f"{name_of([plain_value(uid)], [uid])}.dcm"
        if path.exists():
            path = folder / f"{index}-{path.name}"
        with path.open("xb") as file:
            self._rest.download(f"/instances/{instance.id}/file", file)

    def _command(
        self, destination: Destination, folder: Path, stop: threading.Event
    ) -> tuple[Outcome | None, Ended | None]:
        """What came of it, None for what was stopped; and how it ended, None for what never began."""
        timeout = destination.timeout or 0
        try:
            ended = run_command(destination.command, folder, timeout, stop)
        except OSError as problem:
            text = f"The command could not be started: {os.strerror(problem.errno or 0)}."
            return Outcome.failure(text), None
        if ended.stopped:
            return None, None
        if ended.exit_code is None:
            return Outcome.failure(f"The command did not end within {timeout:g} s."), ended
        return read_outcome(read_proc(folder), ended.exit_code), ended

    # Its results

    def _discard(self, run: int) -> None:
        """Remove what a run that was cut off has brought into Orthanc."""
        left = sorted(self._runs.owned(run))
        if left:
            self._rest.post("/tools/bulk-delete", {"Resources": left}, STORE_SECONDS)
            self._runs.forget(run, left)

    def _take_in(self, destination: Destination, folder: Path) -> list[str]:
        """Bring OUTPUT into Orthanc. Answers which files stayed outside, and why."""
        run, rejected = destination.delivery, list[str]()
        found = list(output_files(folder))
        new = {each.instance_id for each in found if each.instance_id and not _is_there(self._rest, each.instance_id)}
        rerouted = self._following.rerouted(run)
        self._runs.intend(run, destination.name, sorted(new), rerouted=rerouted)
        for each in found:
            problem = each.problem or self._take_one(destination, each, new, rerouted=rerouted)
            if problem:
                rejected.append(f"{each.name} {problem}")
        more = len(rejected) - MOST_TOLD
        return rejected if more <= 0 else [*rejected[:MOST_TOLD], f"and {more} more"]

    def _take_one(self, destination: Destination, each: OutputFile, new: set[str], *, rerouted: bool) -> str:
        run, data = destination.delivery, each.path.read_bytes()
        if each.instance_id not in new:
            same = self._rest.get_bytes(f"/instances/{each.instance_id}/file") == data
            if each.instance_id in self._runs.owned(run):
                return "" if same else "has the UIDs of another file of OUTPUT"
            earlier = bool(self._runs.hidden([each.instance_id]))
            if not same and not earlier:
                return "has the UIDs of another instance that is in Orthanc"  # which is never replaced
            self._runs.intend(run, destination.name, [each.instance_id], rerouted=rerouted)
            if not earlier:
                self._runs.disown(run, each.instance_id)
            if same:
                return ""
            self._rest.delete(f"/instances/{each.instance_id}")  # of an earlier run, from fewer instances
        return self._store(destination, each, data, new, rerouted=rerouted)

    def _store(self, destination: Destination, each: OutputFile, data: bytes, new: set[str], *, rerouted: bool) -> str:
        run = destination.delivery
        try:
            stored = self._rest.post_bytes("/instances", data, STORE_SECONDS)
        except OrthancUnreachableError:
            raise
        except OrthancError as problem:
            self._runs.forget(run, [each.instance_id])
            return f"was not taken by Orthanc: {problem.details}"
        new.discard(each.instance_id)
        status = stored.get("Status", "Success")
        if status != "Success":
            self._runs.forget(run, [each.instance_id])
            if status != "AlreadyStored":
                return f"was not taken by Orthanc: {status}"
            # It came from elsewhere since this began.
            return self._take_one(destination, replace(each, instance_id=stored["ID"]), new, rerouted=rerouted)
        if stored["ID"] != each.instance_id:  # a PatientID in another character set than Orthanc reads
            self._runs.intend(run, destination.name, [stored["ID"]], rerouted=rerouted)
            self._runs.forget(run, [each.instance_id])
        return ""


def _is_there(rest: OrthancRest, instance_id: str) -> bool:
    try:
        rest.get(f"/instances/{instance_id}")
    except OrthancError as problem:
        if problem.not_found:
            return False
        raise
    return True


def _ended() -> SendError:
    return SendError.passing("JobCanceled", "The process was ended.")
