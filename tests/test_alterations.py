# SPDX-License-Identifier: AGPL-3.0-or-later
"""`Modify`, `Anonymize` and `Transcode` in rules: what is legal, what is refused and where, and what becomes of it."""

from typing import Any

import pytest

from builders import configured
from dicom_router.alteration import Alteration, Method, alteration_of, kept_of, words
from dicom_router.config import Neighbours, parse
from dicom_router.tags import by_number, read_tag, tag_path
from dicom_router.transfer_syntaxes import SYNTAXES

JPEG_LS, JPEG_LOSSY = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.51"
KNOWN = Neighbours({"ARCHIVE": "ARCHIVE", "OTHER": "OTHER"})


def rule(**changes: object) -> dict[str, object]:
    return {"Name": "r", "Match": {}, "Send": ["ARCHIVE"], **changes}


def problems(**changes: object) -> dict[str, str]:
    """Message by path, below the rule."""
    _, found = parse({"Rules": [rule(**changes)]}, KNOWN)
    return {each.path.removeprefix("Router.Rules[0]."): each.message for each in found}


LEGAL: list[dict[str, Any]] = [
    {"Modify": {"Replace": {"InstitutionName": "Clinic", "0008,0070": "Maker", "00081030": 7}}},
    {"Modify": {"Remove": ["StudyDescription", "0008-0080", "0011,1001"], "RemovePrivateTags": True}},
    {"Modify": {"Replace": {"RequestAttributesSequence[0].AccessionNumber": "1"}, "PrivateCreator": "ME"}},
    {
        "Modify": {
            "Replace": {"OtherPatientIDsSequence": [{"PatientID": "1"}]},
            "Asynchronous": True,
            "KeepSource": True,
        }
    },
    {"Modify": {"Keep": ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"], "Force": True}},
    {"Anonymize": {"Keep": ["StudyDescription"], "DicomVersion": "2023b", "KeepPrivateTags": True}},
    {"Anonymize": {"Replace": {"PatientID": "S1", "PatientName": "S^1"}, "Force": True}},
    {"Anonymize": {"Keep": ["ContentSequence[*].PersonName"]}},
    {"Send": [{"To": "ARCHIVE", "Transcode": JPEG_LS, "Verify": "Counted"}]},
    {"Anonymize": {"Keep": []}, "Send": [{"To": "ARCHIVE", "Transcode": JPEG_LOSSY, "Verify": "Committed"}]},
]


@pytest.mark.parametrize("changes", LEGAL)
def test_what_orthanc_understands_is_legal(changes: dict[str, Any]) -> None:
    assert problems(**changes) == {}


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"Modify": {"Repace": {}}}, "Modify.Repace", 'Did you mean "Replace"?'),
        ({"Modify": {"DicomVersion": "2008"}}, "Modify.DicomVersion", "Unknown key"),
        ({"Anonymize": {"RemovePrivateTags": True}}, "Anonymize.RemovePrivateTags", 'Did you mean "KeepPrivateTags"?'),
        ({"Modify": {"Replace": {"InstitutionNane": "x"}}}, "Modify.Replace.InstitutionNane", '"InstitutionName"?'),
        ({"Modify": {"Replace": ["x"]}}, "Modify.Replace", "must be an object"),
        ({"Modify": {"Replace": {"StudyID": True}}}, "Modify.Replace.StudyID", "must be a text, a number"),
        ({"Modify": {"Remove": "StudyID"}}, "Modify.Remove", "must be a list of tags"),
        ({"Modify": {"Remove": ["PatientID"]}}, "Modify.Remove", "cannot be removed"),
        ({"Anonymize": {"Keep": ["Nonsense"]}}, "Anonymize.Keep", "no DICOM tag"),
        ({"Anonymize": {"Keep": ["ContentSequence.PersonName"]}}, "Anonymize.Keep", "a path looks like"),
        ({"Anonymize": {"Keep": ["SOPInstanceUID"]}}, "Anonymize.Keep", 'needs "Force": true'),
        ({"Anonymize": {"Replace": {"PatientID": "1"}}}, "Anonymize.Replace", 'needs "Force": true'),
        ({"Modify": {"Force": 1, "Keep": []}}, "Modify.Force", "must be true or false"),
        ({"Modify": {"PrivateCreator": 1}}, "Modify.PrivateCreator", "must be a text"),
        ({"Modify": {"KeepSource": False}}, "Modify.KeepSource", "never changes or deletes"),
        ({"Modify": {"Transcode": JPEG_LS}}, "Modify.Transcode", 'entry of "Send"'),
        ({"Anonymize": {"DicomVersion": "1999"}}, "Anonymize.DicomVersion", "2023b"),
        (
            {"Modify": {"Replace": {"StudyInstanceUID": "1.2"}, "Force": True}},
            "Modify.Replace.StudyInstanceUID",
            "the same for every study",
        ),
        ({"Modify": {"Keep": []}, "Anonymize": {"Keep": []}}, "Modify", "modifies or anonymizes"),
        ({"Send": [{"To": "ARCHIVE", "Transcode": "1.2"}]}, "Send[0].Transcode", "Legal are: 1.2.840.10008.1.2 ("),
        ({"Send": [{"To": "ARCHIVE", "Transcode": "JPEG-LS Lossless"}]}, "Send[0].Transcode", JPEG_LS),
        (
            {"Send": [{"To": "ARCHIVE", "Transcode": JPEG_LOSSY, "Verify": "Counted"}]},
            "Send[0].Transcode",
            "is lossy",
        ),
    ],
)
def test_what_orthanc_would_not_understand_is_refused_at_its_place(
    changes: dict[str, Any], path: str, message: str
) -> None:
    found = problems(**changes)
    assert list(found) == [path]
    assert message in found[path]


