# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pages of rules, as a PACS administrator uses them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from support.browser import Watched, accessibility_violations
from support.network import DicomNode, free_port
from support.orthanc import Orthanc
from support.router import REPOSITORY, Router
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

StartRouter = Callable[..., Router]
OpenPage = Callable[..., Watched]
expect.set_options(timeout=30_000)  # milliseconds: the machine may be busy
HOSTILE = "<img src=x onerror=alert(1)>^\"'&"


@pytest.fixture
def nowhere() -> dict[str, DicomNode]:
    """Destinations by name; nobody listens there."""
    return {name: DicomNode(name, free_port()) for name in ("ARCHIVE", "WORKSTATION")}


EVERYTHING_OF_THE_FORM = {
    "Name": "of the file",
    "Match": {
        "Modality": ["CT", "MR"],
        "Any": [{"StudyDate": {"NewerThan": "30d"}}, {"PatientAgeYears": {"Lt": 18}}],
    },
    "Instances": {"SOPClass": "Image"},
    "Send": [{"FirstOf": ["ARCHIVE", "WORKSTATION"], "After": "5m"}],
    "Schedule": {"Cron": "0 19 * * *", "For": "12h"},
    "Tests": [{"Given": {"Modality": "US"}, "Expect": False}],
}


def names_in_order(router: Router) -> list[str]:
    return [each["Name"] for each in router.router_get("/rules")]


def conditions(page: Page) -> Locator:
    return page.locator(".condition[data-key]")


def suggestions(page: Page) -> Locator:
    return page.locator(".combobox").get_by_role("option")


def pick(field: Locator, typed: str, option: str) -> None:
    """Type into a field with suggestions and take one by the mouse."""
    field.click()
    field.press_sequentially(typed)
    field.locator("xpath=..").get_by_role("option", name=re.compile(f"^{re.escape(option)}")).first.click()


# --- writing a rule --------------------------------------------------------------------------------------------------


def test_a_rule_is_written_by_clicking_previewed_saved_used_and_rolled_back(
    start_router: StartRouter, start_orthanc: Callable[..., Orthanc], open_page: OpenPage, tmp_path: Path
) -> None:
    archive = start_orthanc("ARCHIVE")
    router = start_router({"ARCHIVE": archive.node}, rules=[])
    send(make_study(tmp_path / "mr", "MR", instances=1).files, router.node)
    send(make_study(tmp_path / "ct", "CT", instances=2, PatientName=HOSTILE).files, router.node)
    wait_until(lambda: router.router_get("/rules-values?key=Modality")["Studies"] == 2, 30, "both studies are stable")

    page = open_page(router).go("#/rules")
    page.get_by_role("link", name="Write the first rule").click()
    page.get_by_label("Name", exact=True).fill("CT to the archive")
    page.get_by_role("button", name="Condition").first.click()
    condition = conditions(page).first
    pick(condition.get_by_role("combobox", name="Tag or attribute"), "modal", "Modality")
    expect(conditions(page).first).to_contain_text("(0008,0060) CS")
    pick(condition.get_by_role("combobox", name="Value"), "", "CT")
    preview = page.get_by_role("region", name="Preview")
    # Which studies match is seen before it is said where they go.
    expect(preview.locator(".preview-sum")).to_have_text("1 of the last 2 studies matches.")
    page.get_by_role("button", name="Destination").click()
    page.get_by_role("combobox", name="Destination").select_option("ARCHIVE")
    expect(preview).to_contain_text("This study would go to ARCHIVE too.")
    expect(preview).to_contain_text("ARCHIVE (2 instances)")
    expect(preview).to_contain_text("<img src=x onerror=alert(1)>, \"'&")
    assert page.locator("img").count() == 0
    assert json.loads(page.get_by_role("textbox", name="The rule as JSON").input_value()) == {
        "Name": "CT to the archive",
        "Match": {"Modality": "CT"},
        "Send": ["ARCHIVE"],
    }
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("listitem").filter(has_text="CT to the archive")).to_contain_text(
        "A study where Modality is CT"
    )

    study = make_study(tmp_path / "new", "CT", instances=2)
    send(study.files, router.node)
    (delivery,) = router.wait_until_completed(1)
    assert (delivery["Rule"], delivery["StudyInstanceUID"]) == ("CT to the archive", study.uid)

    _change_and_roll_back(page, router)


