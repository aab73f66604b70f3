# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ledger: what a destination has is known, to the instance, whenever the router ended; and it is small."""

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from builders import ARCHIVE, NOT_UNDERSTOOD, NOW, claimed, instance, subject
from conftest import OpenStore
from dicom_router.deliveries.instance import DIGEST_BYTES
from dicom_router.store.ledger import OpenChunk, split
from dicom_router.store.store import Store

DIGESTS = [instance(number).digest for number in range(10)]


def opened(store: Store, digests: list[bytes], job: str = "job", delivery: int = 7, study: str = "study") -> int:
    chunk = store.ledger.open_chunk(study, ARCHIVE, delivery, digests)
    store.ledger.submitted(chunk, job)
    return chunk


def accepted(store: Store, study: str = "study", destination: str = ARCHIVE) -> set[bytes]:
    return store.ledger.accepted(study, destination)


def test_a_fingerprint_is_of_the_instance_and_its_content() -> None:
    first = instance(1)
    assert len(first.digest) == DIGEST_BYTES
    assert first.digest == instance(1, sop_instance_uid="other", size=5).digest
    assert len({first.digest, instance(2).digest, instance(1, revision="r1").digest}) == 3


def test_nothing_of_a_chunk_is_accepted_until_that_is_known(store: Store) -> None:
    chunk = store.ledger.open_chunk("study", ARCHIVE, 7, DIGESTS)
    assert accepted(store) == set()
    store.ledger.submitted(chunk, "job")
    assert accepted(store) == set()


def test_the_first_instances_of_a_chunk_under_way_are_known(store: Store) -> None:
    chunk = opened(store, DIGESTS)
    store.ledger.advance(chunk, 4)
    assert accepted(store) == set(DIGESTS[:4])
    store.ledger.advance(chunk, 2)  # an older report comes late
    assert accepted(store) == set(DIGESTS[:4])


def test_a_closed_chunk_keeps_what_arrived(store: Store) -> None:
    store.ledger.close_chunk(opened(store, DIGESTS), 6)
    assert accepted(store) == set(DIGESTS[:6])
    assert store.ledger.open_chunks() == []


def test_closing_never_takes_back_what_was_known(store: Store) -> None:
    chunk = opened(store, DIGESTS)
    store.ledger.advance(chunk, 6)
    store.ledger.close_chunk(chunk, 0)
    assert accepted(store) == set(DIGESTS[:6])


def test_a_chunk_of_which_nothing_arrived_leaves_nothing(store: Store) -> None:
    store.ledger.close_chunk(opened(store, DIGESTS), 0)
    assert accepted(store) == set()
    assert store.ledger.studies("", 10) == []


def test_closing_twice_changes_nothing(store: Store) -> None:
    chunk = opened(store, DIGESTS)
    store.ledger.close_chunk(chunk, 3)
    store.ledger.close_chunk(chunk, 0)
    store.ledger.close_chunk(999, 5)
    assert accepted(store) == set(DIGESTS[:3])


def test_open_chunks_tell_what_may_be_on_its_way(store: Store) -> None:
    first = opened(store, DIGESTS[:4], "job-1", 7)
    store.ledger.advance(first, 2)
    second = store.ledger.open_chunk("study", ARCHIVE, 8, DIGESTS[4:])  # not submitted yet
    store.ledger.add("study", ARCHIVE, DIGESTS[:1])
    told = sorted(store.ledger.open_chunks(), key=lambda each: each.id)
    assert told == [OpenChunk(first, "job-1", 4, 2, 7), OpenChunk(second, "", 6, 0, 8)]
    assert [each.id for each in store.ledger.open_chunks([8])] == [second]
    assert store.ledger.open_chunks([]) == []


def test_studies_and_destinations_are_kept_apart(store: Store) -> None:
    store.ledger.add("one", ARCHIVE, DIGESTS[:2])
    store.ledger.add("one", "WORKSTATION", DIGESTS[2:3])
    store.ledger.add("two", ARCHIVE, DIGESTS[3:5])
    assert accepted(store, "one") == set(DIGESTS[:2])
    assert accepted(store, "one", "WORKSTATION") == {DIGESTS[2]}
    assert accepted(store, "two") == set(DIGESTS[3:5])
    assert accepted(store, "three") == set()


def test_forgetting_sends_all_again_but_not_what_is_on_its_way(store: Store) -> None:
    delivery = claimed(store)
    store.ledger.add("study", ARCHIVE, DIGESTS[:2])
    store.ledger.add("study", "WORKSTATION", DIGESTS[:2])
    store.queue.refused(delivery, instance(2), NOT_UNDERSTOOD, NOW)
    chunk = opened(store, DIGESTS[3:6])
    store.ledger.advance(chunk, 1)
    store.ledger.forget("study", ARCHIVE, {*DIGESTS, instance(2).digest})
    assert accepted(store) == {DIGESTS[3]}
    assert store.ledger.refused("study", ARCHIVE) & set(DIGESTS) == set()
    assert accepted(store, destination="WORKSTATION") == set(DIGESTS[:2])
    assert len(store.history.refusals(delivery.id)) == 1


