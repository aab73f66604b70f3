# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs of processes: made once, followed once, and their results known until they are deleted."""

import io
import queue
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from builders import NOW, claimed, configured, enqueued, found, instance, new_delivery
from dicom_router.deliveries.outcome import SendError
from dicom_router.destination import Destination, Kind
from dicom_router.orthanc_rest import OrthancError, OrthancRest, OrthancUnreachableError
from dicom_router.processing.folder import orthanc_id
from dicom_router.processing.outcome import Outcome
from dicom_router.rules.rule import Rule
from dicom_router.store.store import Store
from dicom_router.transports.own_jobs import OwnJobs
from dicom_router.transports.process import ProcessTransport
from dicom_router.transports.transport import JobReport, JobState
from fakes.orthanc import FakeOrthanc
from rest_client import make_routing

LIMIT = 20.0  # seconds
PROCESS = "seg (process)"
GOOD = (("success", ""),)


# --- the store -------------------------------------------------------------------------------------------------------


def test_a_run_is_known_once_it_has_ended(store: Store) -> None:
    run = claimed(store, destination=PROCESS).id
    store.runs.start(run, "inputs")
    assert store.runs.finished(run) is None
    assert store.runs.made_of(run) is None
    store.runs.finish(run, [("partial", "half of it")], "the end", ["a.txt is no DICOM file"], NOW)
    stored = store.runs.finished(run)
    assert stored is not None
    assert (stored.outcome, stored.output, stored.followed) == ((("partial", "half of it"),), "the end", False)
    assert stored.rejected == ("a.txt is no DICOM file",)
    assert store.runs.made_of(run) == "inputs"


def test_what_follows_is_made_once(store: Store) -> None:
    run = claimed(store, destination=PROCESS).id
    store.runs.start(run, "")
    store.runs.finish(run, GOOD, "", [], NOW)
    for _ in range(3):
        store.runs.follow(run, [new_delivery(destination="A"), new_delivery(destination="B")], "ended", NOW)
    assert [each.text for each in store.history.timeline(run)].count("ended") == 1
    assert sorted(store.history.waiting_destinations()) == ["A", "B", PROCESS]


def test_results_are_hidden_from_rules_unless_they_are_rerouted_or_were_there_before(store: Store) -> None:
    ids = [f"i{number}" for number in range(1200)]
    store.runs.intend(1, PROCESS, ids[:1000], rerouted=False)
    store.runs.intend(2, "other (process)", ids[1000:1100], rerouted=True)
    store.runs.disown(1, "i0")
    assert store.runs.hidden(ids) == set(ids[1:1000])
    assert store.runs.made_by(PROCESS, ids) == set(ids[1:1000])
    assert store.runs.made_by("other (process)", ids) == set(ids[1000:1100])
    assert store.runs.results(1) == set(ids[:1000])
    assert store.runs.owned(1) == set(ids[1:1000])


def test_results_are_used_up_when_nothing_that_brings_them_is_open(store: Store) -> None:
    run = claimed(store, destination=PROCESS)
    store.runs.intend(run.id, PROCESS, ["r1", "r2"], rerouted=False)
    assert store.runs.used_up() == []
    sent = enqueued(store, "results", destination="A", results_of=run.id)
    assert store.queue.succeed(run, 3, 0, "Accepted", NOW)
    assert store.runs.used_up() == []
    store.queue.cancel(sent, NOW)
    assert store.runs.used_up() == [(run.id, {"r1", "r2"})]
    store.runs.forget_all(run.id)
    assert store.runs.used_up() == []


def test_a_result_that_another_run_still_needs_is_not_deleted(store: Store) -> None:
    first = claimed(store, destination=PROCESS)
    assert store.queue.succeed(first, 3, 0, "Accepted", NOW)
    second = claimed(store, lease="second", destination=PROCESS)
    store.runs.intend(first.id, PROCESS, ["r1", "r2"], rerouted=False)
    store.runs.intend(second.id, PROCESS, ["r2", "r3"], rerouted=False)
    assert store.runs.used_up() == [(first.id, {"r1"})]


def test_results_of_two_runs_wait_beside_each_other_and_keep_their_mark(store: Store) -> None:
    made = {enqueued(store, destination="A", results_of=number) for number in (0, 1, 2)}
    assert len(made) == 3
    assert store.queue.enqueue(new_delivery(destination="A", results_of=1), NOW) is None
    assert [found(store, each).results_of for each in sorted(made)] == [0, 1, 2]


