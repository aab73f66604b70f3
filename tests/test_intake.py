# SPDX-License-Identifier: AGPL-3.0-or-later
"""From the change log to studies that are looked at: whatever was received is looked at after its last instance."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_router.intake.intake import KEEP_SECONDS, SAFETY_POLL_SECONDS, Intake, IntakeThread, Tenure
from dicom_router.intake.settling import GRACE_SECONDS, RETRY_SECONDS
from dicom_router.orthanc_rest import OrthancError
from dicom_router.store.database import LOST
from dicom_router.store.journal import Position
from dicom_router.store.roles import NotOursError
from fakes.orthanc import FakeOrthanc, unreachable

STABLE_AGE = 60.0
LONG = STABLE_AGE + GRACE_SECONDS + 1


class CrashError(BaseException):
    """kill -9: nothing catches it."""


@dataclass
class World:
    """An Orthanc, what the router keeps on disk, and the router's process."""

    orthanc: FakeOrthanc = field(default_factory=FakeOrthanc)
    kept: Position | None = None
    looks: list[tuple[str, str, frozenset[tuple[str, int]]]] = field(default_factory=list)  # study, trigger, content
    now: float = 1000.0
    failing: set[str] = field(default_factory=set)  # studies that cannot be looked at
    crash_in: int | None = None  # steps until kill -9
    logged: list[str] = field(default_factory=list)
    triggers: frozenset[str] = frozenset()
    tenure: Tenure | None = None  # there are several Orthancs
    intake: Any = None

    # The Positions of the intake, and its LookAt

    def position(self) -> Position | None:
        return self.kept

    def move(self, position: Position) -> None:
        self._step()
        self.kept = position
        self._step()

    def look_at(self, study: str, trigger: str, position: Position) -> set[str]:
        self._step()
        if study in self.failing:
            raise RuntimeError("database is locked")
        stored = self.orthanc.instances.items()
        seen = {key for key, each in stored if study in (key, each.series, each.study)}
        self.looks.append((study, trigger, self.held(study)))
        self.kept = position  # one transaction with the decision
        self._step()
        return seen

    def get(self, path: str) -> Any:
        self._step()
        return self.orthanc.get(path)

    def is_ours(self) -> bool:
        return self.orthanc.marked

    def write(self) -> None:
        self._step()
        self.orthanc.marked = True

    def post(self, path: str, body: object, timeout: float = 60.0) -> Any:
        self._step()
        return self.orthanc.post(path, body)

    def ask(self, path: str, body: object) -> Any:
        return self.post(path, body)

    def _step(self) -> None:
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0:
                self.crash_in = None
                raise CrashError

    # What a test does

    def start(self) -> None:
        self.intake = Intake(
            self,  # type: ignore[arg-type]
            self,
            self,
            self.look_at,
            STABLE_AGE,
            self.logged.append,
            lambda: self.triggers,
            self.tenure,
        )
        self.intake.begin(self.now)

    def poll(self) -> float:
        return float(self.intake.poll(self.now))

    def wait(self, seconds: float = LONG) -> None:
        self.now += seconds
        self.poll()

    def settle(self) -> None:
        """Long enough for everything that is still to be looked at."""
        for _ in range(6):
            self.wait()

    def studies(self) -> list[str]:
        return [study for study, _, _ in self.looks]

    def settled(self, study: str) -> bool:
        """Some look has seen all that the study holds."""
        return any(each == study and seen == self.held(study) for each, _, seen in self.looks)

    def held(self, study: str) -> frozenset[tuple[str, int]]:
        stored = self.orthanc.instances.items()
        return frozenset((key, each.revision) for key, each in stored if study in (key, each.series, each.study))


@pytest.fixture
def world() -> World:
    made = World()
    made.start()
    return made


# --- where reading begins ------------------------------------------------------------------------------------------


def test_the_first_start_begins_at_the_end_of_the_log() -> None:
    world = World()
    world.orthanc.receive("old")
    world.orthanc.stable("old")
    world.orthanc.receive("quiet-since-years")
    world.start()
    world.settle()
    assert world.looks == []


def test_the_first_start_is_remembered_at_once() -> None:
    world = World()
    world.orthanc.receive("old")
    world.start()
    assert world.kept is not None
    assert (world.kept.seq, world.kept.settled_seq) == (world.orthanc.last, world.orthanc.last)


def test_a_restart_goes_on_where_it_was(world: World) -> None:
    world.orthanc.receive("s")
    world.orthanc.stable("s")
    world.poll()
    world.start()
    world.settle()
    assert world.studies() == ["s"]


