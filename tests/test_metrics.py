# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Prometheus reads: it can be parsed, says what happened, and costs the same after a million deliveries."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from builders import ARCHIVE, DEAD, NOW, claimed, configured, ended, enqueued, fill, new_delivery, take_over
from conftest import OpenStore
from dicom_router.api.http import ROOT
from dicom_router.deliveries.delivery import Reason, Status
from dicom_router.dispatch.breaker import Breaker
from dicom_router.dispatch.health import Blocked
from dicom_router.host.sdk import Request
from dicom_router.metrics import CONTENT_TYPE
from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.problems import Problem
from dicom_router.store.database import LOST
from dicom_router.store.journal import NewDecision, Position
from dicom_router.store.sqlite import open_sqlite, session
from dicom_router.store.store import Store
from dicom_router.store.tallies import OpenDeliveries, Tallies
from rest_client import Client

Labels = frozenset[tuple[str, str]]
SECTION = {"Destinations": {"ARCHIVE": {"Modality": "ARCHIVE"}, "WORKSTATION": {"Modality": "WORKSTATION"}}}
PREFIX = "dicom_router_"


def scrape(client: Client) -> dict[str, dict[Labels, float]]:
    """All samples by the rest of their name and their labels."""
    response = client.api.handle(Request("GET", f"{ROOT}/metrics"))
    assert (response.status, response.content_type) == (200, CONTENT_TYPE)
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(response.body.decode()):
        assert family.documentation
        for sample in family.samples:
            assert sample.name.startswith(PREFIX)
            samples = found.setdefault(sample.name.removeprefix(PREFIX), {})
            key = frozenset(sample.labels.items())
            assert key not in samples
            samples[key] = sample.value
    return found


def with_labels(**labels: str) -> Labels:
    return frozenset(labels.items())


def of_archive(**labels: str) -> Labels:
    return with_labels(destination=ARCHIVE, **labels)


@pytest.fixture
def client(store: Store) -> Client:
    return Client(store, configured(SECTION))


def test_ended_deliveries_are_counted_by_rule_destination_and_status(client: Client, store: Store) -> None:
    for number, status in enumerate((Status.COMPLETED, Status.COMPLETED, Status.WARNING, Status.FAILED)):
        ended(store, status, f"study {number}")
    ended(store, Status.CANCELED, "study 5", destination="WORKSTATION", rule="other")
    assert scrape(client)["deliveries_total"] == {
        of_archive(rule="all CT", status="Completed"): 2,
        of_archive(rule="all CT", status="Warning"): 1,
        of_archive(rule="all CT", status="Failed"): 1,
        with_labels(destination="WORKSTATION", rule="other", status="Canceled"): 1,
    }
    assert scrape(client)["deliveries_created_total"] == {
        of_archive(rule="all CT"): 4,
        with_labels(destination="WORKSTATION", rule="other"): 1,
    }


def test_deliveries_that_were_moved_handed_on_or_lost_to_a_cancel_are_counted(client: Client, store: Store) -> None:
    moved = store.history.get(enqueued(store, "moved"))
    assert moved is not None
    assert store.failover.move(moved, new_delivery("moved", "WORKSTATION"), NOW) is not None
    lost = claimed(store, "lost")
    store.queue.cancel(lost.id, NOW)
    take_over(store, NOW)
    assert scrape(client)["deliveries_total"] == {of_archive(rule="all CT", status="Canceled"): 2}


def test_a_cancel_that_was_asked_for_while_sending_counts_once(client: Client, store: Store) -> None:
    delivery = claimed(store)
    store.queue.cancel(delivery.id, NOW)
    assert scrape(client).get("deliveries_total") is None
    assert store.queue.defer(delivery, Reason.QUEUED, NOW, 0, 0, NOW)
    assert scrape(client)["deliveries_total"] == {of_archive(rule="all CT", status="Canceled"): 1}


