# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Orthanc is told about the association to a modality."""

from dataclasses import replace
from typing import Any, cast

import pytest

from builders import destination, instance
from dicom_router.alteration import Alteration
from dicom_router.deliveries.outcome import ErrorClass
from dicom_router.destination import Destination
from dicom_router.orthanc_rest import ASK_AGAIN, OrthancRest
from dicom_router.store.queue import LEASE_SECONDS
from dicom_router.transports.followed_jobs import FollowedJobs
from dicom_router.transports.modality import ModalityTransport, read_job
from dicom_router.transports.own_jobs import OwnJobs
from dicom_router.transports.transport import JobReport, JobState
from fakes.orthanc import unreachable

PLAIN = destination("A", target="A")
TITLED = replace(PLAIN, local_aet="OTHERME", move_originator="MOVER", timeout=1.2)
TERMS = {"LocalAet": "OTHERME", "Timeout": 2}
FAILED = {"State": "Failure", "Progress": 0, "ErrorCode": 9}
CANCELED = {"State": "Failure", "ErrorCode": 37}


class Rest:
    """Orthanc, as far as a modality goes; jobs end as `job` says."""

    def __init__(self, **job: object) -> None:
        self.job = {
            "Type": "DicomModalityStore",
            "State": "Success",
            "Progress": 100,
            "Content": {"InstancesCount": 1},
            **job,
        }
        self.posted: dict[str, Any] = {}
        self.asked_for = 0.0  # seconds that the last question about a job may take
        self.answers = True

    def get(self, path: str, timeout: float = 60.0) -> Any:
        if path.startswith("/jobs/"):
            self.asked_for = timeout * (1 + (ASK_AGAIN.total or 0))
            if not self.answers:
                raise unreachable()
            return self.job
        if path.startswith("/queries/"):
            return [{"SOPInstanceUID": "1.2.3"}]
        if path.startswith("/storage-commitment/"):
            return {"Status": "Success", "Success": []}
        return {"A": {"AET": "PACS", "Host": "127.0.0.1", "Port": 104, "LocalAet": ""}}

    def get_bytes(self, path: str, timeout: float = 60.0) -> bytes:
        return b"DICM"

    def post(self, path: str, body: Any, timeout: float = 60.0) -> Any:
        self.posted[path] = body
        return {"ID": "7"}

    post_bytes = post

    def delete(self, path: str) -> None:
        pass


def transport(rest: Rest) -> ModalityTransport:
    asked = cast(OrthancRest, rest)
    return ModalityTransport(asked, OwnJobs(lambda _id, _state: None), FollowedJobs(asked))


def never(_seconds: float) -> bool:
    return False


def told(where: Destination, path: str) -> dict[str, Any]:
    """What `path` is told of the association when one instance is tried, probed for, counted and committed."""
    rest = Rest()
    made = transport(rest)
    uids = replace(instance(1), study_instance_uid="1.2", series_instance_uid="1.2.3")
    assert made.try_one(where, instance(1)) is None
    assert made.probe(where) is None
    made.find(where, [uids], never)
    made.commit(where, [uids], never)
    body = rest.posted[path]
    return {key: value for key, value in body.items() if key in {"LocalAet", "Timeout", "MoveOriginatorAet"}}


def test_the_first_instance_is_sent_on_the_terms_of_its_destination() -> None:
    assert told(TITLED, "/modalities/A/store") == TERMS | {"MoveOriginatorAet": "MOVER"}


def test_a_destination_that_has_no_terms_is_tried_without_a_job() -> None:
    rest = Rest()
    assert transport(rest).try_one(PLAIN, instance(1)) is None
    assert list(rest.posted) == ["/modalities/A/store-straight"]


def test_the_probe_counting_and_commitment_are_on_the_terms_of_the_destination() -> None:
    assert told(TITLED, "/tools/dicom-echo") == TERMS
    assert told(TITLED, "/modalities/A/query") == TERMS
    assert told(TITLED, "/modalities/A/storage-commitment") == TERMS
    assert told(PLAIN, "/modalities/A/echo") == {"Timeout": 4}


def test_how_the_job_of_the_first_instance_failed_is_told() -> None:
    rest = Rest(**FAILED, ErrorDetails='C-STORE SCU to AET "PACS" has failed with DIMSE status 0xC000')
    error = transport(rest).try_one(TITLED, instance(1))
    assert error is not None
    assert (error.error_class, error.code) == (ErrorClass.PERMANENT, "0xC000")


def test_a_warning_of_the_destination_is_no_failure_of_the_first_instance() -> None:
    rest = Rest(**FAILED, ErrorDetails='C-STORE SCU to AET "PACS" has failed with DIMSE status 0x0111')
    assert transport(rest).try_one(TITLED, instance(1)) is None


def test_altered_copies_never_go_by_a_job() -> None:
    assert TITLED.needs_job
    assert not replace(TITLED, alteration=Alteration(transcode="1.2")).needs_job


def test_a_job_is_not_asked_about_for_so_long_that_another_orthanc_takes_it_over() -> None:
    rest = Rest()
    rest.answers = False
    assert transport(rest).report("7", 1) == JobReport(JobState.RUNNING, 0)
    assert rest.asked_for < LEASE_SECONDS / 5


# --- a job that was left behind --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "count", "progress", "accepted"),
    [
        ("DicomModalityStore", 100, 60, 60),
        ("OrthancPeerStore", 25, 60, 15),  # the first of several jobs for a chunk of 100
        ("OrthancPeerStore", 25, 100, 25),
        ("DicomWebStowClient", "25", 60, 0),  # of the request's bytes
        ("DicomWebStowClient", "100", 100, 0),
    ],
)
def test_only_what_a_job_has_surely_sent_is_believed(kind: str, count: int | str, progress: int, accepted: int) -> None:
    job = {"Type": kind, "Progress": progress, "Content": {"InstancesCount": count}, **CANCELED}
    assert read_job(job, 100).accepted == accepted