def _change_and_roll_back(page: Page, router: Router) -> None:
    page.get_by_role("link", name="CT to the archive", exact=True).click()
    page.get_by_role("combobox", name="Operator").select_option("In")
    values = page.get_by_role("combobox", name="Values")
    values.fill("MR")
    values.press("Enter")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("link", name="Versions of CT to the archive").click()
    expect(page.get_by_role("heading", name="Version 2 now")).to_be_visible()
    assert router.router_get("/rules")[0]["Match"] == {"Modality": ["CT", "MR"]}
    page.get_by_role("button", name="Go back to this").click()
    dialog = page.get_by_role("dialog", name="Go back to version 1?")
    expect(dialog.locator(".diff .new")).to_contain_text('"Modality": "CT"')
    dialog.get_by_role("button", name="Go back").click()
    expect(page.get_by_role("heading", name="Version 3 now")).to_be_visible()
    assert router.router_get("/rules")[0]["Match"] == {"Modality": "CT"}


def test_a_wrong_rule_is_refused_at_its_field_and_nothing_that_was_typed_is_lost(
    start_router: StartRouter, nowhere: dict[str, DicomNode], open_page: OpenPage
) -> None:
    router = start_router(nowhere, rules=[])
    page = open_page(router).go("#/rules/new")
    page.get_by_label("Name", exact=True).fill("teleradiology/night")
    page.get_by_role("button", name="Condition").first.click()
    key = conditions(page).first.get_by_role("combobox", name="Tag or attribute")
    key.fill("StudyDate")
    key.press("Tab")
    page.get_by_role("combobox", name="Operator").select_option("Between")
    page.get_by_role("combobox", name="From", exact=True).fill("20260101")
    page.get_by_role("combobox", name="To", exact=True).fill("soon")
    page.get_by_role("button", name="Destination").click()
    page.get_by_role("button", name="Save").click()

    refusal = page.locator(".refused")
    expect(refusal).to_be_focused()
    expect(refusal).to_contain_text("Nothing is lost")
    condition = page.locator('.condition[data-key="StudyDate"]')
    expect(condition.get_by_role("alert")).to_contain_text('"soon" is not a date')
    name = page.get_by_label("Name", exact=True)
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("combobox", name="Destination")).to_have_attribute("aria-invalid", "true")
    expect(name).to_have_value("teleradiology/night")
    assert accessibility_violations(page) == []

    # Each is corrected in its place, and its message goes.
    refusal.get_by_role("button", name="Match.StudyDate.Between").click()
    page.get_by_role("combobox", name="To", exact=True).fill("20261231")
    name.fill("teleradiology night")
    page.get_by_role("combobox", name="Destination").select_option("ARCHIVE")
    expect(refusal).to_have_count(0)
    # Loading the page anew, or another page and back: the draft waits.
    page.reload()
    expect(page.get_by_label("Name", exact=True)).to_have_value("teleradiology night")
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("link", name="Overview")).to_have_attribute("aria-current", "page")
    page.goto(f"{router.url}/router/ui/#/rules/new")
    expect(page.get_by_label("Name", exact=True)).to_have_value("teleradiology night")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Rules", level=1)).to_be_visible()
    (rule,) = router.router_get("/rules")
    assert rule["Match"] == {"StudyDate": {"Between": ["20260101", "20261231"]}}
    _change_at_the_same_time(page, router)


def _change_at_the_same_time(page: Page, router: Router) -> None:
    page.get_by_role("link", name="teleradiology night", exact=True).click()
    page.get_by_label("Description").fill("mine")
    router.router_put("/rules/teleradiology%20night", {"Match": {}, "Send": ["ARCHIVE"], "Description": "of another"})
    page.get_by_role("button", name="Save").click()
    dialog = page.get_by_role("dialog", name="The rule has changed meanwhile")
    dialog.get_by_role("button", name="Cancel").click()
    assert router.router_get("/rules")[0]["Description"] == "of another"
    page.get_by_role("button", name="Save").click()
    dialog.get_by_role("button", name="Replace it").click()
    expect(page.get_by_role("heading", name="Rules", level=1)).to_be_visible()
    assert (router.router_get("/rules")[0]["Description"], router.router_get("/rules")[0]["Version"]) == ("mine", 3)


# --- form and JSON ---------------------------------------------------------------------------------------------------