def test_a_retry_is_no_end(client: Client, store: Store) -> None:
    assert store.queue.fail(claimed(store), DEAD, 0, 0, NOW + 30, NOW)
    found = scrape(client)
    assert "deliveries_total" not in found
    assert found["queue_deliveries"] == {of_archive(rule="all CT", status="Retrying"): 1}


def test_a_result_whose_lease_was_lost_is_not_counted(client: Client, store: Store) -> None:
    delivery = claimed(store)
    assert store.queue.succeed(delivery, 3, 0, "Accepted", NOW)
    assert not store.queue.succeed(delivery, 3, 0, "Accepted", NOW)
    assert scrape(client)["deliveries_total"] == {of_archive(rule="all CT", status="Completed"): 1}


def test_the_queue_is_told_with_its_depth_and_its_oldest(client: Client, store: Store) -> None:
    claimed(store, "sending", at=NOW - 100)
    enqueued(store, "waiting", at=NOW - 50)
    enqueued(store, "other", at=NOW - 7, destination="WORKSTATION", rule="other")
    found = scrape(client)
    assert found["queue_deliveries"] == {
        of_archive(rule="all CT", status="Sending"): 1,
        of_archive(rule="all CT", status="Scheduled"): 1,
        with_labels(destination="WORKSTATION", rule="other", status="Scheduled"): 1,
    }
    assert found["queue_oldest_age_seconds"] == {of_archive(): 100, with_labels(destination="WORKSTATION"): 7}


def test_an_empty_queue_has_age_zero(client: Client, store: Store) -> None:
    ended(store, Status.COMPLETED)
    found = scrape(client)
    assert "queue_deliveries" not in found
    assert found["queue_oldest_age_seconds"] == {of_archive(): 0, with_labels(destination="WORKSTATION"): 0}


def test_what_was_sent_is_counted_by_destination_and_its_time_in_a_histogram(client: Client, store: Store) -> None:
    store.tallies.attempted(ARCHIVE, "Success", 2.0, 100, 5000)
    store.tallies.attempted(ARCHIVE, "Success", 4000.0, 10, 500)
    store.tallies.attempted(ARCHIVE, "Failure", 30.0, 1, 50)
    found = scrape(client)
    assert found["sent_instances_total"] == {of_archive(): 111, with_labels(destination="WORKSTATION"): 0}
    assert found["sent_bytes_total"][of_archive()] == 5550
    buckets = {
        dict(labels)["le"]: value
        for labels, value in found["attempt_duration_seconds_bucket"].items()
        if ("result", "Success") in labels
    }
    assert (buckets["1"], buckets["2.5"], buckets["3600"], buckets["+Inf"]) == (0, 1, 1, 2)
    assert list(buckets.values()) == sorted(buckets.values())
    assert found["attempt_duration_seconds_sum"][of_archive(result="Success")] == 4002
    assert found["attempt_duration_seconds_count"][of_archive(result="Failure")] == 1


def test_decisions_are_counted_by_rule(client: Client, store: Store) -> None:
    verdicts: list[dict[str, object]] = [{"Rule": "CT", "Matched": True}, {"Rule": "MR", "Matched": False}]
    for study in ("a", "b"):
        store.journal.record(NewDecision("Study", study, study, "StableStudy", verdicts), [], None, NOW)
    skipped: list[dict[str, object]] = [{"Rule": "", "Matched": False, "Skipped": "It is a copy."}]
    store.journal.record(NewDecision("Study", "c", "c", "StableStudy", skipped), [], None, NOW)
    assert scrape(client)["decisions_total"] == {
        with_labels(rule="CT", matched="true"): 2,
        with_labels(rule="MR", matched="false"): 2,
    }


