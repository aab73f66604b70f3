# SPDX-License-Identifier: AGPL-3.0-or-later
"""The documentation says only what is true: its examples are read as users would have them read."""

import argparse
import configparser
import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from pydantic import BaseModel
from pydicom.data import get_testdata_file

from dicom_router.alerts.alert import AlertKind, AlertState, Key, News
from dicom_router.alerts.message import Sender, compose
from dicom_router.alerts.wording import failed
from dicom_router.api.http import ROOT, Endpoint
from dicom_router.api.preview_schemas import BackfillBody, ImportBody, PreviewBody
from dicom_router.api.routes import build
from dicom_router.api.schemas import RuleBody, RulesBody
from dicom_router.api.services import Services
from dicom_router.api.web_page import WebPage
from dicom_router.cli.local import Outcome
from dicom_router.cli.main import main
from dicom_router.config import (
    AlertsSection,
    DestinationSection,
    EmailSection,
    Neighbours,
    RouterSection,
    RuleParser,
    RuleSection,
    effective,
    neighbours,
    parse,
)
from dicom_router.destination import Destination, Kind
from dicom_router.messengers.webhook import signature
from dicom_router.metrics import DestinationState, Intake, Snapshot, exposition
from dicom_router.rules.facts import TagFacts
from dicom_router.rules.match import compile_match
from dicom_router.rules.warnings.checks import Surroundings, rule_warnings

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The modalities that the examples name without saying where they are.
MODALITIES = Neighbours(
    {
        name: name
        for name in (
            *("ARCHIVE", "WORKSTATION", "RESEARCH", "PEDIATRICS", "ONCALL", "REPORTS", "QA", "PLANNING"),
            *("PACS1", "PACS2", "READER1", "READER2"),
        )
    }
)
SOME_ID = "6b9e19d9"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Request:
    """A call of curl."""

    place: str
    method: str
    url: str
    headers: tuple[str, ...]
    data: str | None

    def __str__(self) -> str:
        return f"{self.place} {self.method} {urlsplit(self.url).path}"


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    return FENCE.sub("", text_of(page))


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = text_of(page)
        for found in FENCE.finditer(text):
            yield Block(page.name, text.count("\n", 0, found.start()) + 1, found[1], found[2])


def requests() -> Iterator[Request]:
    for block in blocks():
        for line in block.text.replace("\\\n", " ").splitlines():
            if line.startswith("curl "):
                yield read_curl(str(block), shlex.split(line)[1:])


def read_curl(place: str, words: list[str]) -> Request:
    options: dict[str, list[str]] = {"-X": [], "-H": [], "-d": []}
    urls = []
    left = iter(words)
    for word in left:
        if word in options:
            options[word].append(next(left))
        else:
            urls.append(word)
    assert len(urls) == 1, f"{place}: {words}"
    return Request(
        place, (options["-X"] or ["GET"])[0], urls[0], tuple(options["-H"]), options["-d"][0] if options["-d"] else None
    )


def problems_of(example: dict[str, object]) -> list[str]:
    """What is wrong with a section `Router`, a rule, destinations or modalities, whichever the example is."""
    known = MODALITIES
    section: object
    if set(example) == {"DicomModalities"}:
        known = neighbours(example)
        section = {"Destinations": {name: {"Modality": name} for name in known.modalities}}
    elif "Router" in example:
        section = example["Router"]
        if len(example) > 1:  # with what it needs of Orthanc's own configuration
            known = neighbours(example)
    elif "Send" in example:
        section = {"Rules": [example]}
    elif example and all(isinstance(value, dict) and "Modality" in value for value in example.values()):
        section = {"Destinations": example}
    else:
        pytest.fail("neither a section Router, nor a rule, nor destinations, nor modalities")
    return [f"{problem.path}: {problem.message}" for problem in parse(section, known)[1]]


@cache
def endpoints() -> tuple[Endpoint, ...]:
    return build(Services(clock=time.time)).endpoints


JSON_BLOCKS = [block for block in blocks() if block.kind == "json"]
REQUESTS = [request for request in requests() if urlsplit(request.url).path.startswith(f"{ROOT}/")]


def rules() -> dict[str, dict[str, object]]:
    """The rules of docs/rules.md by their names."""
    read = [json.loads(block.text) for block in JSON_BLOCKS if block.page == "rules.md"]
    return {rule["Name"]: rule for rule in read}


# --- examples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", JSON_BLOCKS, ids=str)
def test_example_has_no_problems(block: Block) -> None:
    assert problems_of(json.loads(block.text)) == []


def test_names_of_rules_differ() -> None:
    names = [json.loads(block.text)["Name"] for block in JSON_BLOCKS if block.page == "rules.md"]
    assert len(names) == len(set(names))