def test_a_lossy_copy_is_not_counted_at_a_destination_that_always_is() -> None:
    section = {
        "Destinations": {"A": {"Modality": "ARCHIVE", "Verify": "Counted"}},
        "Rules": [rule(Send=[{"FirstOf": ["A", "OTHER"], "Transcode": JPEG_LOSSY}])],
    }
    _, found = parse(section, KNOWN)
    assert [each.path for each in found] == ["Router.Rules[0].Send[0].Transcode"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"Format": "Zip"}, "gets Zip"),
        ({"Format": "Dicom", "Verify": "Counted"}, "cannot be looked for"),
        ({"Format": "Dicom"}, ""),
    ],
)
def test_a_folder_gets_altered_copies_as_dicom_files(options: dict[str, str], message: str) -> None:
    for altered in ({"Anonymize": {"Keep": []}}, {"Send": [{"To": "OUT", "Transcode": JPEG_LS}]}):
        section = {"Destinations": {"OUT": {"Folder": "/srv/out", **options}}, "Rules": [rule(Send=["OUT"]) | altered]}
        _, found = parse(section, KNOWN)
        assert [each.path for each in found] == (["Router.Rules[0].Send[0]"] if message else [])
        assert all(message in each.message for each in found)


def test_an_empty_object_alters_nothing() -> None:
    (made,) = configured({"Rules": [rule(Modify={}, Anonymize={})]}).rules
    assert made.alteration(made.sends[0]) is None


def test_what_a_rule_and_its_send_say_comes_together() -> None:
    spec = {"Keep": ["StudyDescription"]}
    made = alteration_of({"Anonymize": spec}, {"Transcode": JPEG_LS})
    assert made == Alteration(Method.ANONYMIZE, spec, JPEG_LS)
    assert made is not None
    assert made.told() == {"Anonymize": spec, "Transcode": JPEG_LS}
    assert words(made.told()) == "anonymized, as JPEG-LS Lossless"
    assert kept_of({"Anonymize": spec, "Modify": {}, "Name": "r"}) == {"Anonymize": spec}


@pytest.mark.parametrize(("uid", "lossy"), [(JPEG_LS, False), (JPEG_LOSSY, True), ("1.2.840.10008.1.2.4.91", True)])
def test_only_syntaxes_that_lose_something_are_lossy(uid: str, lossy: bool) -> None:
    assert Alteration(transcode=uid).lossy is lossy


def test_every_lossy_syntax_tells_its_method() -> None:
    assert all(bool(syntax.method) is syntax.lossy for syntax in SYNTAXES.values())


def test_tags_are_read_in_all_forms_of_orthanc() -> None:
    assert {read_tag(each) for each in ("PatientID", "0010,0020", "0010-0020", "00100020")} == {0x00100020}
    assert read_tag("Nobody") is None
    assert tag_path("ContentSequence[3].PersonName") == (0x0040A730, 0x0040A123)
    assert by_number("ContentSequence[*].0040,a123") == "0040,a730[*].0040,a123"
    assert by_number("0011-1001") == "0011,1001"


@pytest.mark.parametrize("option", ["LocalAet", "MoveOriginator"])
@pytest.mark.parametrize("of_destination", [False, True])
def test_an_altered_copy_cannot_have_another_ae_title(option: str, *, of_destination: bool) -> None:
    own = {"Modality": "ARCHIVE", **({option: "OTHERME"} if of_destination else {})}
    send = {"To": "ARCHIVE", **({} if of_destination else {option: "OTHERME"})}
    section = {"Destinations": {"ARCHIVE": own}, "Rules": [rule(Send=[{**send, "Transcode": JPEG_LS}])]}
    _, found = parse(section, KNOWN)
    assert [each.path for each in found] == ["Router.Rules[0].Send[0]"]
    assert f"{option} of ARCHIVE cannot be had for altered copies" in found[0].message
    assert not parse(section | {"Rules": [rule(Send=[send])]}, KNOWN)[1]


def test_an_entry_of_send_cannot_be_switched_off() -> None:
    assert "cannot be switched off" in problems(Send=[{"To": "ARCHIVE", "Enabled": False}])["Send[0].Enabled"]
    assert not problems(Send=[{"To": "ARCHIVE", "Enabled": True}])
