# SPDX-License-Identifier: AGPL-3.0-or-later
"""Facts about a study, out of the answers of Orthanc 1.10.1, and of 1.12.5 and later."""

from datetime import UTC, datetime
from typing import cast

import pytest

from dicom_router.orthanc_rest import OrthancError, OrthancRest
from dicom_router.rules.keys import parse_key
from dicom_router.studies.instances import list_instances
from dicom_router.studies.study import ResourceFacts, exists
from fakes.orthanc import FakeOrthanc, unreachable


@pytest.fixture(params=[False, True], ids=["1.10", "1.12.5"])
def orthanc(request: pytest.FixtureRequest) -> FakeOrthanc:
    """A study with a CT series of two images and a report, beside another study."""
    made = FakeOrthanc()
    made.finds_all = request.param
    made.receive(
        "s",
        series="ct",
        tags={
            "StudyDescription": "Thorax",
            "PatientName": "DOE^JANE",
            "StudyDate": "20261122",
            "AccessionNumber": "A1",
            "Modality": "CT",
            "0018,0050": "1.5",
            "0040,0275": [{"0040,0009": "SPS1"}, {"0040,0009": "SPS2"}],
        },
    )
    made.receive("s", series="ct", tags={"0018,0050": "3.0"}, metadata={"RemoteAET": "CT2"})
    made.receive("s", series="sr", tags={"Modality": "SR"}, metadata={"SopClassUid": "1.2.840.10008.5.1.4.1.1.88.11"})
    made.receive("other", tags={"Modality": "MR"})
    return made


def facts(orthanc: FakeOrthanc) -> ResourceFacts:
    return ResourceFacts(cast(OrthancRest, orthanc), "s")


def values(orthanc: FakeOrthanc, key: str) -> tuple[str | None, ...]:
    return facts(orthanc).values(parse_key(key))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("StudyDescription", ["Thorax"]),
        ("PatientName", ["DOE^JANE"]),
        ("StudyDate", ["20261122"]),
        ("Modality", ["CT", "SR"]),
        ("RemoteAET", ["CT1", "CT1", "CT2"]),
        ("CalledAET", ["ORTHANC"] * 3),
        ("RemoteIP", ["10.0.0.7"] * 3),
        ("Origin", ["DicomProtocol"] * 3),
        ("SOPClassUID", ["1.2.840.10008.5.1.4.1.1.2"] * 2 + ["1.2.840.10008.5.1.4.1.1.88.11"]),
        ("TransferSyntaxUID", ["1.2.840.10008.1.2.1"] * 3),
        ("ReceptionDate", ["20261122T033050"] * 3),
        ("InstancesCount", ["3"]),
        ("SeriesCount", ["2"]),
        ("InstanceNumber", ["1", "1", "2"]),
    ],
)
def test_what_the_index_knows_is_told_for_each_entity(orthanc: FakeOrthanc, key: str, expected: list[str]) -> None:
    assert sorted(str(each) for each in values(orthanc, key)) == expected


def test_what_the_index_knows_needs_no_file(orthanc: FakeOrthanc) -> None:
    one = facts(orthanc)
    for key in ("StudyDescription", "Modality", "RemoteAET", "SOPClassUID", "InstancesCount", "InstanceNumber"):
        one.values(parse_key(key))
    assert not [call for call in orthanc.calls if "/tags" in call or "/file" in call]


def test_any_other_tag_is_read_from_one_instance_of_each_series(orthanc: FakeOrthanc) -> None:
    assert values(orthanc, "SliceThickness") == ("1.5", None)
    assert len([call for call in orthanc.calls if "/tags" in call]) == 2


def test_where_the_file_of_an_instance_is_lost_another_one_speaks_for_its_series(orthanc: FakeOrthanc) -> None:
    orthanc.failures["/instances/s-ct-1/tags"] = OrthancError(500, 2006, "The path does not point to a regular file")
    assert values(orthanc, "SliceThickness") == ("3.0", None)


def test_where_no_file_of_a_series_can_be_read_nothing_is_decided(orthanc: FakeOrthanc) -> None:
    """The storage may be away, and back in an hour."""
    for name in ("1", "2"):
        orthanc.failures[f"/instances/s-ct-{name}/tags"] = OrthancError(500, 13, "Inexistent file")
    with pytest.raises(OrthancError):
        values(orthanc, "SliceThickness")


def test_a_storage_that_does_not_answer_just_now_is_asked_again(orthanc: FakeOrthanc) -> None:
    orthanc.failures["/instances/s-ct-1/tags"] = OrthancError(500, 4, "Not enough memory")
    with pytest.raises(OrthancError):
        values(orthanc, "SliceThickness")


def test_a_path_into_a_sequence_finds_each_item(orthanc: FakeOrthanc) -> None:
    found = values(orthanc, "RequestAttributesSequence.ScheduledProcedureStepID")
    assert found == ("SPS1", "SPS2", None)


def test_a_tag_that_nobody_has_is_missing(orthanc: FakeOrthanc) -> None:
    assert set(values(orthanc, "0029,1010")) == {None}
    assert set(values(orthanc, "StudyID")) <= {None}


def test_each_call_is_made_once(orthanc: FakeOrthanc) -> None:
    one = facts(orthanc)
    for _ in range(3):
        for key in ("Modality", "RemoteAET", "SliceThickness", "StudyDescription"):
            one.values(parse_key(key))
    of_the_index = [call for call in orthanc.calls if call.startswith("POST /tools/")]
    assert len(of_the_index) == 2  # one for the series, one for the instances
    assert len(orthanc.calls) == len(set(orthanc.calls) - set(of_the_index)) + 2