STRANGE = {
    "Name": "strange",
    "Match": {"Modality": {"Equals": "CT", "IgnoreCase": False}, "StudyDescription": {"In": "no list"}},
    "Send": [{"To": "ARCHIVE", "Verify": "Counted"}, 7],
    "Transfer": {"Key": "of a later version"},
}
# As documentation, tests and people write rules; the form must give back each as it was.
FORMS: list[dict[str, Any]] = [
    {"Name": "x", "Match": {"Any": [{"A": 1, "B": {"Contains": "x"}}, {"None": [{"C": [1, "2"]}]}, {}]}, "Send": ["A"]},
    {"Name": "x", "Match": {"All": [{"All": [{"A": 1}]}, {"All": []}]}, "Send": []},
    {"Name": "x", "Match": {"A": {"Ge": 1, "Le": 5, "Of": "All"}}, "Send": [{"OneOf": ["A", "B"], "By": "Patient"}]},
    {
        "Name": "x",
        "Match": {},
        "Instances": {"SOPClass": "Image"},
        "Send": [{"To": "A", "LocalAet": "R"}],
        "Delay": "0s",
    },
    {
        "Match": {},
        "Tests": [{"Given": {"Modality": ["CT"]}, "Expect": True}, {"Given": {}}],
        "Stop": False,
        "Name": "x",
    },
    {"Name": "x", "Schedule": {"Cron": "0 19 * * *", "For": "12h"}, "Match": [], "Send": "ARCHIVE", "Tests": {}},
    STRANGE,
]
PURE = """async (rules) => {
  const { readRule, writeRule } = await import(new URL("lib/rule-form.js", document.baseURI));
  return rules.map((rule) => writeRule(readRule(rule)).rule);
}"""
PLACES = """async ([rule, problems]) => {
  const { placeProblems, readRule, writeRule } = await import(new URL("lib/rule-form.js", document.baseURI));
  const { places } = writeRule(readRule(rule));
  const { byPlace, left } = placeProblems(problems.map((Path) => ({ Path, Message: Path })), places);
  const where = (id) => places.find(([, place]) => place === id)[0];
  return [[...byPlace].map(([id, messages]) => [where(id), messages]), left.map((each) => each.Path)];
}"""
WORDS = """async (schedules) => {
  const { scheduleWords } = await import(new URL("lib/schedule-words.js", document.baseURI));
  return schedules.map(scheduleWords);
}"""
SCHEDULES = {
    "19:00-07:00": "Every day from 19:00 to 07:00 the next day",
    "Mon-Fri 08:00-12:00, 14:00-18:00": "Monday to Friday from 08:00 to 12:00 and from 14:00 to 18:00",
    "Mon-Fri 19:00-07:00, Sat,Sun 00:00-24:00": (
        "Monday to Friday from 19:00 to 07:00 the next day; Saturday and Sunday all day"
    ),
    "m10 < 5": "The first 5 minutes of every 10 minutes",
    "whenever": None,
    "": "",
}


RULE_WORDS = """async (rules) => {
  const { ruleWords } = await import(new URL("lib/rule-words.js", document.baseURI));
  const told = ([name, rule]) => [name, Object.values(ruleWords(rule)).join(" | ")];
  return Object.fromEntries(Object.entries(rules).map(told));
}"""
RULES_IN_WORDS: dict[str, tuple[dict[str, Any], str]] = {
    "all": ({"Match": {}, "Send": ["A"]}, "Every study | A | "),
    "nested": (
        {
            "Match": {
                "Modality": ["CT", "MR"],
                "None": [{"PatientID": {"StartsWith": "T"}}],
                "Any": [{"A": 1}, {"B": "x y"}],
            },
            "Send": [{"FirstOf": ["A", "B"]}, {"OneOf": ["C", "D"], "By": "Patient"}],
        },
        "A study where Modality is CT or MR and not (PatientID starts with T) and (A is 1 or B is “x y”)"
        " | A, else B and one of C, D (a patient stays with one) | ",
    ),
    "special": (
        {"Trigger": "NewInstance", "Match": {"A": {"Exists": False}}, "Send": ["A"], "Stop": True, "Delay": "1h"},
        "Each new instance where A is missing | A | after 1 hour · later rules are not looked at",
    ),
    "strange": ({"Match": 7, "Send": [8]}, "A study, by conditions that are told as JSON | 8 | "),
}
DIFF = """async ([before, after]) => {
  const { lineDiff } = await import(new URL("lib/line-diff.js", document.baseURI));
  return lineDiff(before, after).map((each) => each.kind + each.text);
}"""


