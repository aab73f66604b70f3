# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prometheus reads the router's metrics through Orthanc's own HTTP port."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from support.network import DicomNode, free_port
from support.router import Router
from support.starting import StartRouter, StartScp
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until


def value(router: Router, name: str, **labels: str) -> float | None:
    """The one sample with these labels."""
    answer = router.router_request("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    found = [
        sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
        if sample.name == f"dicom_router_{name}" and labels.items() <= sample.labels.items()
    ]
    assert len(found) < 2
    return found[0] if found else None


def test_what_was_sent_and_what_waits_is_in_the_metrics_and_outlives_a_restart(
    start_router: StartRouter, start_scp: StartScp, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    dead = DicomNode("DEAD", free_port())
    router = start_router({"PACS": pacs.node, "DEAD": dead})
    study = make_study(tmp_path / "study", instances=5)
    assert send(study.files, router.node).acknowledged == study.sop_instance_uids
    router.wait_until_completed(1, destination="PACS")

    sent = {"rule": "everything", "destination": "PACS", "status": "Completed"}
    assert value(router, "deliveries_total", **sent) == 1
    assert value(router, "sent_instances_total", destination="PACS") == 5
    assert value(router, "sent_bytes_total", destination="PACS") == sum(
        each["FileSize"] for each in router.get("/instances?expand")
    )
    assert value(router, "attempt_duration_seconds_count", destination="PACS", result="Success") == 1
    assert value(router, "decisions_total", rule="everything", matched="true") == 1
    assert value(router, "destination_up", destination="PACS") == 1
    assert (value(router, "queue_oldest_age_seconds", destination="DEAD") or 0) > 0
    wait_until(lambda: value(router, "destination_up", destination="DEAD") == 0, 30, "the dead destination is down")
    wait_until(lambda: value(router, "intake_lag_changes") == 0, 30, "the change log has been read")

    router.restart()
    assert value(router, "deliveries_total", **sent) == 1
    assert value(router, "sent_instances_total", destination="PACS") == 5
    assert value(router, "state", state="Running") == 1