CHEST = {"Modality": "CT", "BodyPartExamined": "CHEST", "InstitutionName": "General", "PatientID": "1"}
TODAY = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("everything to the archive", {}, True),
        ("CT and MR to the workstation", {"Modality": ["SR", "MR"]}, True),
        ("CT and MR to the workstation", {"Modality": "US"}, False),
        ("CT of the emergency room", {"Modality": "CT", "RemoteAET": "CT_ER"}, True),
        ("CT of the emergency room", {"Modality": "CT", "RemoteAET": "CT_1"}, False),
        ("trauma first", {"StudyDescription": "CT Polytrauma"}, True),
        ("trauma first", {"StudyDescription": "TRAUMA whole body"}, True),
        ("trauma first", {}, False),
        ("chest CT for the study group", CHEST, True),
        ("chest CT for the study group", CHEST | {"BodyPartExamined": "", "StudyDescription": "CT Thorax nativ"}, True),
        ("chest CT for the study group", CHEST | {"BodyPartExamined": "HEAD"}, False),
        ("chest CT for the study group", CHEST | {"PatientID": "TEST7"}, False),
        ("chest CT for the study group", CHEST | {"InstitutionName": ""}, False),
        ("recent studies of children", {"PatientAgeYears": 17, "StudyDate": "20261101"}, True),
        ("recent studies of children", {"PatientAgeYears": 18, "StudyDate": "20261101"}, False),
        ("recent studies of children", {"PatientAgeYears": 3, "StudyDate": "20260901"}, False),
        ("night shift of the branch office", {"RemoteIP": "10.20.3.4", "ReceivedTime": "0330"}, True),
        ("night shift of the branch office", {"RemoteIP": "10.20.3.4", "ReceivedTime": "1200"}, False),
        ("night shift of the branch office", {"RemoteIP": "10.21.3.4", "ReceivedTime": "0330"}, False),
        ("only reports and key objects", {"Modality": ["SR", "KO"]}, True),
        ("only reports and key objects", {"Modality": ["SR", "CT"]}, False),
        ("phantoms to quality assurance only", {"PatientID": "PHANTOM 12"}, True),
        ("phantoms to quality assurance only", {"PatientID": "12"}, False),
        ("thin slices for planning", {"Modality": "CT", "SeriesDescription": "PLAN 1.0"}, True),
        ("thin slices for planning", {"Modality": "CT", "SeriesDescription": "AX 5.0"}, False),
        ("studies with a report", {"Modality": "SR"}, True),
        ("all of a patient to oncology", {"RequestedProcedureDescription": ["CT head", "CT Staging"]}, True),
        ("fluoroscopy at once", {"Modality": "XA"}, False),
        ("thick slices only", {"Modality": "CT", "SliceThickness": ["1.25", "5.0"]}, True),
        ("thick slices only", {"Modality": "CT", "SliceThickness": "1.25"}, False),
    ],
)
def test_example_matches_what_the_text_says(name: str, tags: dict[str, object], expected: bool) -> None:
    match, problems = compile_match(rules()[name]["Match"], "Match")
    assert match is not None, problems
    assert match.evaluate(TagFacts(tags), TODAY).matched is expected


def destination(name: str, schedule: str = "") -> Destination:
    plain = Destination(name, name, name)
    return effective(plain, {}, schedule) if schedule else plain


def warned(bodies: list[dict[str, object]], modalities: frozenset[str] | None = None) -> list[str]:
    destinations = {name: destination(name) for name in MODALITIES.modalities} | {"NIGHT": destination("NIGHT", NIGHT)}
    parser = RuleParser(MODALITIES, destinations)
    read = [parser.rule({"Name": f"rule {index}", **body}, "") for index, body in enumerate(bodies)]
    assert parser.problems == []
    known = {} if modalities is None else {Kind.MODALITY: modalities}
    found = rule_warnings(
        [rule for rule in read if rule is not None], Surroundings(destinations, effective, TODAY, known)
    )
    return [each.message for told in found.values() for each in told]


NIGHT = "19:00-07:00"


@pytest.mark.parametrize("name", sorted(rules()))
def test_example_has_no_warnings(name: str) -> None:
    assert warned([rules()[name]]) == []