def documented_rules() -> list[dict[str, Any]]:
    text = (REPOSITORY / "docs" / "rules.md").read_text(encoding="utf-8")
    return [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def test_form_and_json_keep_in_step_and_nothing_gets_lost_between_them(
    start_router: StartRouter, nowhere: dict[str, DicomNode], open_page: OpenPage
) -> None:
    router = start_router(nowhere, rules=[])
    page = open_page(router).go("#/rules/new")

    rules = documented_rules() + FORMS
    back = page.evaluate(PURE, rules)
    assert [json.dumps(each) for each in back] == [json.dumps(each) for each in rules]
    rule = {
        "Match": {"StudyDate": {"Lt": "x"}, "Any": [{"A": 1, "B": {"Contains": 2}}]},
        "Send": ["A", {"FirstOf": ["B"]}],
    }
    paths = ["Rule.Match.StudyDate.Lt", "Rule.Match.Any[0].B.Contains", "Rules[3].Send[1].FirstOf[0]", "Rule.Nmae", "x"]
    assert page.evaluate(PLACES, [rule, paths]) == [
        [
            ["Match.StudyDate.Lt", ["Rule.Match.StudyDate.Lt"]],
            ["Match.Any[0].B.Contains", ["Rule.Match.Any[0].B.Contains"]],
            ["Send[1].FirstOf[0]", ["Rules[3].Send[1].FirstOf[0]"]],
        ],
        ["Rule.Nmae", "x"],
    ]
    assert page.evaluate(WORDS, [*SCHEDULES]) == [*SCHEDULES.values()]
    assert page.evaluate(RULE_WORDS, {name: rule for name, (rule, _) in RULES_IN_WORDS.items()}) == {
        name: words for name, (_, words) in RULES_IN_WORDS.items()
    }
    assert page.evaluate(DIFF, ['{\n "A": 1\n}', '{\n "A": 1,\n "B": 2\n}']) == [
        "same{",
        'same "A": 1,',
        'new "B": 2',
        "same}",
    ]

    # From the JSON to the form.
    text = page.get_by_role("textbox", name="The rule as JSON")
    text.fill(json.dumps(STRANGE))
    expect(page.get_by_role("textbox", name="Name", exact=True)).to_have_value("strange")
    expect(page.get_by_text("This part says something that the form has no fields for")).to_have_count(0)
    expect(page.locator(".raw-json")).to_contain_text("7")
    expect(page.get_by_role("heading", name="Also in this rule")).to_be_visible()
    # From the form to the JSON; what the form cannot show is still there.
    page.get_by_role("textbox", name="Description").fill("by the form")
    assert json.loads(text.input_value()) == STRANGE | {"Description": "by the form"}
    # A mistake in the JSON stops the form, so that neither overwrites the other.
    text.fill('{"Name": ')
    expect(page.get_by_text("This is no JSON")).to_be_visible()
    expect(page.get_by_role("textbox", name="Description")).to_be_disabled()
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    page.get_by_role("button", name="Back to what the form says").click()
    assert json.loads(text.input_value())["Description"] == "by the form"


# --- the list --------------------------------------------------------------------------------------------------------


def test_rules_are_ordered_switched_deleted_brought_back_exported_and_imported(
    start_router: StartRouter, nowhere: dict[str, DicomNode], open_page: OpenPage, tmp_path: Path
) -> None:
    router = start_router(nowhere)
    for name in ("one", "two", "three"):
        router.router_put(f"/rules/{name}", {"Match": {"Modality": "CT"}, "Send": ["ARCHIVE"], "Description": name})
    page = open_page(router).go("#/rules")
    rows = page.locator(".rule-row")
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("Read-only: it stands in Orthanc's configuration")
    expect(rows.first.get_by_role("switch")).to_be_disabled()
    expect(rows.nth(2)).to_contain_text("This rule does the same as")  # a warning

    handle = page.get_by_role("button", name="Move three")
    handle.focus()
    handle.press("ArrowUp")
    expect(rows.nth(2)).to_contain_text("three")
    expect(page.get_by_text("three is now rule 3 of 4.")).to_be_attached()
    wait_until(lambda: names_in_order(router) == ["everything", "one", "three", "two"], 30, "the order is saved")
    expect(page.get_by_role("button", name="Move three")).to_be_focused()
    page.get_by_role("button", name="Move two").drag_to(rows.nth(1))
    wait_until(lambda: names_in_order(router) == ["everything", "two", "one", "three"], 30, "the order is saved")

    page.get_by_role("button", name="Move down: two").click()
    wait_until(lambda: names_in_order(router) == ["everything", "one", "two", "three"], 30, "the order is saved")

    page.get_by_role("switch", name="one is on").click()
    wait_until(lambda: router.router_get("/rules/one").get("Enabled") is False, 30, "the rule is off")

    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    exported = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert [each["Name"] for each in exported["Rules"]] == ["everything", "one", "two", "three"]

    page.get_by_role("button", name="Delete two").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Bring it back").click()
    expect(rows).to_have_count(4)
    wait_until(lambda: names_in_order(router) == ["everything", "one", "two", "three"], 30, "it is where it was")

    _import(page, router, tmp_path)


def _import(page: Page, router: Router, folder: Path) -> None:
    file = folder / "rules.json"
    rules = [{"Name": "one", "Match": {"Modality": "MR"}, "Send": ["NOWHERE"]}]
    file.write_text(json.dumps({"Rules": rules}), encoding="utf-8")
    page.get_by_label("Import rules from a file").set_input_files(file)
    dialog = page.get_by_role("dialog", name="Import rules.json")
    expect(dialog).to_contain_text("A new version of: one.")
    assert accessibility_violations(page) == []
    dialog.get_by_role("button", name="Cancel").click()

    rules[0]["Send"] = ["WORKSTATION"]
    file.write_text(json.dumps({"Rules": rules}), encoding="utf-8")
    page.get_by_label("Import rules from a file").set_input_files(file)
    dialog.get_by_role("checkbox").check()
    expect(dialog).to_contain_text("Deleted: two, three")
    dialog.get_by_role("button", name="Import").click()
    expect(page.locator(".rule-row")).to_have_count(2)
    assert router.router_get("/rules/one")["Send"] == ["WORKSTATION"]


def test_the_pages_of_rules_can_be_used_by_everyone(
    start_router: StartRouter, nowhere: dict[str, DicomNode], open_page: OpenPage, tmp_path: Path
) -> None:
    router = start_router(nowhere, rules=[EVERYTHING_OF_THE_FORM])
    for modality in ("US", "MR"):
        rule = {"Match": {"Modality": modality}, "Send": ["ARCHIVE"], "DeleteAfterSend": True}
        router.router_put("/rules/mine", rule)
    study = make_study(tmp_path / "hostile", "MR", instances=1, PatientName=HOSTILE, StudyDescription=HOSTILE)
    send(study.files, router.node)
    wait_until(lambda: router.router_get("/rules-values?key=Modality")["Studies"] == 1, 30, "the study is stable")
    for scheme in ("light", "dark"):
        found = _violations(open_page(router, color_scheme=scheme))
        assert {(scheme, *each): [] for each in found} == {(scheme, *each): told for each, told in found.items()}


def _violations(window: Watched) -> dict[tuple[str, ...], list[str]]:
    """What axe-core says of each page of rules."""
    found: dict[tuple[str, ...], list[str]] = {}
    for address in ("#/rules", "#/rules/edit/mine", "#/rules/edit/of%20the%20file", "#/rules/versions/mine"):
        page = window.go(address)
        if "edit" in address:
            expect(page.locator(".preview-sum")).to_contain_text("of the last 1 study")
            page.get_by_label("show those that do not match too").check()
            expect(page.locator(".preview-item").first).to_contain_text("<img src=x onerror=alert(1)>, \"'&")
        else:
            page.locator(".rule-row, .version-list > li").first.wait_for()
        assert page.locator("img").count() == 0
        found[(address,)] = accessibility_violations(page)
    page = window.go("#/rules/edit/mine")
    page.get_by_role("combobox", name="Value").focus()
    suggestions(page).first.wait_for()
    found["#/rules/edit/mine", "suggestions"] = accessibility_violations(page)
    return found


def test_suggestions_are_taken_by_the_keyboard(
    start_router: StartRouter, nowhere: dict[str, DicomNode], open_page: OpenPage
) -> None:
    page = open_page(start_router(nowhere, rules=[])).go("#/rules/new")
    page.get_by_role("button", name="Condition").first.click()
    key = page.get_by_role("combobox", name="Tag or attribute")
    expect(key).to_be_focused()
    key.press_sequentially("weekday")
    expect(suggestions(page).first).to_contain_text("StudyWeekday")
    key.press("ArrowDown")
    key.press("ArrowDown")
    expect(page.locator(".combobox [aria-selected=true]")).to_contain_text("ReceivedWeekday")
    key.press("Enter")
    expect(key).to_have_value("ReceivedWeekday")
    operators = page.get_by_role("combobox", name="Operator").locator("option").all_inner_texts()
    assert operators == ["is", "is one of", "is not", "is none of", "is there"]
    page.get_by_role("combobox", name="Value").focus()
    expect(suggestions(page)).to_have_text(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_have_count(0)
    page.get_by_role("button", name="Remove ReceivedWeekday").press("Enter")
    expect(page.get_by_role("group", name="Condition on")).to_have_count(0)
    expect(page.get_by_role("button", name="Condition").first).to_be_focused()