# --- routing ---------------------------------------------------------------------------------------------------------

SEG = {
    "Name": "seg",
    "Match": {"Modality": "CT"},
    "Instances": {"Modality": "CT"},
    "Process": {"Command": ["/opt/seg"]},
    "Send": [{"To": "ARCHIVE", "When": "success"}, {"To": "WORKSTATION", "From": "Input", "Schedule": "19:00-07:00"}],
    "Delay": "5m",
}
ALL = {"Name": "all", "Match": {}, "Send": ["WORKSTATION"]}


class World:
    def __init__(self, store: Store, *rules: Mapping[str, object]) -> None:
        self.store = store
        self.orthanc = FakeOrthanc()
        settings = configured({"TimeZone": "UTC", "Rules": list(rules)})
        self.rules: dict[str, Rule] = {rule.name: rule for rule in settings.rules}
        self.routing = make_routing(store, self.orthanc, settings, lambda: NOW)

    def looked(self, study: str = "s") -> list[str]:
        made = self.routing.look_at(study, "StableStudy").deliveries
        return sorted(found(self.store, each).destination for each in made)


def test_a_rule_with_a_process_sends_nothing_before_it(store: Store) -> None:
    world = World(store, SEG)
    world.orthanc.receive("s", tags={"Modality": "CT"})
    assert world.looked() == [PROCESS]


def test_no_rule_looks_at_results_and_the_rest_of_their_study_is_what_it_was(store: Store) -> None:
    world = World(store, {"Name": "small", "Match": {"InstancesCount": 1}, "Send": ["ARCHIVE"]}, ALL)
    world.orthanc.receive("s", tags={"Modality": "CT"})
    result = world.orthanc.receive("s", series="seg", tags={"Modality": "SEG"})
    alone = world.orthanc.receive("t", tags={"Modality": "SEG"})
    store.runs.intend(1, PROCESS, [result, alone], rerouted=False)
    assert world.looked("s") == ["ARCHIVE", "WORKSTATION"]
    routed = world.routing.look_at("s", "StableStudy")
    assert routed.seen == world.orthanc.instances_of("s")  # for the intake it is settled
    skipped = world.routing.look_at("t", "StableStudy")
    assert skipped.deliveries == []
    assert skipped.verdicts[0]["Skipped"] == "It is the result of a process."


def test_rerouted_results_are_looked_at_and_do_not_go_in_again(store: Store) -> None:
    world = World(store, SEG | {"Instances": {}, "Match": {}}, ALL)
    result = world.orthanc.receive("t", tags={"Modality": "SEG"})
    store.runs.intend(1, PROCESS, [result], rerouted=True)
    assert world.looked("t") == ["WORKSTATION"]


def test_after_a_process_results_and_originals_go_where_the_rule_says(store: Store) -> None:
    world = World(store, SEG)
    world.orthanc.receive("s", tags={"Modality": "CT"})
    inside = world.orthanc.receive("s", series="seg", tags={"Modality": "SEG"})
    beside = world.orthanc.receive("t", tags={"Modality": "SEG"})
    (made,) = world.routing.look_at("s", "StableStudy").deliveries
    run = found(store, made)
    store.runs.intend(run.id, PROCESS, [inside, beside], rerouted=False)
    rule = world.rules["seg"]
    new = world.routing.after_process(run, rule, rule.final_sends)
    told = sorted((each.destination, each.subject.resource_id, each.results_of, each.instances_count) for each in new)
    assert told == [("ARCHIVE", "s", run.id, 1), ("ARCHIVE", "t", run.id, 1), ("WORKSTATION", "s", 0, 1)]
    assert all(each.due_at == NOW for each in new if each.destination == "ARCHIVE")  # the delay was before


def test_who_gets_anonymized_copies_gets_neither_results_nor_originals_of_a_process(store: Store) -> None:
    private = {"Name": "private", "Match": {}, "Anonymize": {"Keep": []}, "Send": ["ARCHIVE"]}
    world = World(store, SEG, private)
    world.orthanc.receive("s", tags={"Modality": "CT"})
    result = world.orthanc.receive("s", series="seg", tags={"Modality": "SEG"})
    run = found(store, enqueued(store, "s", destination=PROCESS, rule="seg"))
    store.runs.intend(run.id, PROCESS, [result], rerouted=False)
    rule = world.rules["seg"]
    new = world.routing.after_process(run, rule, rule.final_sends)
    assert [each.destination for each in new] == ["WORKSTATION"]


