# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sending over HTTP: Orthanc's jobs first; what they leave unsaid, the server is asked itself."""

import queue
import threading
from collections.abc import Callable

import pytest

from builders import instance
from dicom_router.deliveries.instance import Instance
from dicom_router.deliveries.outcome import ErrorClass, Scope, SendError, of_http_status
from dicom_router.destination import Destination, Kind
from dicom_router.orthanc_rest import OrthancError
from dicom_router.rendering.renderer import Renderer
from dicom_router.transports.by_kind import TransportsByKind
from dicom_router.transports.directory import Directory
from dicom_router.transports.followed_jobs import FollowedJobs
from dicom_router.transports.http_node import HttpNode, NotReachedError
from dicom_router.transports.http_transport import HttpTransport
from dicom_router.transports.own_jobs import PREFIX, OwnJobs
from dicom_router.transports.transport import JobReport, JobState
from fakes.http_ways import DOWN, GONE, URL, FakeRest, FakeService

AWAY = Destination("AWAY", "away", kind=Kind.PEER)
SILENT = SendError(ErrorClass.TRANSIENT, Scope.ASSOCIATION, "Timeout", "no answer")
NOBODY = SendError(ErrorClass.TRANSIENT, Scope.DESTINATION, "NoOrthanc", "No Orthanc answers at this URL.")
TOO_LARGE = of_http_status(413)
LIMIT = 10.0  # seconds


class Away:
    """A transport, its Orthanc, and the server."""

    def __init__(self) -> None:
        self.rest = FakeRest()
        self.service = FakeService(self.rest)
        self.ended: queue.Queue[tuple[str, JobState]] = queue.Queue()
        self.own_jobs = OwnJobs(lambda job_id, state: self.ended.put((job_id, state)))
        self.followed = FollowedJobs(self.rest)
        absent = "There is no plugin for it."
        directory = Directory(self.rest, self.service.noun, "/away?expand", absent, {"away": HttpNode(URL)})
        self.transport = HttpTransport(self.rest, self.service, directory, self.own_jobs, self.followed)

    def send(self, count: int) -> JobReport:
        """What became of a job of so many instances."""
        job_id = self.transport.submit(AWAY, instances(count))
        assert self.ended.get(timeout=LIMIT)[0] == job_id
        return self.transport.report(job_id, count)


@pytest.fixture
def away() -> Away:
    return Away()


def instances(count: int) -> list[Instance]:
    return [instance(number) for number in range(count)]


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_a_job_of_orthancs_carries_all(away: Away) -> None:
    assert away.send(100) == JobReport(JobState.SUCCESS, 100)
    assert away.service.batches == [100]
    assert away.service.direct == []


def test_our_job_has_the_id_of_orthancs_so_that_it_is_found_after_a_restart(away: Away) -> None:
    job_id = away.transport.submit(AWAY, instances(3))
    assert job_id == f"{PREFIX}job1"
    away.ended.get(timeout=LIMIT)

    class OfOrthanc:
        def __init__(self) -> None:
            self.canceled: list[str] = []

        def report(self, its_id: str, count: int) -> JobReport:
            return JobReport(JobState.FAILURE, 2)

        def pause(self, its_id: str, count: int) -> JobReport | None:
            return None

        def cancel(self, its_id: str) -> None:
            self.canceled.append(its_id)

    orthanc = OfOrthanc()
    next_life = TransportsByKind(orthanc, {}, OwnJobs(lambda *_: None), Renderer(away.rest, lambda: b""))
    next_life.cancel(job_id)
    assert orthanc.canceled == ["job1"]
    assert next_life.report(job_id, 3).accepted == 2


def test_what_a_stranger_takes_in_a_peers_place_has_not_arrived(away: Away) -> None:
    """Orthanc's job is content with a login page."""
    away.service.jobs_trust_anyone = away.service.runs_on = True
    away.service.greeting = NOBODY
    assert away.send(5) == JobReport(JobState.FAILURE, 0, NOBODY)
    assert away.rest.told == ["/jobs/job1/cancel"]
    assert away.transport.try_one(AWAY, instance(1, size=65 * 1024 * 1024)) == NOBODY
    assert away.service.batches == [5]