def test_a_destination_that_does_not_answer_is_down_also_while_it_is_paused(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Breaker(held=True)
    monkeypatch.setattr(client.dispatcher, "breaker", lambda name: held if name == ARCHIVE else Breaker())
    client.dispatcher.blocks[ARCHIVE] = Blocked(Reason.PAUSED)
    found = scrape(client)
    assert found["destination_up"] == {of_archive(): 0, with_labels(destination="WORKSTATION"): 1}
    assert found["destination_state"][of_archive(state="Paused")] == 1
    assert found["destination_state"][of_archive(state="Up")] == 0
    assert found["destination_state"][with_labels(destination="WORKSTATION", state="Up")] == 1


def test_the_intake_tells_how_far_it_is_behind(client: Client, store: Store) -> None:
    for _ in range(3):
        client.orthanc.receive("study")
    store.journal.move(Position(1, 1))
    last = client.orthanc.get("/changes?last")["Last"]
    found = scrape(client)
    assert found["intake_cursor"] == {frozenset(): 1}
    assert found["intake_lag_changes"] == {frozenset(): last - 1}


def test_an_orthanc_that_does_not_answer_leaves_out_the_lag_only(client: Client, store: Store) -> None:
    class Silent:
        def get(self, path: str, timeout: float = 60.0) -> object:
            raise OrthancError(0, 0, "no answer")

    client.services.rest = cast(OrthancRest, Silent())
    store.journal.move(Position(5, 4))
    found = scrape(client)
    assert found["intake_cursor"] == {frozenset(): 5}
    assert "intake_lag_changes" not in found


def test_the_state_of_the_router_is_one_of_three(client: Client, store: Store) -> None:
    assert scrape(client)["state"][with_labels(state="Running")] == 1
    store.switches.pause_router(paused=True)
    assert scrape(client)["state"][with_labels(state="Paused")] == 1
    client.services.problems.append(Problem("Router", "wrong"))
    found = scrape(client)
    assert found["state"] == {
        with_labels(state="Suspended"): 1,
        with_labels(state="Running"): 0,
        with_labels(state="Paused"): 0,
    }
    assert found["configuration_problems"] == {frozenset(): 1}


def test_a_router_without_a_database_still_answers() -> None:
    found = scrape(Client(None, configured(SECTION)))
    assert found["state"][with_labels(state="Suspended")] == 1
    assert next(iter(found["build_info"].values())) == 1


def test_recycling_is_told(client: Client) -> None:
    assert scrape(client)["recycling_near"] == {frozenset(): 0}
    client.services.live_warning = lambda: Problem("MaximumStorageSize", "nearly full")
    assert scrape(client)["recycling_near"] == {frozenset(): 1}


def test_no_patient_is_named(client: Client, store: Store) -> None:
    ended(store, Status.FAILED, "other")
    delivery = enqueued(store)
    row = store.history.get(delivery)
    assert row is not None
    text = client.api.handle(Request("GET", f"{ROOT}/metrics")).body.decode()
    for secret in (row.patient_name, row.patient_id, row.accession_number, row.study_instance_uid):
        assert secret
        assert secret not in text


def test_a_rule_with_any_name_is_escaped(client: Client, store: Store) -> None:
    store.tallies.decided([{"Rule": 'a "b"\\\nc', "Matched": True}])
    assert scrape(client)["decisions_total"] == {with_labels(rule='a "b"\\\nc', matched="true"): 1}


def test_the_counts_outlive_a_restart_and_are_each_orthancs_own(open_store: OpenStore) -> None:
    ended(open_store("here"), Status.COMPLETED)
    assert open_store("here").tallies.deliveries() == [
        ("all CT", ARCHIVE, "Completed", 1),
        ("all CT", ARCHIVE, "Scheduled", 1),
    ]
    assert open_store("there").tallies.deliveries() == []


def test_a_count_is_taken_back_with_what_it_counts(store: Store) -> None:
    class CrashError(Exception):
        pass

    def crash() -> None:
        with store.database.atomic():
            ended(store, Status.COMPLETED)
            raise CrashError

    with session(store.database), pytest.raises(CrashError):
        crash()
    assert store.tallies.deliveries() == []


def test_what_has_ended_costs_a_scrape_nothing(tmp_path: Path) -> None:
    """The open deliveries are read from an index that holds nothing else; everything else has been counted before."""
    store = Store(open_sqlite(tmp_path / "router.db"), "here", lambda: NOW)
    fill(store, 0, 5000, Status.COMPLETED)
    fill(store, 5000, 10)
    asked: list[str] = []
    with session(store.database):
        store.database.connection().set_trace_callback(asked.append)
        assert [each.number for each in store.tallies.open_deliveries()] == [10]
        store.database.connection().set_trace_callback(None)
        (query,) = asked
        plan = [row[3] for row in store.database.execute_sql(f"EXPLAIN QUERY PLAN {query}")]
    assert any("USING COVERING INDEX delivery_open" in step for step in plan), plan
    store.database.close()


def test_waiting_deliveries_are_not_counted_again_within_a_moment(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 1.0, 5.0, 21.0, 21.5])  # counting takes a second, and rests twenty
    monkeypatch.setattr("dicom_router.api.metrics.time", SimpleNamespace(monotonic=lambda: next(times)))
    counted = []

    def count(_: Tallies) -> list[OpenDeliveries]:
        counted.append(1)
        return []

    monkeypatch.setattr(Tallies, "open_deliveries", count)
    for expected in (1, 1, 2):
        client.api.handle(Request("GET", f"{ROOT}/metrics"))
        assert len(counted) == expected