def test_the_instances_are_told_with_their_content_and_in_order(orthanc: FakeOrthanc) -> None:
    found = facts(orthanc).instances
    assert [each.id for each in found] == ["s-ct-1", "s-ct-2", "s-sr-1"]
    assert {each.study_id for each in found} == {"s"}
    assert found[0].sop_instance_uid == "1.2.826.s-ct-1"
    assert (found[0].size, found[0].remote_aet, found[1].remote_aet) == (39278, "CT1", "CT2")
    assert list_instances(cast(OrthancRest, orthanc), "Study", "s") == found


def test_sizes_and_revisions_of_files_are_asked_for_once_and_only_for_what_is_sent(orthanc: FakeOrthanc) -> None:
    orthanc.finds_all = True
    one = facts(orthanc)
    for key in ("Modality", "RemoteAET", "SliceThickness", "SOPClassUID", "InstanceNumber"):
        one.values(parse_key(key))
    assert "Instance Attachments" not in orthanc.found
    assert [each.size for each in one.instances] == [39278] * 3
    assert [one.part("Instance", each.id).instances for each in one.instances] == [[each] for each in one.instances]
    assert orthanc.found.count("Instance Attachments") == 1
    assert orthanc.calls.count("POST /tools/find") == 3


def test_an_instance_deleted_while_its_study_is_looked_at_is_noticed(orthanc: FakeOrthanc) -> None:
    orthanc.finds_all = True
    one = facts(orthanc)
    assert len(one.rows) == 3
    del orthanc.instances["s-ct-2"]
    with pytest.raises(OrthancError, match="s-ct-2 any more") as problem:
        _ = one.instances
    assert problem.value.not_found


@pytest.mark.parametrize("number", ["²", "٣", "9" * 5000, "-1", "1\\2", ""])
def test_an_odd_instance_number_hides_no_instance(orthanc: FakeOrthanc, number: str) -> None:
    orthanc.receive("s", series="ct", metadata={"IndexInSeries": number})
    found = facts(orthanc).instances
    assert {each.id for each in found} == {"s-ct-1", "s-ct-2", "s-ct-3", "s-sr-1"}
    assert list_instances(cast(OrthancRest, orthanc), "Study", "s") == found


def test_an_overwritten_instance_has_another_digest(orthanc: FakeOrthanc) -> None:
    before = facts(orthanc).instances[0].digest
    orthanc.receive("s", series="ct", instance="s-ct-1")
    assert facts(orthanc).instances[0].digest != before


def test_each_sender_was_heard_when_its_last_instance_came() -> None:
    orthanc = FakeOrthanc()
    for sender, date in (("CT1", "20261122T033050"), ("CT1", "20261122T033059"), ("MR1", "20261121T000000"), ("", "")):
        orthanc.receive("study", metadata={"RemoteAET": sender, "ReceptionDate": date})
    orthanc.receive("study", metadata={"RemoteAET": "US1", "ReceptionDate": "yesterday"})
    heard = ResourceFacts(cast(OrthancRest, orthanc), "study").received()
    assert heard == {
        "CT1": datetime(2026, 11, 22, 3, 30, 59, tzinfo=UTC).timestamp(),
        "MR1": datetime(2026, 11, 21, tzinfo=UTC).timestamp(),
    }


def test_the_instances_of_a_series_know_their_study(orthanc: FakeOrthanc) -> None:
    found = list_instances(cast(OrthancRest, orthanc), "Series", "s-ct")
    assert [(each.id, each.study_id) for each in found] == [("s-ct-1", "s"), ("s-ct-2", "s")]


def test_a_study_that_is_gone_has_no_instances_and_raises_not_found(orthanc: FakeOrthanc) -> None:
    orthanc.delete_study("s")
    assert list_instances(cast(OrthancRest, orthanc), "Study", "s") == []
    with pytest.raises(OrthancError) as gone:
        values(orthanc, "StudyDescription")
    assert gone.value.not_found


def test_people_see_the_study_as_they_know_it(orthanc: FakeOrthanc) -> None:
    told = facts(orthanc).subject(patient_data=True)
    assert (told.level, told.resource_id, told.study_id) == ("Study", "s", "s")
    assert (told.patient_name, told.patient_id, told.accession_number) == ("DOE^JANE", "Ps", "A1")
    assert (told.modalities, told.remote_aet, told.called_aet) == ("CT\\SR", "CT1\\CT2", "ORTHANC")


def test_without_patient_data_neither_name_nor_id_is_kept(orthanc: FakeOrthanc) -> None:
    told = facts(orthanc).subject(patient_data=False)
    assert (told.patient_name, told.patient_id) == ("", "")
    assert told.study_instance_uid == "1.2.s"


@pytest.mark.parametrize(
    ("metadata", "copy"), [({}, False), ({"ModifiedFrom": "x"}, True), ({"AnonymizedFrom": "x"}, True)]
)
def test_a_copy_made_here_is_known_as_such(orthanc: FakeOrthanc, metadata: dict[str, str], copy: bool) -> None:
    orthanc.study_metadata["s"] = metadata
    assert facts(orthanc).is_copy() is copy


def test_whether_a_resource_is_there(orthanc: FakeOrthanc) -> None:
    rest = cast(OrthancRest, orthanc)
    assert exists(rest, "Study", "s")
    assert not exists(rest, "Study", "nothing")
    orthanc.failures["/studies"] = unreachable()
    with pytest.raises(OrthancError):
        exists(rest, "Study", "s")


def test_all_files_of_a_series_may_take_long_to_read(orthanc: FakeOrthanc) -> None:
    thickness = facts(orthanc).every().values(parse_key("0018,0050"))
    assert sorted(value or "" for value in thickness) == ["", "1.5", "3.0"]
    assert orthanc.patience["/series/s-ct/instances-tags?short"] >= 1800