def test_a_delivery_brings_results_only_where_they_are_meant_to_go(store: Store) -> None:
    world = World(store, ALL)
    plain, result = instance(1), instance(2)
    store.runs.intend(7, PROCESS, [result.id], rerouted=False)
    of_study = found(store, enqueued(store, destination="A"))
    assert world.routing.visible(of_study, [plain, result]) == [plain]
    assert world.routing.visible(replace(of_study, results_of=7), [plain, result]) == [result]
    assert world.routing.visible(replace(of_study, results_of=8), [plain, result]) == []


class Failing(World):
    """A rule whose results go on whatever the command says, and a process that fails."""

    def __init__(self, store: Store, code: str = "ProcessFailed") -> None:
        super().__init__(store, SEG | {"Delay": "0s", "Send": ["ARCHIVE"]})
        self.orthanc.receive("s", tags={"Modality": "CT"})
        assert self.looked() == [PROCESS]
        self.run = store.queue.claim(PROCESS, "lease", NOW)
        assert self.run is not None
        # Its results enter the study while it runs, and make the study stable again.
        self.results = [self.orthanc.receive("s", series="seg", tags={"Modality": "SEG"}) for _ in range(2)]
        store.runs.intend(self.run.id, PROCESS, self.results, rerouted=False)
        assert self.looked() == []
        assert store.queue.fail(self.run, SendError.refusal(code, "It failed."), 0, 0, None, NOW)


def test_the_results_of_a_failed_run_do_not_make_it_run_again(store: Store) -> None:
    world = Failing(store)
    routed = world.routing.look_at("s", "StableStudy")
    assert routed.deliveries == []
    (told,) = cast(list[dict[str, str]], routed.verdicts[0]["NotSent"])
    assert told["Why"] == "The process has failed with all of it; it is run again by hand."
    assert world.routing.look_at("s", "Backfill").deliveries == []


def test_a_failed_run_is_made_again_by_hand_and_for_instances_that_it_did_not_have(store: Store) -> None:
    world = Failing(store)
    (again,) = world.routing.look_at("s", "ByHand").deliveries
    store.queue.cancel(again, NOW)
    assert world.looked() == []
    world.orthanc.receive("s", tags={"Modality": "CT"})
    (late,) = world.routing.look_at("s", "StableStudy").deliveries
    assert found(store, late).instances_count == 2


def test_a_run_that_could_not_be_made_is_made_at_the_next_look(store: Store) -> None:
    world = Failing(store, "OrthancUnreachable")
    assert world.looked() == [PROCESS]


# --- the transport ---------------------------------------------------------------------------------------------------


class Rest:
    """Orthanc, as far as a process asks."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.broken = False
        self.status = "Success"  # of what is posted
        self.meanwhile: bytes | None = None  # comes from elsewhere just before the next file of ours

    def get(self, path: str, timeout: float = 60.0) -> Any:
        return self.get_bytes(path)

    def get_bytes(self, path: str) -> bytes:
        try:
            return self.held[path.split("/")[2]]
        except KeyError:
            raise OrthancError(404, 17, "Unknown resource") from None

    def download(self, path: str, target: BinaryIO, body: object = None) -> None:
        target.write(b"DICM")

    def post_bytes(self, path: str, body: bytes, timeout: float) -> Any:
        if self.broken and self.held:
            raise OrthancUnreachableError("gone")
        made = orthanc_id(dcmread(io.BytesIO(body)))
        if self.status != "Success":
            return {"ID": made, "Status": self.status}
        if self.meanwhile is not None:
            self.held[made], self.meanwhile = self.meanwhile, None
            return {"ID": made, "Status": "AlreadyStored"}
        assert made not in self.held
        self.held[made] = body
        return {"ID": made, "Status": "Success"}

    def post(self, path: str, body: Any, timeout: float = 60.0) -> Any:
        assert path == "/tools/bulk-delete"
        for each in body["Resources"]:
            self.held.pop(each, None)

    def delete(self, path: str) -> None:
        del self.held[path.split("/")[2]]


class Follows:
    """The rule, as far as a process asks."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.followed: list[Outcome] = []
        self.takes_failed = False  # an entry of Send wants what a failed command wrote

    def outcome(self, run: int) -> Outcome | None:
        stored = self.store.runs.finished(run)
        return Outcome(stored.outcome) if stored else None

    def info(self, run: int) -> Mapping[str, object]:
        return {"CallingAET": "CT1"}

    def wants_output(self, run: int, outcome: Outcome) -> bool:
        return self.takes_failed or not outcome.failed

    def rerouted(self, run: int) -> bool:
        return False

    def follow(self, run: int) -> None:
        outcome = self.outcome(run)
        assert outcome is not None
        self.followed.append(outcome)