@pytest.mark.parametrize("greeting", [None, of_http_status(403), NotReachedError(DOWN, refused=True)])
def test_a_peer_that_only_does_not_greet_gets_its_job(away: Away, greeting: SendError | NotReachedError | None) -> None:
    """Its user may be allowed to send and nothing else, or Orthanc knows a way that we have not."""
    away.service.jobs_trust_anyone = True
    if isinstance(greeting, NotReachedError):
        away.service.reach = greeting
    else:
        away.service.greeting = greeting
    assert away.send(5) == JobReport(JobState.SUCCESS, 5)


def test_large_batches_go_in_several_jobs(away: Away) -> None:
    away.service.most = 50
    assert away.send(120) == JobReport(JobState.SUCCESS, 120)
    assert away.service.batches == [50, 50, 20]


def test_a_batch_is_limited_by_its_bytes_too_and_holds_one_at_least(away: Away) -> None:
    away.service.largest = 2500  # an instance has 1000 bytes
    away.send(5)
    assert away.service.batches == [2, 2, 1]
    away.service.largest = 10
    away.send(2)
    assert away.service.batches[3:] == [1, 1]


def test_what_a_job_says_of_its_failure_is_believed(away: Away) -> None:
    away.service.job_error = DOWN
    assert away.send(5) == JobReport(JobState.FAILURE, 0, DOWN)
    assert away.service.direct == []


@pytest.mark.parametrize("tells_progress", [True, False])
def test_what_an_unexplained_failure_leaves_goes_one_by_one_and_the_refused_one_is_named(
    away: Away, tells_progress: bool
) -> None:
    bad = instances(10)[7].id
    away.service.tells_progress = tells_progress
    away.service.refused[bad] = TOO_LARGE
    assert away.send(10) == JobReport(JobState.FAILURE, 7, TOO_LARGE)
    first = 7 if tells_progress else 0
    assert away.service.direct == [each.id for each in instances(10)[first:8]]


def test_where_jobs_fail_and_single_instances_arrive_the_jobs_become_smaller_and_larger_again(away: Away) -> None:
    away.service.jobs_fail = True
    assert away.send(40) == JobReport(JobState.SUCCESS, 40)
    assert away.service.batches == [40]
    away.service.jobs_fail = False
    assert away.send(100) == JobReport(JobState.SUCCESS, 100)
    assert away.service.batches[1:] == [20, 40, 40]


def test_a_job_that_left_orthancs_history_is_known_by_its_event(away: Away) -> None:
    away.service.runs_on = True
    job_id = away.transport.submit(AWAY, instances(3))
    assert away.rest.looked.wait(LIMIT)
    away.followed.tell("job1", JobState.SUCCESS)
    del away.rest.jobs["job1"]
    away.ended.get(timeout=LIMIT)
    assert away.transport.report(job_id, 3) == JobReport(JobState.SUCCESS, 3)
    assert away.service.direct == []


def test_a_job_that_is_gone_without_a_word_is_sent_again_one_by_one(away: Away) -> None:
    away.service.runs_on = True
    job_id = away.transport.submit(AWAY, instances(3))
    assert away.rest.looked.wait(LIMIT)
    del away.rest.jobs["job1"]
    away.ended.get(timeout=LIMIT)
    assert away.transport.report(job_id, 3) == JobReport(JobState.SUCCESS, 3)
    assert len(away.service.direct) == 3


def test_a_job_of_instances_that_are_gone_is_no_success(away: Away) -> None:
    away.service.runs_on = True
    job_id = away.transport.submit(AWAY, instances(3))
    away.rest.jobs["job1"] = away.rest.jobs["job1"] | {"State": "Success", "Content": {"InstancesCount": "2"}}
    away.ended.get(timeout=LIMIT)
    assert away.transport.report(job_id, 3).accepted == 3
    assert len(away.service.direct) > 0