def state_told(client: Client) -> str:
    (state,) = [dict(labels)["state"] for labels, value in scrape(client)["state"].items() if value]
    return state


def test_the_metrics_tell_that_the_database_does_not_answer(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_told(client) == "Running"

    def lost(*_: object) -> object:
        raise LOST[0]("the server closed the connection")

    monkeypatch.setattr(Tallies, "deliveries", lost)
    assert state_told(client) == "Suspended"


def test_the_metrics_tell_that_the_database_cannot_be_written(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "trouble", lambda: "its disk is full; make room")
    assert state_told(client) == "Suspended"


# --- the dashboard ---------------------------------------------------------------------------------------------------

DASHBOARD = json.loads((Path(__file__).parents[1] / "examples" / "grafana.json").read_text(encoding="utf-8"))


def expressions() -> list[str]:
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return asked + [each["definition"] for each in DASHBOARD["templating"]["list"]]


@pytest.fixture
def everything(client: Client, store: Store) -> dict[str, dict[Labels, float]]:
    """A scrape of a router of which nothing is missing."""
    ended(store, Status.FAILED)
    enqueued(store, "other")
    store.tallies.attempted(ARCHIVE, "Success", 1.0, 1, 1)
    store.tallies.decided([{"Rule": "CT", "Matched": True}])
    store.journal.move(Position(0, 0))
    return scrape(client)


def test_the_dashboard_asks_only_for_metrics_and_labels_that_exist(
    everything: dict[str, dict[Labels, float]],
) -> None:
    for expression in expressions():
        asked = re.findall(r"dicom_router_(\w+)(?:\{([^}]*)\})?", expression)
        assert asked, expression
        for name, selector in asked:
            assert name in {*everything, "alerts"}, name
            named = set(re.findall(r"(\w+)=", selector)) - {"instance"}
            known = {label for labels in everything.get(name, {}) for label, _ in labels}
            assert named <= known, expression
            if not expression.startswith("label_values"):
                assert "instance=~" in selector, expression


def test_the_dashboard_groups_by_labels_that_exist(everything: dict[str, dict[Labels, float]]) -> None:
    known = {label for samples in everything.values() for labels in samples for label, _ in labels} | {"instance"}
    for expression in expressions():
        for grouped in re.findall(r"by \(([^)]*)\)", expression):
            assert {each.strip() for each in grouped.split(",")} <= known, expression


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