def dicom(uid: str = "") -> bytes:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    made.PatientID, made.StudyInstanceUID, made.SeriesInstanceUID = "P1", "1.2", "1.2.3"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = uid or generate_uid()
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class Machine:
    def __init__(self, store: Store, root: Path) -> None:
        self.store, self.root, self.rest, self.follows = store, root, Rest(), Follows(store)
        self.ended: queue.Queue[tuple[str, JobState]] = queue.Queue()
        self.prepared = root / "prepared"
        self.prepared.mkdir()
        jobs = OwnJobs(lambda job_id, state: self.ended.put((job_id, state)))
        self.transport = ProcessTransport(
            cast(OrthancRest, self.rest),
            jobs,
            store.runs,
            self.follows,
            root / "processing",
            lambda: NOW,
            patient_data=True,
        )
        self.run = claimed(store, destination=PROCESS).id

    def make(self, code: str, count: int = 2, timeout: float = 60.0) -> JobReport:
        # What is in `prepared` is taken for the command's own work.
        work = f"import os, shutil\nshutil.copytree({str(self.prepared)!r}, 'OUTPUT', dirs_exist_ok=True)\n{code}"
        command = (sys.executable, "-c", work)
        destination = Destination(PROCESS, "x", kind=Kind.PROCESS, command=command, timeout=timeout, delivery=self.run)
        job_id = self.transport.submit(destination, [instance(number) for number in range(count)])
        assert self.ended.get(timeout=LIMIT)[0] == job_id
        assert not (self.root / "processing" / str(self.run)).exists()
        return self.transport.report(job_id, count)


SAY = """open('proc.json', 'w').write('[{"success": "success"}]')"""


@pytest.fixture
def machine(store: Store, tmp_path: Path) -> Machine:
    return Machine(store, tmp_path)


def test_results_enter_orthanc_known_as_such_and_the_rest_is_named(machine: Machine, store: Store) -> None:
    machine.prepared.joinpath("a").write_bytes(dicom("1.1"))
    machine.prepared.joinpath("b").write_bytes(dicom("1.2"))
    machine.prepared.joinpath("c").write_text("no DICOM")
    assert machine.make(SAY) == JobReport(JobState.SUCCESS, 2)
    assert store.runs.owned(machine.run) == set(machine.rest.held)
    assert len(machine.rest.held) == 2
    stored = store.runs.finished(machine.run)
    assert stored is not None
    assert stored.rejected == ("c is no DICOM file",)
    assert [each.entries for each in machine.follows.followed] == [GOOD]


def test_what_is_in_orthanc_already_is_never_replaced_nor_deleted(machine: Machine, store: Store) -> None:
    same, other = dicom("1.1"), dicom("1.2")
    ids = [orthanc_id(dcmread(io.BytesIO(each))) for each in (same, other)]
    machine.rest.held = {ids[0]: same, ids[1]: b"an original with these UIDs"}
    machine.prepared.joinpath("same").write_bytes(same)
    machine.prepared.joinpath("twice").write_bytes(same)
    machine.prepared.joinpath("other").write_bytes(other)
    before = dict(machine.rest.held)
    assert machine.make(SAY).state is JobState.SUCCESS
    assert machine.rest.held == before
    assert store.runs.results(machine.run) == {ids[0]}
    assert store.runs.owned(machine.run) == set()
    stored = store.runs.finished(machine.run)
    assert stored is not None
    assert stored.rejected == ("other has the UIDs of another instance that is in Orthanc",)


@pytest.mark.parametrize("same", [True, False])
def test_what_comes_from_elsewhere_while_results_are_taken_in_is_not_ours(
    machine: Machine, store: Store, *, same: bool
) -> None:
    result = dicom("1.1")
    made = orthanc_id(dcmread(io.BytesIO(result)))
    machine.rest.meanwhile = theirs = result if same else b"an original with these UIDs"
    machine.prepared.joinpath("a").write_bytes(result)
    assert machine.make(SAY).state is JobState.SUCCESS
    assert machine.rest.held == {made: theirs}
    assert store.runs.owned(machine.run) == set()
    assert store.runs.results(machine.run) == ({made} if same else set())
    stored = store.runs.finished(machine.run)
    assert stored is not None
    assert stored.rejected == (() if same else ("a has the UIDs of another instance that is in Orthanc",))


