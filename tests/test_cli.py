# SPDX-License-Identifier: AGPL-3.0-or-later
import json
import os
import subprocess
import sys
from argparse import Namespace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from dicom_router.cli.local import UserError
from dicom_router.cli.main import main
from dicom_router.cli.remote import Remote, ask
from dicom_router.rules.keys import parse_key
from dicom_router.rules.match import compile_match
from dicom_router.studies.files import Files
from dicom_router.studies.study import ResourceFacts

ORTHANC_JSON = """{
  // a comment, with a "quote"
  "DicomModalities": { "ARCHIVE": ["ARCH", "127.0.0.1", 4243] }, /* another
  one */
  "Name": "${NO_SUCH_VARIABLE:-http://not a comment}",
  "Router": { "Rules": %s }
}
"""
CT = {"Name": "all CT", "Match": {"Modality": "CT"}, "Send": ["ARCHIVE"]}
MR = {"Name": "all MR", "Match": {"Modality": "MR"}, "Send": ["ARCHIVE"]}


def config(folder: Path, *rules: dict[str, Any]) -> str:
    path = folder / "orthanc.json"
    path.write_text(ORTHANC_JSON % json.dumps(rules), encoding="utf-8")
    return str(path)


def bundled(name: str) -> str:
    path = get_testdata_file(name)
    assert isinstance(path, str)
    return path


def test_check_passes_a_good_file_with_comments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", config(tmp_path, CT)]) == 0
    assert "holds together: 1 rule." in capsys.readouterr().out


def test_check_reads_a_folder_of_files_as_orthanc_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "orthanc.json").write_text('{"DicomModalities": {"ARCHIVE": ["ARCH", "127.0.0.1", 4243]}}')
    (tmp_path / "router.json").write_text(json.dumps({"Router": {"Rules": [CT]}}))
    (tmp_path / "readme.txt").write_text("no JSON")
    assert main(["check", str(tmp_path)]) == 0
    assert "holds together: 1 rule." in capsys.readouterr().out


def test_check_tells_that_the_time_zone_of_the_machine_is_unknown(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dicom_router", "check", config(tmp_path, CT)]
    ended = subprocess.run(command, env=os.environ | {"TZ": "UTC0"}, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout.startswith("Router.TimeZone: The machine's time zone cannot be told.")


def test_check_names_both_files_that_hold_the_same_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text('{"Router": {}}')
    assert main(["check", str(tmp_path)]) == 2
    assert '"Router" stands in a.json and in b.json' in capsys.readouterr().err


def test_check_tells_of_a_folder_without_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path)]) == 2
    assert "holds no file that ends in .json" in capsys.readouterr().err