@pytest.mark.parametrize(
    ("bodies", "modalities", "told"),
    [
        ([{"Match": {"Modality": {"In": ["CT"], "NotIn": ["CT"]}}}], None, "This rule never matches"),
        ([{"Stop": True}, {"Match": {"Modality": "CT"}}], None, "This rule is never looked at"),
        ([{}, {"Description": "again"}], None, "This rule does the same as"),
        ([{"Match": {"Modality": "ct scanner"}}], None, "never holds"),
        ([{"Instances": {"SliceThickness": 1}}], None, "is read from one instance of each series"),
        ([{}], frozenset(), "Orthanc does not know the modality"),
        ([{"Match": {"RemoteAET": "ARCHIVE"}}], None, "is not sent back there"),
        ([{"Send": ["NIGHT"], "Schedule": "08:00-12:00"}], None, "are never open at the same time"),
        ([{"DeleteAfterSend": True}], None, "DeleteAfterSend deletes what"),
    ],
)
def test_warning_of_the_table_is_given(
    bodies: list[dict[str, object]], modalities: frozenset[str] | None, told: str
) -> None:
    given = warned([{"Send": ["ARCHIVE"], **body} for body in bodies], modalities)
    assert any(told in message for message in given), given
    assert f"| {told} |" in text_of(REPOSITORY / "docs" / "rules.md")


def test_schedules_of_the_table_are_understood() -> None:
    table = text_of(REPOSITORY / "docs" / "rules.md").split("### Schedules")[1]
    cells = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(cells) >= 5
    for cell in cells:
        schedule = json.loads(cell) if cell.startswith("{") else cell
        assert problems_of({"Name": "x", "Match": {}, "Send": ["ARCHIVE"], "Schedule": schedule}) == [], cell


# --- REST ------------------------------------------------------------------------------------------------------------


def find(method: str, path: str) -> Endpoint | None:
    return next((each for each in endpoints() if each.method == method and each.pattern.fullmatch(path)), None)


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_request_is_taken(request_: Request) -> None:
    url = urlsplit(request_.url)
    endpoint = find(request_.method, url.path)
    assert endpoint is not None
    assert {name for name, _ in parse_qsl(url.query)} <= {parameter.name for parameter in endpoint.query}
    assert ("Content-Type: application/json" in request_.headers) is (request_.method != "GET")
    if endpoint.body is None:
        assert request_.data is None
    else:
        check_body(endpoint.body.model_validate(json.loads(request_.data or "{}")), url.path)


def check_body(body: BaseModel, path: str) -> None:
    if isinstance(body, RuleBody):
        assert problems_of({"Name": unquote(path.rsplit("/", 1)[1])} | body.root) == []
    elif isinstance(body, RulesBody | ImportBody):
        for rule in body.rules:
            assert problems_of(rule) == []
    elif isinstance(body, PreviewBody):
        assert problems_of({"Name": "Preview", **body.rule}) == []
        assert sum(each is not None for each in (body.studies, body.last, body.tags)) == 1
    elif isinstance(body, BackfillBody):
        assert all(name.startswith("Study") for name in body.query)


def test_address_exists() -> None:
    mentioned = {
        (page.name, found[1] or "", found[2].rstrip("."))
        for page in PAGES
        for found in re.finditer(rf"(?:\b(GET|POST|PUT|DELETE) )?(?<![a-z])({ROOT}/[\w{{}}/.-]*)", text_of(page))
    }
    assert len(mentioned) > 10
    for page, method, path in sorted(mentioned):
        if WebPage.owns(path.rstrip("/")):
            continue
        methods = [method] if method else ["GET", "POST", "PUT", "DELETE"]
        assert any(find(each, path.replace("{id}", SOME_ID)) for each in methods), f"{page}: {method} {path}"


# --- the command line -------------------------------------------------------------------------------------------------

COMMANDS = [
    (str(block), tuple(shlex.split(line.split(" > ")[0])[1:]))
    for block in blocks()
    for line in block.text.splitlines()
    if block.kind == "sh" and line.startswith("dicom-router ")
]