def test_a_result_that_a_filter_of_orthanc_discards_is_none(machine: Machine, store: Store) -> None:
    machine.rest.status = "FilteredOut"
    machine.prepared.joinpath("a").write_bytes(dicom("1.1"))
    assert machine.make(SAY).state is JobState.SUCCESS
    assert store.runs.results(machine.run) == set()
    stored = store.runs.finished(machine.run)
    assert stored is not None
    assert stored.rejected == ("a was not taken by Orthanc: FilteredOut",)


def test_a_file_that_comes_twice_is_one_result(machine: Machine, store: Store) -> None:
    for name in ("a", "b"):
        machine.prepared.joinpath(name).write_bytes(dicom("1.1"))
    machine.make(SAY)
    assert store.runs.owned(machine.run) == set(machine.rest.held)
    assert len(machine.rest.held) == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "no proc.json"),
        (f"{SAY}; raise SystemExit(5)", "exit code 5"),
        ("open('proc.json', 'w').write('x')", "is not JSON"),
        ("os.kill(os.getpid(), 9)", "signal 9"),
    ],
)
def test_what_fails_is_failed_for_good_and_brings_nothing_in(machine: Machine, code: str, words: str) -> None:
    machine.prepared.joinpath("a").write_bytes(dicom())
    report = machine.make(code)
    assert report.error is not None
    assert (report.accepted, report.error.code, report.error.permanent) == (0, "ProcessFailed", True)
    assert words in report.error.message
    assert machine.rest.held == {}
    assert len(machine.follows.followed) == 1


def test_what_a_failed_command_wrote_is_taken_where_the_rule_wants_it(machine: Machine) -> None:
    machine.follows.takes_failed = True
    machine.prepared.joinpath("a").write_bytes(dicom())
    assert machine.make("raise SystemExit(2)").state is JobState.FAILURE
    assert len(machine.rest.held) == 1


def test_what_a_timeout_has_cut_off_is_never_taken(machine: Machine, store: Store) -> None:
    machine.follows.takes_failed = True
    machine.prepared.joinpath("a").write_bytes(dicom())
    report = machine.make("import time; print('working', flush=True); time.sleep(60)", timeout=2.0)
    assert report.error is not None
    assert "did not end within 2 s" in report.error.message
    assert machine.rest.held == {}
    stored = store.runs.finished(machine.run)
    assert stored is not None
    assert stored.output == "working\n"


def test_a_run_that_was_cut_off_is_made_anew_without_what_it_had_brought(machine: Machine, store: Store) -> None:
    for name in ("a", "b"):
        machine.prepared.joinpath(name).write_bytes(dicom())
    machine.rest.broken = True
    report = machine.make(SAY)
    assert report.error is not None
    assert (report.error.code, report.error.permanent) == ("OrthancUnreachable", False)
    assert len(machine.rest.held) == 1
    machine.rest.broken = False
    assert machine.make(SAY).state is JobState.SUCCESS
    assert len(machine.rest.held) == 2
    assert store.runs.owned(machine.run) == set(machine.rest.held)
    assert len(machine.follows.followed) == 1


def test_a_run_that_has_ended_is_not_made_again_unless_more_went_in(machine: Machine) -> None:
    count = f"{SAY}; open({str(machine.root / 'runs')!r}, 'a').write('x')"
    for _ in range(3):
        assert machine.make(count).state is JobState.SUCCESS
    assert machine.root.joinpath("runs").read_text() == "x"
    machine.make(count, count=3)
    assert machine.root.joinpath("runs").read_text() == "xx"


def test_what_outlived_a_crash_is_removed_at_the_start(machine: Machine) -> None:
    left = machine.root / "processing" / "99"
    left.mkdir(parents=True)
    left.joinpath("info.json").touch()
    machine.transport.tidy()
    assert not left.exists()


def test_a_result_of_an_earlier_run_is_taken_over(machine: Machine, store: Store) -> None:
    old, changed = dicom("1.1"), dicom("1.1") + b"\x30\x00\x10\x00LO\x02\x00x "
    made = orthanc_id(dcmread(io.BytesIO(old)))
    machine.rest.held = {made: old}
    store.runs.intend(99, PROCESS, [made], rerouted=False)
    machine.prepared.joinpath("a").write_bytes(changed)
    assert machine.make(SAY).state is JobState.SUCCESS
    assert machine.rest.held == {made: changed}
    assert store.runs.owned(machine.run) == {made}