@pytest.mark.parametrize("end", ["cancel", "pause"])
def test_ending_a_job_ends_orthancs(away: Away, end: str) -> None:
    """Paused at the router's stop, since Orthanc then tells nobody; canceled otherwise."""
    away.service.runs_on = True
    job_id = away.transport.submit(AWAY, instances(3))
    away.rest.jobs["job1"]["Progress"] = 67
    assert away.rest.looked.wait(LIMIT)
    if end == "cancel":
        away.transport.cancel(job_id)
    else:
        away.transport.pause(job_id, 3)
    away.ended.get(timeout=LIMIT)
    report = away.transport.report(job_id, 3)
    assert (report.state, report.accepted) == (JobState.FAILURE, 2)
    assert report.error is not None
    assert report.error.code == "JobCanceled"
    assert away.rest.told == [f"/jobs/job1/{end}"]


def test_a_job_that_does_not_end_keeps_ours_going_until_nobody_waits_for_it(away: Away) -> None:
    """The dispatcher hangs up on what is still busy."""
    away.service.runs_on = True
    away.rest.post = lambda path, body, timeout=60.0: None  # type: ignore[method-assign]
    job_id = away.transport.submit(AWAY, instances(3))
    assert away.rest.looked.wait(LIMIT)
    away.own_jobs.end()
    assert away.transport.report(job_id, 3).state is JobState.RUNNING
    away.own_jobs.join(LIMIT)
    assert away.transport.report(job_id, 3).state is JobState.FAILURE


def test_a_job_that_was_paused_by_hand_is_canceled_and_the_rest_goes_later(away: Away) -> None:
    away.service.runs_on = True
    job_id = away.transport.submit(AWAY, instances(4))
    away.rest.jobs["job1"] = away.rest.jobs["job1"] | {"State": "Paused", "Progress": 50}
    away.ended.get(timeout=LIMIT)
    assert away.transport.report(job_id, 4).accepted == 2
    assert away.rest.told == ["/jobs/job1/cancel"]


# --- one instance ----------------------------------------------------------------------------------------------------


def test_one_instance_goes_directly_and_takes_none_of_orthancs_jobs(away: Away) -> None:
    assert away.transport.try_one(AWAY, instance(1)) is None
    assert (away.service.batches, away.service.direct) == ([], [instance(1).id])


def test_a_large_instance_is_not_copied_through_the_plugin(away: Away) -> None:
    assert away.transport.try_one(AWAY, instance(1, size=65 * 1024 * 1024)) is None
    assert (away.service.batches, away.service.direct) == ([1], [])


def test_an_instance_is_blamed_only_when_the_server_is_well(away: Away) -> None:
    away.service.refused[instance(1).id] = TOO_LARGE
    assert away.transport.try_one(AWAY, instance(1)) == TOO_LARGE
    away.service.greeting = of_http_status(503)
    assert away.transport.try_one(AWAY, instance(1)) == of_http_status(503)


def test_where_our_connection_is_refused_orthanc_may_know_a_way(away: Away) -> None:
    away.service.reach = NotReachedError(DOWN, refused=True)
    assert away.transport.try_one(AWAY, instance(1)) is None
    away.service.jobs_fail = True
    assert away.transport.try_one(AWAY, instance(1)) == DOWN


def test_a_server_that_hangs_is_not_given_one_of_orthancs_jobs_as_well(away: Away) -> None:
    away.service.reach = NotReachedError(SILENT, refused=False)
    assert away.transport.try_one(AWAY, instance(1)) == SILENT
    assert away.service.batches == []


@pytest.mark.parametrize(
    "entry", [{"Url": "http://elsewhere.example"}, {"Url": URL, "Username": "another"}], ids=["url", "user"]
)
def test_a_server_that_was_changed_over_rest_is_reached_through_orthanc_alone(
    away: Away, entry: dict[str, str]
) -> None:
    away.rest.entries = {"away": entry}
    assert away.transport.try_one(AWAY, instance(1)) is None
    assert away.transport.probe(AWAY) is None
    assert (away.service.batches, away.service.direct) == ([1], [])


def test_a_file_that_orthanc_does_not_have_goes_directly_or_is_forwarded_by_orthanc(away: Away) -> None:
    assert away.transport.send_file(AWAY, b"/instances/copy/file") is None
    assert (away.service.direct, away.service.batches) == (["copy"], [])
    away.service.reach = NotReachedError(DOWN, refused=True)
    assert away.transport.send_file(AWAY, b"other") is None
    assert away.service.forwarded == [b"other"]
    away.service.jobs_fail = True
    assert away.transport.send_file(AWAY, b"other") == DOWN
    away.rest.entries = {}
    unknown = away.transport.send_file(AWAY, b"other")
    assert unknown is not None
    assert unknown.code == "Unknown"