@pytest.mark.parametrize(("place", "words"), COMMANDS)
def test_command_is_understood(place: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_router.cli.main._run", lambda options: Outcome([], None))
    assert main(words) == 0, place


def test_every_command_is_shown_and_no_other_is_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = cli_commands(monkeypatch)
    mentioned = {word for page in PAGES for word in re.findall(r"`dicom-router ([a-z]+)", prose_of(page))}
    assert mentioned <= commands
    shown = {word for _, words in COMMANDS for word in words if word in commands}
    assert shown == commands
    table = text_of(REPOSITORY / "docs" / "cli.md").split("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE)) == commands


def cli_commands(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    found: set[str] = set()

    def choices(parser: argparse.ArgumentParser, *_: object) -> argparse.Namespace:
        for action in parser._actions:  # argparse has no public list of them
            found.update(action.choices or ())
        raise SystemExit(0)

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", choices)
        with pytest.raises(SystemExit):
            main([])
    return found


@pytest.mark.parametrize("command", ["check", "explain"])
def test_command_prints_what_the_text_shows(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = [block for block in blocks() if block.page == "cli.md"]
    at = next(index for index, block in enumerate(shown) if block.text.startswith(f"dicom-router {command} "))
    words = [str(get_testdata_file(each)) if each.endswith(".dcm") else each for each in shlex.split(shown[at].text)]
    monkeypatch.chdir(REPOSITORY)
    assert main(words[1:]) == 0
    assert (shown[at + 1].kind, shown[at + 1].text) == ("text", capsys.readouterr().out)


def test_file_of_the_architecture_exists() -> None:
    page = text_of(REPOSITORY / "docs" / "architecture.md")
    named = set(re.findall(r"`([\w./]+(?:\.py|\.json|/))`", page))
    roots = (REPOSITORY, REPOSITORY / "plugin" / "dicom_router")
    assert len(named) > 20
    assert [each for each in sorted(named) if not any((root / each).exists() for root in roots)] == []


def test_thread_of_the_architecture_exists() -> None:
    page = text_of(REPOSITORY / "docs" / "architecture.md")
    told = {
        name
        for row in re.findall(r"^\| (`router-.*?) \|", page, re.MULTILINE)
        for name in re.findall(r"`([\w-]+)`", row)
    }
    sources = (REPOSITORY / "plugin" / "dicom_router").rglob("*.py")
    named = {name for path in sources for name in re.findall(r'"(router-[a-z]+)"', path.read_text(encoding="utf-8"))}
    assert len(told) > 8
    assert told <= named


def test_every_metric_is_documented_and_no_other() -> None:
    state = [DestinationState("ARCHIVE", up=True, state="Up")]
    snapshot = Snapshot(
        0.0, "", "", "Running", 0, destinations=state, intake=Intake(0, 0, 0), alerts={"x": 1}, unsent_alerts={"x": 1}
    )
    lines = exposition(snapshot).decode().splitlines()
    told = {line.split()[2] for line in lines if line.startswith("# TYPE ")}
    page = text_of(REPOSITORY / "docs" / "monitoring.md")
    assert set(re.findall(r"^\| `(dicom_router_\w+)` \|", page, re.MULTILINE)) == told
    asked = set(re.findall(r"\b(dicom_router_\w+)", "".join(block.text for block in blocks())))
    assert asked <= told


def test_every_kind_of_alert_is_documented_and_no_other() -> None:
    page = text_of(REPOSITORY / "docs" / "monitoring.md").split("\n## Alerts")[1]
    assert set(re.findall(r"^\| `([A-Z]\w+)` \|", page, re.MULTILINE)) - {"Kind"} == set(AlertKind)


def test_signature_is_checked_as_the_text_shows() -> None:
    (code,) = [block.text for block in blocks() if block.page == "monitoring.md" and block.kind == "python"]
    shown: dict[str, Callable[[str, bytes, str], bool]] = {}
    exec(code, shown)
    assert shown["is_genuine"]("secret", b"{}", signature("secret", b"{}"))
    assert not shown["is_genuine"]("secret", b"{ }", signature("secret", b"{}"))


def test_webhook_is_like_the_one_shown() -> None:
    text = next(block.text for block in blocks() if block.page == "monitoring.md" and '"SentAt"' in block.text)
    shown = json.loads(text)
    news = News(Key(AlertKind.DELIVERY_FAILED, "ARCHIVE"), AlertState.HAPPENED, 0.0, failed("ARCHIVE", 1), (17,))
    made = compose([news], Sender("ORTHANC", "0.1.0", ""), lambda _: None, 0.0, patient_data=False).body
    assert shown.keys() == made.keys()
    assert shown["Alerts"][0].keys() == made["Alerts"][0].keys()
    assert shown["Alerts"][0]["Message"] == made["Alerts"][0]["Message"]


def test_no_comment_waits_in_a_page() -> None:
    assert [page.name for page in PAGES if "<!--" in prose_of(page)] == []


# --- everything else -------------------------------------------------------------------------------------------------


def test_make_target_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    mentioned = {target for page in PAGES for target in re.findall(r"`make ([a-z-]+)", text_of(page))}
    mentioned |= {found for block in blocks() for found in re.findall(r"^make ([a-z-]+)", block.text, re.MULTILINE)}
    assert {"run", "test"} <= mentioned <= targets


def test_relative_link_resolves() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {link}"
            if anchor:
                assert anchor in anchors(target), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """The headings of a page as the web pages of a repository name them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("section", [RouterSection, DestinationSection, RuleSection, AlertsSection, EmailSection])
def test_every_key_is_documented(section: type[BaseModel]) -> None:
    settings = text_of(REPOSITORY / "docs" / "configuration.md")
    missing = [field.alias for field in section.model_fields.values() if f"`{field.alias}`" not in settings]
    assert missing == []


def test_every_dependency_has_its_reason() -> None:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    names = re.findall(r"^([\w-]+)", setup["options"]["install_requires"].strip(), re.MULTILINE)
    decisions = text_of(REPOSITORY / "docs" / "decisions.md")
    assert len(names) >= 7
    assert [name for name in names if f"**{name}**" not in decisions] == []