def test_check_tells_all_problems_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"Name": "bad", "Match": {"Modalty": "CT"}, "Send": ["ARCHIV"]}
    assert main(["check", config(tmp_path, CT, bad), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [each["Path"] for each in told["Problems"]] == ["Router.Rules[1].Match.Modalty", "Router.Rules[1].Send[0]"]


def test_check_tells_warnings_and_exits_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", config(tmp_path, CT | {"Match": {}, "Stop": True}, MR)]) == 0
    assert "warning: Router.Rules[1].Match: This rule is never looked at" in capsys.readouterr().out


def test_a_failing_test_of_a_rule_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tests = [{"Given": {"Modality": "MR"}, "Expect": True}, {"Given": {"Modalty": "MR"}, "Expect": 1, "Of": 2}]
    assert main(["check", config(tmp_path, CT | {"Tests": tests})]) == 1
    out = capsys.readouterr().out
    assert (
        "Router.Rules[0].Tests[0]: This test fails: the rule is expected to match, but does not, because Modal" in out
    )
    for path in ("Tests[1].Expect", "Tests[1].Given.Modalty", "Tests[1].Of"):
        assert f"Router.Rules[0].{path}: " in out


@pytest.mark.parametrize(
    ("text", "said"),
    [("{ no json", "is not JSON"), ("[]", "must hold an object"), ("{}", 'has no section "Router"')],
)
def test_a_file_that_is_no_configuration_is_named_without_traceback(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "orthanc.json"
    path.write_text(text)
    assert main(["check", str(path)]) == 2
    assert said in capsys.readouterr().err
    assert main(["check", str(tmp_path / "missing.json")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_check_reads_what_orthanc_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "orthanc.json"
    path.write_text('{"Name": "a,}", "Router": {"Rules": [], /* last */ }, // one\n}', encoding="utf-8-sig")
    assert main(["check", str(path)]) == 0
    assert "holds together" in capsys.readouterr().out


@pytest.mark.parametrize(
    "other", [{"DicomModalities": ["x"]}, {"DicomModalities": 5}, {"OrthancPeers": 5}, {"DicomWeb": {"Servers": 5}}]
)
def test_check_says_which_destination_is_unknown_where_orthancs_lists_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: dict[str, object]
) -> None:
    path = tmp_path / "orthanc.json"
    path.write_text(json.dumps(other | {"Router": {"Rules": [CT]}}))
    assert main(["check", str(path)]) == 1
    assert 'There is no destination "ARCHIVE".' in capsys.readouterr().out


def test_a_file_that_is_nested_too_deeply_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "orthanc.json"
    path.write_text("[" * 200_000)
    assert main(["check", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


class Answers(Remote):
    """A server that answers always the same."""

    def __init__(self, told: object, user: str = "") -> None:
        super().__init__("http://127.0.0.1:1", user)
        self._told = told

    def call(self, method: str, path: str, body: object = None) -> Any:
        del method, path, body
        return self._told


@pytest.mark.parametrize("command", ["status", "destinations", "rules list", "history", "resend", "cancel"])
@pytest.mark.parametrize("told", [[1], {"Hello": "world"}, "x", 5])
def test_answers_of_another_server_are_told_as_such(command: str, told: object) -> None:
    options = Namespace(id=["1"], destination=None, instances=None)
    with pytest.raises(UserError, match="no dicom-router"):
        ask(Answers(told), command, options)


def test_a_router_that_could_not_be_loaded_tells_why() -> None:
    told = {"State": "Suspended", "Problems": [{"Path": "Router", "Message": "A package is missing."}], "Warnings": []}
    outcome = ask(Answers(told), "status", Namespace())
    assert (outcome.lines, outcome.code) == (["Suspended.", "problem: Router: A package is missing."], 1)


def test_a_rule_that_sends_nothing_is_listed() -> None:
    rule = {"Name": "drop", "Origin": "Config", "Version": 1, "Warnings": [], "Stop": True}
    assert "drop" in ask(Answers([rule]), "rules list", Namespace()).lines[1]


def test_a_password_may_have_any_letter() -> None:
    Answers({}, "é:ü€")


def test_a_deeply_nested_file_is_told_without_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "orthanc.json"
    for opening, closing in (("[", "]"), ('{"Any": [', "]}")):
        for depth in (100, 300, 3000, 100_000):
            path.write_text(f'{{"Router": {{"Rules": [{{"Match": {opening * depth}{closing * depth}}}]}}}}')
            assert main(["check", str(path)]) in (1, 2)
            assert main(["check", str(path), "--json"]) in (1, 2)
    assert "nested too deeply" in capsys.readouterr().err


def test_what_cannot_be_printed_is_told_by_its_escape(tmp_path: Path) -> None:
    path = tmp_path / "orthanc.json"
    path.write_text(json.dumps({"Router": {"Destinations": {"\ud800": 1}, "Rules": [{"Name": "é\ud800"}]}}))
    for encoding in ("utf-8", "ascii"):
        for options in ([], ["--json"]):
            ran = subprocess.run(
                [sys.executable, "-m", "dicom_router", "check", str(path), *options],
                capture_output=True,
                text=True,
                encoding=encoding,
                check=False,
                env={**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"},
            )
            assert (ran.returncode, ran.stderr) == (1, "")
            assert "\\ud800" in ran.stdout
            if options:
                assert "Router.Destinations.\ud800" in {each["Path"] for each in json.loads(ran.stdout)["Problems"]}


@pytest.mark.parametrize(
    "text", ['{"Router": {,}}', '{"Router": {"Rules": [,]}}', '{"Router": {},,}', '{,"Router": {}}']
)
def test_check_refuses_commas_that_orthanc_refuses(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "orthanc.json"
    path.write_text(text)
    assert main(["check", str(path)]) == 2
    assert "is not JSON" in capsys.readouterr().err


def test_wrong_usage_exits_2() -> None:
    for arguments in ([], ["nothing"], ["explain"], ["rules"], ["resend"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2


def test_a_server_that_does_not_answer_is_named_and_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--url", "http://127.0.0.1:9"]) == 1
    assert "http://127.0.0.1:9/router does not answer" in capsys.readouterr().err


def test_the_module_can_be_run() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "dicom_router", "--version"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("dicom-router ")


# --- explain ---------------------------------------------------------------------------------------------------------


def test_explain_prints_the_right_rules_for_bundled_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [bundled("CT_small.dcm"), bundled("MR_small.dcm")]
    assert main(["explain", config(tmp_path, CT, MR), *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("CompressedSamples^CT1, e+1, CT, 1.3.6.1.4.1.5962.1.2.1.20040119072730.12322 (1 file)")
    assert lines[1:4] == [
        '  Rule "all CT" matched and sends to ARCHIVE.',
        '  Rule "all MR" did not match: Modality must be "MR", but it is "CT".',
        "  Goes to ARCHIVE (1 of 1).",
    ]
    assert '  Rule "all MR" matched and sends to ARCHIVE.' in lines[5:]


def test_explain_tells_which_instances_of_a_study_are_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [made(tmp_path / f"{number}.dcm", {"InstanceNumber": number}) for number in range(1, 4)]
    rule = CT | {"Instances": {"InstanceNumber": {"Ge": 2}}}
    assert main(["explain", config(tmp_path, rule), *files, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["Send"] == [{"Destination": "ARCHIVE", "InstancesCount": 2}]


def test_explain_looks_at_series_patients_and_instances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [made(tmp_path / f"{number}.dcm", {"SeriesNumber": number}, series=number) for number in (1, 2)]
    rules = [
        CT | {"Name": trigger, "Trigger": trigger, "Match": match}
        for trigger, match in (
            ("StableSeries", {"SeriesNumber": 2}),
            ("StablePatient", {"SeriesCount": 2}),
            ("NewInstance", {"InstancesCount": 1}),
        )
    ]
    assert main(["explain", config(tmp_path, *rules), *files, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert {(each["Rule"], each["Matched"]) for each in told["Rules"]} == {
        ("StableSeries", False),
        ("StableSeries", True),
        ("StablePatient", True),
        ("NewInstance", True),
    }


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_explain_shows_no_patient_where_the_router_shows_none(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = made(tmp_path / "1.dcm", {"PatientName": "Doe^Jane", "PatientID": "P-4711"})
    asked = {"Any": [{"PatientID": "P-1"}, {"PatientName": "Roe^*"}]}
    orthanc = {
        "DicomModalities": {"ARCHIVE": ["ARCH", "127.0.0.1", 4243]},
        "Router": {"PatientData": False, "Rules": [CT | {"Match": {"PatientID": "P-1"}}, MR | {"Match": asked}]},
    }
    path = tmp_path / "orthanc.json"
    path.write_text(json.dumps(orthanc))
    assert main(["explain", str(path), file, *options]) == 0
    out = capsys.readouterr().out
    assert "1.2.3" in out
    assert "all CT" in out
    assert "Doe" not in out
    assert "4711" not in out


@pytest.mark.filterwarnings("ignore")  # pydicom warns of the value
def test_explain_reads_files_with_an_odd_instance_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    superscript, sequence = Path(made(tmp_path / "1.dcm", {"InstanceNumber": 12})), tmp_path / "2.dcm"
    superscript.write_bytes(superscript.read_bytes().replace(b"IS\x02\x0012", b"IS\x02\x00" + "²".encode()))
    data_set = dcmread(superscript)
    del data_set["InstanceNumber"]
    data_set.add_new("InstanceNumber", "SQ", [])
    data_set.save_as(sequence)
    assert main(["explain", config(tmp_path, CT), str(superscript), str(sequence)]) == 0
    assert "CT" in capsys.readouterr().out


def test_explain_names_a_file_that_is_no_dicom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.dcm").write_text("no DICOM")
    assert main(["explain", config(tmp_path, CT), str(tmp_path / "text.dcm")]) == 2
    assert "text.dcm cannot be read as DICOM" in capsys.readouterr().err


def test_explain_leaves_out_what_is_no_dicom_in_a_folder_and_tells_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "export" / "deep"
    folder.mkdir(parents=True)
    made(folder / "1.dcm", {})
    (folder / "readme.txt").write_text("no DICOM")
    path = config(tmp_path, CT)
    for options in ([], ["--json"]):
        assert main(["explain", path, str(tmp_path / "export"), *options]) == 0
        told = capsys.readouterr()
        assert "ARCHIVE" in told.out
        assert "readme" not in told.out
        assert f"{folder / 'readme.txt'} cannot be read as DICOM" in told.err
        assert "left out" in told.err
    # Who names the file too wants to know.
    assert main(["explain", path, str(tmp_path / "export"), str(folder / "readme.txt")]) == 2


def test_explain_tells_of_a_folder_without_dicom_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for _ in ("nothing", "no DICOM"):
        assert main(["explain", config(tmp_path, CT), str(empty)]) == 2
        assert f"There is no DICOM file in {empty}." in capsys.readouterr().err
        (empty / "text.txt").write_text("no DICOM")


# --- the truth table on files ----------------------------------------------------------------------------------------

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("match_cases.json").read_text(encoding="utf-8"))
TEXTUAL = ("IS", "DS", "CS", "LO", "SH", "DA", "TM", "DT", "AS", "PN", "UI", "LT", "ST", "AE", "UT")
NOW = datetime(2026, 11, 22, 12, tzinfo=ZoneInfo("Europe/Berlin"))
NEEDED = {"SOPClassUID": CTImageStorage, "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}
# What a file of one instance cannot say: how it came to a router, and several values of several entities.
NOT_IN_FILES = {
    *("RemoteAET", "CalledAET", "RemoteIP", "Origin", "HttpUsername", "ReceptionDate", "ReceivedTime"),
    *("ReceivedWeekday", "InstancesCount", "SeriesCount", "SOPClass", "StudyWeekday", "PatientAgeYears"),
    *("TransferSyntaxUID", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
}


def made(path: Path, tags: dict[str, Any], series: int = 4) -> str:
    """A file with these tags."""
    data_set = Dataset()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.MediaStorageSOPClassUID = CTImageStorage
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.SpecificCharacterSet = "ISO_IR 192"
    base = NEEDED | {"Modality": "CT", "SOPInstanceUID": generate_uid(), "SeriesInstanceUID": f"1.2.3.{series}"}
    for keyword, value in (base | tags).items():
        set_tag(data_set, keyword, value)
    data_set.save_as(path, enforce_file_format=True)
    return str(path)


def set_tag(data_set: Dataset, name: str, value: Any) -> None:
    if value is None:
        if name in data_set:
            del data_set[name]
        return
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        items = []
        for item in value:
            items.append(Dataset())
            for below, inner in item.items():
                set_tag(items[-1], below, inner)
        value = items
    key = parse_key(name)
    tag = tag_for_keyword(name) or key.path[-1]
    vr = "LO" if key.vr == "UN" else key.vr
    if vr in ("US", "SS", "UL", "SL"):
        value = int(value)
    elif vr in ("FL", "FD"):
        value = float(value)
    data_set.add_new(tag, vr, value if isinstance(value, list | int | float) and vr not in TEXTUAL else str(value))


def can_be_a_file(case: dict[str, Any]) -> bool:
    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return False
        return not isinstance(value, list) or (bool(value) and all(isinstance(item, dict) for item in value))

    return all(name not in NOT_IN_FILES and "." not in name and plain(value) for name, value in case["tags"].items())


@pytest.mark.filterwarnings("ignore")  # the table has values that pydicom finds wrong
def test_the_truth_table_holds_for_files(tmp_path: Path) -> None:
    looked_at, wrong = 0, []
    for case in filter(can_be_a_file, CASES):
        tags = {"Modality": None, **case["tags"]}
        try:
            path = made(tmp_path / f"{looked_at}.dcm", tags)
        except (ValueError, TypeError, OSError):
            continue  # no file can hold this
        match, _ = compile_match(case["match"], "Match")
        assert match is not None
        if {key.name for key in match.keys} & NOT_IN_FILES:
            continue
        looked_at += 1
        now = datetime.fromisoformat(case["now"]).astimezone(NOW.tzinfo) if "now" in case else NOW
        held = Files([Path(path)])
        if match.evaluate(ResourceFacts(held, held.studies[0]), now).matched is not case["expect"]:
            wrong.append(case["name"])
    assert wrong == []
    assert looked_at > 150