def test_only_what_is_sent_again_is_forgotten(store: Store) -> None:
    delivery = claimed(store)
    store.ledger.add("study", ARCHIVE, DIGESTS[:3])
    for number in (7, 8):
        store.queue.refused(delivery, instance(number), NOT_UNDERSTOOD, NOW)
    store.ledger.forget("study", ARCHIVE, {DIGESTS[1], instance(8).digest})
    assert accepted(store) == {DIGESTS[0], DIGESTS[2]}
    refused = store.ledger.refused("study", ARCHIVE)
    assert instance(7).digest in refused
    assert instance(8).digest not in refused


def test_refused_instances_are_known_until_they_are_tried_again(store: Store) -> None:
    delivery = claimed(store)
    store.queue.refused(delivery, instance(1), NOT_UNDERSTOOD, NOW)
    store.ledger.add("study", ARCHIVE, DIGESTS[2:3])
    assert store.ledger.refused("study", ARCHIVE) == {instance(1).digest}
    assert store.ledger.refused("study", "WORKSTATION") == set()
    store.ledger.forget_refusals("study", ARCHIVE)
    assert instance(1).digest not in store.ledger.refused("study", ARCHIVE)
    assert accepted(store) == {DIGESTS[2]}
    assert [row.instance_id for row in store.history.refusals(delivery.id)] == ["study-1"]


def test_what_was_refused_of_a_patients_studies_is_tried_again_with_the_patient(store: Store) -> None:
    patient = subject("patient", level="Patient")
    delivery = claimed(store, subject=patient)
    for study in ("first", "second"):
        store.queue.refused(delivery, instance(1, study), NOT_UNDERSTOOD, NOW)
    store.queue.fail(delivery, NOT_UNDERSTOOD, 0, 2, None, NOW)
    other = claimed(store, "third")
    store.queue.refused(other, instance(1, "third"), NOT_UNDERSTOOD, NOW)
    store.ledger.forget_refusals("patient", "WORKSTATION")
    assert store.ledger.refused("first", ARCHIVE) == {instance(1, "first").digest}
    store.ledger.forget_refusals("patient", ARCHIVE)
    for study in ("first", "second"):
        assert instance(1, study).digest not in store.ledger.refused(study, ARCHIVE)
    assert store.ledger.refused("third", ARCHIVE) == {instance(1, "third").digest}


def test_what_a_destination_did_not_keep_is_taken_out(store: Store) -> None:
    store.ledger.add("study", ARCHIVE, DIGESTS[:3])
    store.ledger.add("study", ARCHIVE, DIGESTS[3:5])
    store.ledger.add("study", "WORKSTATION", DIGESTS[:3])
    store.ledger.remove("study", ARCHIVE, [DIGESTS[1], DIGESTS[3], DIGESTS[4]])
    assert accepted(store) == {DIGESTS[0], DIGESTS[2]}
    assert accepted(store, destination="WORKSTATION") == set(DIGESTS[:3])


def test_a_study_that_is_gone_is_pruned(store: Store) -> None:
    for study in ("a", "b", "c"):
        store.ledger.add(study, ARCHIVE, DIGESTS[:2])
    store.ledger.add("b", "WORKSTATION", DIGESTS[:2])
    store.ledger.prune("b")
    assert accepted(store, "b") == accepted(store, "b", "WORKSTATION") == set()
    assert store.ledger.studies("", 10) == ["a", "c"]


def test_studies_are_listed_in_pages(store: Store) -> None:
    for study in ("c", "a", "b", "a"):
        store.ledger.add(study, ARCHIVE, DIGESTS[:1])
    assert store.ledger.studies("", 2) == ["a", "b"]
    assert store.ledger.studies("b", 2) == ["c"]
    assert store.ledger.studies("c", 2) == []


def test_the_ledger_outlives_a_restart(open_store: OpenStore) -> None:
    opened(open_store("here"), DIGESTS[:3])
    open_store("here").ledger.add("study", ARCHIVE, DIGESTS[5:])
    restarted = open_store("here")
    assert accepted(restarted) == set(DIGESTS[5:])
    assert [each.count for each in restarted.ledger.open_chunks()] == [3]


@given(st.binary(max_size=160).map(lambda data: data[: len(data) // DIGEST_BYTES * DIGEST_BYTES]))
def test_splitting_and_joining_fingerprints_is_the_same(data: bytes) -> None:
    parts = split(data)
    assert b"".join(parts) == data
    assert all(len(part) == DIGEST_BYTES for part in parts)


def file_bytes(store: Store) -> int:
    if store.shared:
        store.database.execute_sql("VACUUM FULL ledger")
        return int(store.database.execute_sql("SELECT pg_total_relation_size('ledger')").fetchone()[0])
    for pragma in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
        store.database.execute_sql(pragma)
    return Path(str(store.database.database)).stat().st_size


def test_an_instance_costs_at_most_24_bytes(store: Store) -> None:
    studies, chunks, chunk = 200, 5, 100
    empty = file_bytes(store)
    with store.database.atomic():
        for number in range(studies):
            study = hashlib.sha1(str(number).encode()).hexdigest()
            study_id = "-".join(study[start : start + 8] for start in range(0, 40, 8))  # as Orthanc's IDs are
            digests = [instance(each, study_id).digest for each in range(chunks * chunk)]
            for start in range(0, len(digests), chunk):
                store.ledger.close_chunk(
                    opened(store, digests[start : start + chunk], f"job-{start}", 7, study_id), chunk
                )
    assert (file_bytes(store) - empty) / (studies * chunks * chunk) <= 24