# --- stable rows -----------------------------------------------------------------------------------------------------


def test_a_stable_study_is_looked_at_at_once(world: World) -> None:
    world.orthanc.receive("s")
    world.orthanc.stable("s")
    world.poll()
    assert world.looks == [("s", "StableStudy", frozenset({("s-a-1", 0)}))]


def test_a_study_that_is_stable_again_is_looked_at_again(world: World) -> None:
    for _ in range(2):
        world.orthanc.receive("s")
        world.orthanc.stable("s")
        world.poll()
    world.settle()
    assert [len(seen) for _, _, seen in world.looks] == [1, 2]


def test_a_study_is_not_looked_at_while_it_is_received(world: World) -> None:
    for _ in range(10):
        world.orthanc.receive("s")
        world.wait(STABLE_AGE / 2)
    assert world.looks == []
    world.orthanc.stable("s")
    world.poll()
    assert world.studies() == ["s"]


def test_a_long_log_is_read_in_pages(world: World) -> None:
    for number in range(1300):
        world.orthanc.receive(f"s{number}")
        world.orthanc.stable(f"s{number}")
    world.poll()
    assert world.studies() == [f"s{number}" for number in range(1300)]


# --- the quiet timer -------------------------------------------------------------------------------------------------


def test_instances_that_never_became_stable_are_looked_at_by_the_quiet_timer(world: World) -> None:
    world.orthanc.receive("s")
    world.poll()
    world.orthanc.restart()
    world.wait(STABLE_AGE / 2)
    assert world.looks == []
    world.wait()
    assert world.looks == [("s", "Quiet", frozenset({("s-a-1", 0)}))]


def test_the_quiet_timer_outlives_a_restart_of_both(world: World) -> None:
    world.orthanc.receive("s")
    world.poll()
    world.orthanc.restart()
    world.start()
    world.settle()
    assert world.looks == [("s", "Quiet", frozenset({("s-a-1", 0)}))]


def test_the_quiet_timer_lets_orthanc_go_first(world: World) -> None:
    world.orthanc.receive("s")
    world.poll()
    world.wait()
    assert world.looks == []  # Orthanc still says that it is not stable
    world.orthanc.stable("s")
    world.poll()
    world.settle()
    assert [trigger for _, trigger, _ in world.looks] == ["StableStudy"]


def test_instances_after_the_last_stable_row_are_looked_at(world: World) -> None:
    world.orthanc.receive("s")
    world.orthanc.stable("s")
    world.poll()
    world.orthanc.receive("s")
    world.orthanc.restart()
    world.start()
    world.settle()
    assert world.settled("s")


def test_an_overwritten_instance_does_not_hide_the_ones_between(world: World) -> None:
    world.orthanc.receive("s", instance="again")
    world.orthanc.receive("between")
    world.orthanc.receive("s", instance="again")
    world.poll()
    world.orthanc.restart()
    world.start()
    world.settle()
    assert world.settled("between")
    assert world.settled("s")


def test_deleted_resources_are_let_go(world: World) -> None:
    world.orthanc.receive("gone")
    world.poll()
    world.orthanc.delete_study("gone")
    world.settle()
    assert world.looks == []
    assert world.kept == Position(world.orthanc.last, world.orthanc.last, world.orthanc.changes[-1]["Date"])


def test_polling_again_is_due_within_the_safety_time(world: World) -> None:
    assert world.poll() == world.now + SAFETY_POLL_SECONDS


# --- what fails ------------------------------------------------------------------------------------------------------


def test_one_study_that_fails_does_not_stop_the_others_and_is_retried(world: World) -> None:
    world.failing = {"bad"}
    for study in ("bad", "good"):
        world.orthanc.receive(study)
        world.orthanc.stable(study)
    world.poll()
    assert world.studies() == ["good"]
    assert any("bad" in line for line in world.logged)
    world.wait(RETRY_SECONDS + 1)
    assert world.studies() == ["good"]
    world.failing = set()
    world.wait(RETRY_SECONDS + 1)
    assert world.studies() == ["good", "bad"]