# --- questions -------------------------------------------------------------------------------------------------------


CALLS: list[Callable[[HttpTransport], object]] = [
    lambda transport: transport.try_one(AWAY, instance(1)),
    lambda transport: transport.probe(AWAY),
    lambda transport: transport.find(AWAY, [instance(1)], lambda _: False),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_orthanc_does_not_know_and_a_missing_plugin_are_told(
    away: Away, call: Callable[[HttpTransport], object]
) -> None:
    away.rest.entries = {}
    unknown = call(away.transport)
    assert isinstance(unknown, SendError)
    assert (unknown.scope, unknown.message) == (
        Scope.DESTINATION,
        'Orthanc does not know the faraway server "away" now.',
    )
    away.rest.entries = GONE
    missing = call(away.transport)
    assert isinstance(missing, SendError)
    assert (missing.scope, missing.message) == (Scope.DESTINATION, "There is no plugin for it.")
    away.rest.entries = OrthancError(0, 0, "busy")
    busy = call(away.transport)
    assert isinstance(busy, SendError)
    assert busy.scope is Scope.INSTANCE


def test_a_probe_tells_what_is_wrong_with_the_server(away: Away) -> None:
    assert away.transport.probe(AWAY) is None
    away.service.greeting = of_http_status(401)
    assert away.transport.probe(AWAY) == of_http_status(401)
    away.service.reach = NotReachedError(SILENT, refused=False)
    assert away.transport.probe(AWAY) == SILENT
    away.service.reach = NotReachedError(DOWN, refused=True)
    assert away.transport.probe(AWAY) is None  # Orthanc reaches it
    away.service.jobs_fail = True
    assert away.transport.probe(AWAY) == DOWN


def test_what_a_server_has_is_asked_series_by_series(away: Away) -> None:
    asked = [instance(1, series_id="a"), instance(2, series_id="b")]
    assert away.transport.find(AWAY, asked, lambda _: False) == {"1.2.1", "1.2.2"}
    away.service.greeting = of_http_status(503)
    found = away.transport.find(AWAY, asked, lambda _: False)
    assert isinstance(found, SendError)
    assert (found.code, found.scope) == ("FindFailed", Scope.INSTANCE)


def test_a_server_has_an_address_for_hanging_up(away: Away) -> None:
    assert away.transport.address(AWAY) == ("away.example", 80)
    away.rest.entries = {"away": {"Url": "https://moved.example:8443/x"}}
    assert away.transport.address(AWAY) == ("moved.example", 8443)
    away.rest.entries = {}
    assert away.transport.address(AWAY) is None


def test_what_is_tried_on_another_thread_ends_at_a_stop_too(away: Away) -> None:
    away.service.runs_on = True
    away.service.reach = NotReachedError(DOWN, refused=True)
    told: queue.Queue[SendError | None] = queue.Queue()
    thread = threading.Thread(target=lambda: told.put(away.transport.try_one(AWAY, instance(1))), daemon=True)
    thread.start()
    assert away.rest.looked.wait(LIMIT)
    away.own_jobs.end()
    assert told.get(timeout=LIMIT) == DOWN
    assert away.rest.told == ["/jobs/job1/pause"]


def test_a_job_that_ended_while_the_peer_was_greeted_is_not_sent_again() -> None:
    """And has left Orthanc's history since."""
    away = Away()
    away.service.jobs_trust_anyone = True
    greeting, go_on = threading.Event(), threading.Event()

    def greet(_: object) -> None:
        greeting.set()
        assert go_on.wait(LIMIT)

    away.service.greet = greet  # type: ignore[method-assign]
    job_id = away.transport.submit(AWAY, instances(5))
    assert greeting.wait(LIMIT)
    away.followed.tell("job1", JobState.SUCCESS)
    del away.rest.jobs["job1"]
    go_on.set()
    assert away.ended.get(timeout=LIMIT)[0] == job_id
    assert away.transport.report(job_id, 5) == JobReport(JobState.SUCCESS, 5)
    assert away.service.direct == []
