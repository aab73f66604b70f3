# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is sent to the router arrives where the rules say, once, as it was."""

from collections import Counter
from pathlib import Path

from pydicom.uid import DeflatedExplicitVRLittleEndian

from support.orthanc import Orthanc
from support.starting import StartOrthanc, StartRouter, StartScp
from support.store_scu import send
from support.studies import bundled_files, data_set_bytes, same_data_set
from support.waiting import wait_until


def test_every_real_file_arrives_at_both_destinations_as_it_was(
    start_router: StartRouter, start_scp: StartScp, start_orthanc: StartOrthanc, tmp_path: Path
) -> None:
    pacs = start_scp("PACS")
    archive = start_orthanc("ARCHIVE")
    router = start_router({"PACS": pacs.node, "ARCHIVE": archive.node})
    files = bundled_files(tmp_path / "bundled")
    sent = send(files, router.node)
    assert (sent.refused, sent.error) == ({}, "")
    assert len(files) > 150

    pacs.wait_for(len(files), 120)
    wait_until(lambda: len(archive.get("/instances")) == len(files), 120, "ARCHIVE has all")
    router.wait_until_completed(2 * len(router.get("/studies")), 60)

    assert pacs.received == Counter(sent.acknowledged)
    assert Counter(archive.sop_instance_uids()) == Counter(sent.acknowledged)
    in_pacs = {request.uid: (request.transfer_syntax, request.data) for request in pacs.requests}
    in_archive = held_data_sets(archive, tmp_path / "archived.dcm")
    in_router = held_data_sets(router, tmp_path / "stored.dcm")
    assert changed(in_router, in_pacs) == []
    assert changed(in_router, in_archive) == []


DataSets = dict[str, tuple[str, bytes]]
"""By SOPInstanceUID: the transfer syntax and the encoded data set."""


def held_data_sets(orthanc: Orthanc, scratch: Path) -> DataSets:
    held: DataSets = {}
    for instance in orthanc.get("/instances?expand"):
        scratch.write_bytes(orthanc.get_bytes(f"/instances/{instance['ID']}/file"))
        syntax = orthanc.get_bytes(f"/instances/{instance['ID']}/metadata/TransferSyntax").decode()
        held[instance["MainDicomTags"]["SOPInstanceUID"]] = (syntax, data_set_bytes(scratch))
    return held


def changed(stored: DataSets, received: DataSets) -> list[str]:
    """What did not arrive byte for byte in its own transfer syntax. Deflated data sets are compressed anew."""
    return [
        uid
        for uid, (syntax, data) in stored.items()
        if received[uid][0] != syntax
        or not (syntax == DeflatedExplicitVRLittleEndian or same_data_set(data, received[uid][1]))
    ]
