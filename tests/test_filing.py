# SPDX-License-Identifier: AGPL-3.0-or-later
"""Names out of tags that anybody may have chosen: they stay inside, fit every file system, and stay different."""

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dicom_router.filing.names import LONGEST, RESERVED, plain_value
from dicom_router.filing.template import Place, parse_template

PATIENT, DATE, ACCESSION, SOP = 0x00100020, 0x00080020, 0x00080050, 0x00080018
CONTRACT = parse_template("{PatientID}/{StudyDate}-{AccessionNumber}/{SOPInstanceUID}.dcm", one_file=False)
ONE = parse_template("{PatientID}/{SOPInstanceUID}.dcm", one_file=False)

HOSTILE = (
    "../../etc",
    "..",
    ".",
    "/etc/passwd",
    "C:\\Windows",
    "a\0b",
    "a\nb\x1b[31m",
    "x" * 300,
    "影" * 300,
    "con",
    "NUL.txt",
    "com1",
    "trailing...",
    "trailing . . ",
    ".hidden",
    "山田^太郎=やまだ^たろう",
    "abc\u202etxt.exe",
    "\ud800",
    "~",
    "-rf",
    "",
    "   ",
)


def steps(place: Place) -> list[str]:
    return [*place.folders, place.file_name()]


def check_name(name: str) -> None:
    assert name not in {"", ".", ".."}
    assert not set(name) & set('<>:"/\\|?*')
    assert not any(unicodedata.category(each) in {"Cc", "Cf", "Cs"} for each in name)
    assert name[0] not in ". "
    assert name[-1] not in ". "
    assert name.split(".", maxsplit=1)[0].lower() not in RESERVED
    assert len(name.encode()) <= LONGEST + 20
    assert PurePosixPath(name).name == name
    assert PureWindowsPath(name).name == name


TEXTS = st.one_of(st.text(max_size=400), st.sampled_from(HOSTILE), st.text(alphabet="./\\ co1n~:", max_size=12))


@given(TEXTS, TEXTS, TEXTS)
@example("..", "..", "..")
def test_whatever_a_tag_holds_each_step_is_one_plain_name(patient: str, accession: str, sop: str) -> None:
    place = CONTRACT.place({PATIENT: patient, ACCESSION: accession, SOP: sop})
    assert len(place.folders) == 2
    for name in steps(place):
        check_name(name)
    check_name(place.marked("1.2.3").file_name())
    check_name(place.beside(sop).file_name())
    assert place.file_name().endswith(".dcm")


@given(TEXTS, TEXTS)
@example("a/b", "a_b")
@example("a/b", "a:b")
@example("x" * 300, "x" * 301)
@example("con", "_con")
@example("..", "__")
@example(":", ": ")
def test_different_values_have_different_names(one: str, two: str) -> None:
    same = plain_value(one) == plain_value(two)
    names = {ONE.place({PATIENT: each, SOP: each}).folders[0] for each in (one, two)}
    files = {ONE.place({PATIENT: each, SOP: each}).file_name() for each in (one, two)}
    assert len(names) == len(files) == (1 if same else 2)


@given(TEXTS)
def test_the_same_value_always_has_the_same_name(value: str) -> None:
    assert CONTRACT.place({PATIENT: value}) == CONTRACT.place({PATIENT: value})


@pytest.mark.parametrize(
    ("patient", "folder"),
    [
        ("12345", "12345"),
        ("  12345 ", "12345"),
        ("DOE^JANE", "DOE^JANE"),
        ("山田^太郎=やまだ^たろう", "山田^太郎=やまだ^たろう"),
        ("", "unknown"),
        ("   ", "unknown"),
    ],
)
def test_what_a_name_can_hold_is_kept(patient: str, folder: str) -> None:
    assert CONTRACT.place({PATIENT: patient}).folders[0] == folder


def test_the_example_of_the_documentation() -> None:
    place = CONTRACT.place({PATIENT: "P1", DATE: "20261122", ACCESSION: "A7", SOP: "1.2.3"})
    assert steps(place) == ["P1", "20261122-A7", "1.2.3.dcm"]
    assert place.file_name("-2") == "1.2.3-2.dcm"


def test_a_name_in_two_parts_is_checked_as_a_whole() -> None:
    template = parse_template("{PatientID}{AccessionNumber}/x.dcm", one_file=False)
    for patient, accession in (("co", "n"), (".", "."), ("x", "..")):
        check_name(template.place({PATIENT: patient, ACCESSION: accession}).folders[0])


NO_NAMES = ("", "/", "a//b", "a/", "a/../b", "./a", ".hidden", "con/x", "nul.dcm", "a:b", "a\\b", "a\nb", "x.")
NO_TAGS = ("{}", "{ PatientID }", "{PatientID}}", "{{PatientID}}", "{PatientId}", "{0010,0020}", "${HOME}")
NO_TEXTS = ("{TransferSyntaxUID}", "{PixelData}", "{RequestAttributesSequence}")
TOO_LONG = ("{PatientID}" + "/a" * 16, "x" * 600)


@pytest.mark.parametrize("text", [*NO_NAMES, *NO_TAGS, *NO_TEXTS, *TOO_LONG])
def test_a_template_that_cannot_be_right_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_template(text, one_file=False)


@given(st.text(max_size=40))
def test_no_template_whatever_raises_anything_else(text: str) -> None:
    try:
        template = parse_template(text, one_file=True)
    except ValueError:
        return
    for name in steps(template.place({})):
        check_name(name)