@pytest.mark.parametrize("fails_for", [0.0, RETRY_SECONDS + 1, 3 * LONG])
def test_a_study_that_could_not_be_looked_at_before_a_crash_is_looked_at_after_it(
    world: World, fails_for: float
) -> None:
    world.failing = {"bad"}
    world.orthanc.receive("bad")
    world.orthanc.stable("bad")
    world.orthanc.receive("good")
    world.orthanc.stable("good")
    world.poll()
    for _ in range(int(fails_for // (RETRY_SECONDS + 1))):
        world.wait(RETRY_SECONDS + 1)
    world.failing = set()
    world.start()  # after kill -9
    world.settle()
    assert world.settled("bad")


def test_a_quiet_study_that_cannot_be_asked_for_does_not_stop_the_others(world: World) -> None:
    for study in ("a-bad", "good"):
        world.orthanc.receive(study)
    world.poll()
    world.orthanc.restart()
    world.orthanc.failures["/studies/a-bad"] = OrthancError(500, 11, "Error with the database engine")
    for _ in range(3):
        world.wait()
    assert world.studies() == ["good"]
    world.orthanc.failures.clear()
    world.settle()
    assert world.settled("a-bad")


def test_rows_that_could_not_be_read_are_read_later(world: World) -> None:
    world.orthanc.receive("s")
    world.orthanc.stable("s")
    world.orthanc.failures["/changes"] = unreachable()
    with pytest.raises(type(unreachable())):
        world.poll()
    world.orthanc.failures.clear()
    world.poll()
    assert world.studies() == ["s"]


def test_instances_that_could_not_be_mapped_are_mapped_later(world: World) -> None:
    world.orthanc.receive("s")
    world.poll()
    world.orthanc.restart()
    world.orthanc.failures["/tools/bulk-content"] = unreachable()
    with pytest.raises(type(unreachable())):
        world.wait()
    world.orthanc.failures.clear()
    world.settle()
    assert world.settled("s")


# --- several Orthancs over one index ---------------------------------------------------------------------------------


class FakeRole:
    """A task that this Orthanc has, or another one."""

    def __init__(self) -> None:
        self.term = 1
        self.ours = True
        self.renewed = 0

    def hold(self, _now: float) -> int | None:
        return self.term if self.ours else None

    def renew(self, _now: float) -> None:
        self.renewed += 1

    def leave(self) -> None:
        self.ours = False

    def another_had_it(self) -> None:
        self.term += 1


@pytest.fixture
def role() -> FakeRole:
    return FakeRole()


@pytest.fixture
def shared(role: FakeRole) -> World:
    made = World()
    made.tenure = Tenure(role, lambda: made.now)
    made.tenure.begin()
    made.start()
    made.tenure.end()
    return made


def hide(world: World, *kinds: str) -> list[dict[str, Any]]:
    """Rows of transactions that have not ended, though later ones have."""
    hidden = [row for row in world.orthanc.changes if row["ChangeType"] in kinds]
    world.orthanc.changes = [row for row in world.orthanc.changes if row["ChangeType"] not in kinds]
    return hidden


def appear(world: World, hidden: list[dict[str, Any]]) -> None:
    world.orthanc.changes = sorted([*world.orthanc.changes, *hidden], key=lambda row: row["Seq"])


@pytest.mark.parametrize("restarted", [False, True])
def test_a_row_that_appears_among_those_read_before_is_not_missed(shared: World, restarted: bool) -> None:
    shared.orthanc.receive("s")
    shared.orthanc.stable("s")
    hidden = hide(shared, "NewInstance", "StableStudy")
    shared.orthanc.receive("later")
    shared.poll()
    assert shared.studies() == []
    if restarted:
        shared.start()
    appear(shared, hidden)
    shared.poll()
    assert shared.studies() == ["s"]
    shared.poll()
    assert shared.studies() == ["s"]


@pytest.mark.parametrize("restarted", [False, True])
def test_an_instance_that_appears_late_is_settled_by_the_own_timer(shared: World, restarted: bool) -> None:
    shared.orthanc.receive("s")
    hidden = hide(shared, "NewInstance")
    shared.orthanc.receive("later")
    shared.poll()
    appear(shared, hidden)
    shared.poll()
    shared.orthanc.restart()
    if restarted:
        shared.start()
    shared.settle()
    assert shared.settled("s")
    assert shared.settled("later")


def test_what_never_appears_holds_nothing_back(shared: World) -> None:
    shared.orthanc.receive("given-up")
    hide(shared, "NewInstance")
    shared.orthanc.receive("s")
    shared.orthanc.stable("s")
    shared.poll()
    assert shared.studies() == ["s"]
    shared.settle()
    assert shared.kept is not None
    assert shared.kept.settled_seq == shared.kept.seq == shared.orthanc.last


def test_a_study_that_another_orthanc_receives_is_not_looked_at_in_the_middle(shared: World) -> None:
    shared.orthanc.receive("s")
    shared.orthanc.restart()  # this Orthanc does not receive it, and so calls it stable
    for _ in range(5):
        shared.wait()
        assert shared.looks == []
        shared.orthanc.receive("s")
        shared.orthanc.restart()
    shared.settle()
    assert shared.settled("s")
    assert shared.studies() == ["s"]


def test_one_who_lost_the_task_in_a_long_round_stops_reading(shared: World, role: FakeRole) -> None:
    shared.orthanc.receive("s")
    shared.orthanc.stable("s")
    role.another_had_it()
    shared.now += KEEP_SECONDS + 1
    with pytest.raises(NotOursError):
        shared.poll()
    assert shared.looks == []


def rounds(world: World) -> IntakeThread:
    return IntakeThread(world.intake, lambda: world.now, world.logged.append, world.tenure)


def test_a_stop_waits_for_the_look_under_way_and_not_for_the_whole_backlog() -> None:
    world = World()
    world.start()
    for number in range(5):
        world.orthanc.receive(f"s{number}")
        world.orthanc.stable(f"s{number}")
    thread = rounds(world)

    def look_at(study: str, trigger: str, position: Position) -> set[str]:
        if study == "s1":
            world.intake.end()
        return world.look_at(study, trigger, position)

    world.intake._look_at = look_at
    thread._round()
    assert [study for study, *_ in world.looks] == ["s0", "s1"]
    world.start()
    world.settle()
    assert {f"s{number}" for number in range(5)} <= set(world.studies())
    assert not [line for line in world.logged if "could not" in line]


def test_the_task_is_renewed_during_a_round_and_not_between_two(
    shared: World, role: FakeRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread, tenure = rounds(shared), shared.tenure
    assert tenure is not None
    shared.orthanc.receive("s")
    shared.orthanc.stable("s")

    def slow(*_: object) -> set[str]:
        tenure.renew()
        raise RuntimeError("and then it failed")

    monkeypatch.setattr(shared.intake, "_look_at", slow)
    thread._round()
    assert role.renewed == 1
    tenure.renew()
    assert role.renewed == 1


def test_while_another_has_the_task_nothing_is_read(shared: World, role: FakeRole) -> None:
    thread = rounds(shared)
    role.ours = False
    shared.orthanc.receive("s")
    shared.orthanc.stable("s")
    asked = len(shared.orthanc.calls)
    thread._round()
    assert (shared.looks, len(shared.orthanc.calls)) == ([], asked)
    role.ours = True
    thread._round()
    assert shared.studies() == ["s"]


def test_who_takes_over_begins_where_the_other_one_was(shared: World, role: FakeRole) -> None:
    thread = rounds(shared)
    thread._round()
    shared.orthanc.receive("s")
    shared.orthanc.stable("s")
    role.another_had_it()
    shared.kept = Position(shared.orthanc.last, shared.orthanc.last, "20261122T050000")
    thread._round()
    assert shared.looks == []


def test_after_the_database_was_lost_reading_begins_anew(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = rounds(shared)
    thread._round()
    shared.orthanc.receive("s")
    shared.orthanc.stable("s")

    def lost(*_: object) -> set[str]:
        raise LOST[0]("the server closed the connection")

    with monkeypatch.context() as patched:
        patched.setattr(shared.intake, "_look_at", lost)
        thread._round()
        thread._round()
    assert len([line for line in shared.logged if "database does not answer" in line]) == 1
    thread._round()
    assert shared.studies() == ["s"]


# --- a change log that is not what it was ----------------------------------------------------------------------------


def test_a_cleared_log_loses_nothing_that_comes_after(world: World) -> None:
    world.orthanc.receive("before")
    world.orthanc.stable("before")
    world.poll()
    world.orthanc.clear_changes()
    world.start()
    world.poll()
    world.orthanc.receive("after")
    world.orthanc.stable("after")
    world.poll()
    assert world.studies() == ["before", "after"]


def test_a_log_cleared_while_instances_are_unsettled_does_not_lose_them(world: World) -> None:
    world.orthanc.receive("s")
    world.poll()
    world.orthanc.clear_changes()
    world.settle()
    world.orthanc.stable("s")
    world.poll()
    assert world.settled("s")


def test_rows_that_went_with_their_study_do_not_hide_what_is_unsettled(world: World) -> None:
    world.orthanc.receive("unsettled")
    world.orthanc.receive("sent")
    world.orthanc.stable("sent")
    world.poll()
    world.orthanc.delete("sent")
    world.orthanc.restart()
    world.start()
    world.settle()
    assert world.settled("unsettled")


def test_a_log_that_was_made_anew_is_read_from_its_start(world: World) -> None:
    for number in range(20):
        world.orthanc.receive(f"s{number}")
    world.orthanc.stable("s0")
    world.poll()
    fresh = FakeOrthanc(now=world.orthanc.now)
    world.orthanc = fresh
    fresh.receive("new")
    fresh.stable("new")
    world.looks.clear()
    world.start()
    world.poll()
    assert world.studies() == ["new"]


def test_a_restored_older_index_does_not_send_the_past_again(world: World) -> None:
    world.orthanc.receive("past")
    world.orthanc.stable("past")
    backup = FakeOrthanc(
        instances=dict(world.orthanc.instances),
        study_tags=dict(world.orthanc.study_tags),
        series_tags=dict(world.orthanc.series_tags),
        changes=list(world.orthanc.changes),
        last=world.orthanc.last,
        marked=True,
    )
    for _ in range(5):
        world.orthanc.receive("lost-with-the-disk")
    world.poll()
    backup.now = world.orthanc.now
    world.orthanc = backup
    world.looks.clear()
    world.start()
    world.poll()
    backup.receive("new")
    backup.stable("new")
    world.settle()
    assert world.studies() == ["new"]


# --- the promise: nothing is lost ------------------------------------------------------------------------------------

STUDIES = st.sampled_from(["s1", "s2", "s3"])
STEP = st.one_of(
    st.tuples(st.just("receive"), STUDIES),
    st.tuples(st.just("receive again"), STUDIES),
    st.tuples(st.just("stable"), STUDIES),
    st.tuples(st.just("delete"), STUDIES),
    st.tuples(st.just("fail"), STUDIES),
    st.tuples(st.just("heal"), st.none()),
    st.tuples(st.just("poll"), st.sampled_from([0.0, 1.0, RETRY_SECONDS + 1, LONG])),
    st.tuples(st.just("kill the router"), st.none()),
    st.tuples(st.just("restart Orthanc"), st.none()),
)
LOG = st.lists(st.tuples(STEP, st.one_of(st.none(), st.integers(0, 12))), max_size=30)


def carry_out(world: World, step: tuple[str, Any]) -> None:
    what, value = step
    orthanc = world.orthanc
    if what == "receive":
        orthanc.receive(value)
    elif what == "receive again" and orthanc.instances_of(value):
        orthanc.receive(value, instance=min(orthanc.instances_of(value)))
    elif what == "stable" and value in orthanc.unstable:
        orthanc.stable(value)
    elif what == "delete":
        orthanc.delete_study(value)
    elif what == "fail":
        world.failing.add(value)
    elif what == "heal":
        world.failing.clear()
    elif what == "poll":
        world.wait(value)
    elif what == "restart Orthanc":
        orthanc.restart()
        world.start()
    elif what == "kill the router":
        world.start()


TRIGGERS = st.sampled_from([frozenset(), frozenset({"StableSeries"}), frozenset({"StableSeries", "NewInstance"})])


@given(log=LOG, before=st.integers(0, 3), triggers=TRIGGERS)
@settings(max_examples=250, deadline=None)
def test_every_study_is_looked_at_after_its_last_instance_whenever_the_router_is_killed(
    log: list[tuple[tuple[str, Any], int | None]], before: int, triggers: frozenset[str]
) -> None:
    world = World(triggers=triggers)
    for _ in range(before):
        world.orthanc.receive("old")
    world.start()
    for step, crash_in in log:
        world.crash_in = crash_in if step[0] in {"poll", "kill the router", "restart Orthanc"} else None
        try:
            carry_out(world, step)
        except CrashError:
            world.crash_in = None
            world.start()
        world.crash_in = None
    world.failing.clear()
    world.orthanc.restart()
    world.start()
    world.settle()
    for study in ("s1", "s2", "s3"):
        assert not world.orthanc.instances_of(study) or world.settled(study)
        if "StableSeries" in triggers and world.orthanc.instances_of(study):
            assert world.settled(f"{study}-a")
    assert "old" not in world.studies()
    assert world.kept is not None
    assert world.kept.settled_seq == world.kept.seq == world.orthanc.last
