# SPDX-License-Identifier: AGPL-3.0-or-later
"""The web page, used as a person would, on a real router in Debian's Chromium. Every window it opens is watched."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from support.browser import Watched, accessibility_violations
from support.long_history import write_long_history
from support.network import DicomNode, free_port
from support.orthanc import Orthanc
from support.router import Router
from support.store_scu import send
from support.studies import Study, make_study

HOSTILE = "<img src=x onerror=alert(1)>^\"'&"
SLOW = 60_000  # milliseconds: what the router does takes seconds on a busy machine

StartOrthanc = Callable[..., Orthanc]
StartRouter = Callable[..., Router]
OpenPage = Callable[..., Watched]


def send_study(folder: Path, router: Router, **tags: object) -> Study:
    study = make_study(folder, instances=3, **({"StudyDescription": "CT Thorax"} | tags))
    sent = send(study.files, router.node)
    assert not sent.error
    return study


def row(page: Page, *texts: str) -> Locator:
    """The row of the table that has all of these texts."""
    found = page.get_by_role("row")
    for text in texts:
        found = found.filter(has_text=text)
    return found


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def test_a_study_is_watched_on_its_way_and_sent_again(
    tmp_path: Path, start_orthanc: StartOrthanc, start_router: StartRouter, open_page: OpenPage
) -> None:
    archive = start_orthanc("ARCHIVE")
    router = start_router({"ARCHIVE": archive.node})
    page = open_page(router).go("#/history")
    expect(page.get_by_text("Nothing was sent yet")).to_be_visible()

    send_study(tmp_path / "study", router, PatientName="Lind^Maja", AccessionNumber="A77")
    arrived = row(page, "Lind, Maja", "ARCHIVE", "Completed")
    expect(arrived).to_be_visible(timeout=SLOW)
    expect(arrived).to_contain_text("3 / 3")

    arrived.get_by_role("link", name="Lind, Maja").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("CT Thorax to ARCHIVE")
    (delivery,) = router.history()
    expect(page.get_by_role("list").filter(has_text="Attempt 1")).to_contain_text("Completed")
    made = page.locator("dl time").first
    assert delivery["CreatedAt"][11:19] in str(made.get_attribute("title"))  # UTC on hover
    hour = f"{(int(delivery['CreatedAt'][11:13]) + 1) % 24:02d}:"
    expect(made).to_contain_text(hour)  # November in Berlin

    button(page, "Resend …").click()
    page.get_by_role("radio", name="All of them again").check()
    page.get_by_role("dialog").get_by_role("button", name="Send").click()
    expect(page.get_by_role("link", name=f"delivery {delivery['ID']}")).to_be_visible()
    expect(page.locator(".page-head").get_by_text("Completed")).to_be_visible(timeout=SLOW)
    assert [each["ResendOf"] for each in router.history()] == [delivery["ID"], None]


def test_a_destination_that_stops_is_seen_held_and_what_waited_is_seen_drained(
    tmp_path: Path, start_orthanc: StartOrthanc, start_router: StartRouter, open_page: OpenPage
) -> None:
    archive = start_orthanc("ARCHIVE")
    router = start_router({"ARCHIVE": archive.node})
    overview = open_page(router).go()
    expect(overview.get_by_text("All delivered")).to_be_visible()
    archive.stop()
    send_study(tmp_path / "study", router, PatientName="Lind^Maja")

    expect(overview.get_by_text("1 destination held, 1 delivery waits for it")).to_be_visible(timeout=SLOW)
    card = overview.get_by_role("listitem").filter(has_text="ARCHIVE")
    expect(card.get_by_text("Held", exact=True)).to_be_visible()
    expect(card).to_contain_text("asked again at")

    history = open_page(router).go("#/history?status=Scheduled,Retrying")
    waiting = row(history, "Lind, Maja")
    expect(waiting).to_contain_text("The destination does not answer")
    expect(waiting.locator("td").first.locator("time")).to_be_visible()  # when it is planned
    waiting.get_by_role("link").click()
    expect(history.get_by_text("planned for")).to_be_visible()
    expect(history.get_by_text("the router tries again")).to_be_visible()

    archive.start()
    expect(overview.get_by_text("All delivered")).to_be_visible(timeout=SLOW + 60_000)  # held up to a minute
    expect(history.locator(".page-head").get_by_text("Completed")).to_be_visible(timeout=SLOW)


def test_a_destination_is_tested_paused_and_resumed_and_all_sending_too(
    tmp_path: Path, start_orthanc: StartOrthanc, start_router: StartRouter, open_page: OpenPage
) -> None:
    archive = start_orthanc("ARCHIVE")
    router = start_router({"ARCHIVE": archive.node, "NOWHERE": DicomNode("NOWHERE", free_port())})
    page = open_page(router).go()
    button(page, "Test ARCHIVE").click()
    expect(page.get_by_text(re.compile("^ ?answers"))).to_be_visible()
    button(page, "Test NOWHERE").click()
    expect(page.get_by_role("listitem").filter(has_text="NOWHERE")).to_contain_text("TCP Initialization Error")

    button(page, "Pause ARCHIVE").click()
    expect(button(page, "Resume ARCHIVE")).to_be_visible()
    assert router.router_get("/destinations/ARCHIVE")["State"] == "Paused"
    button(page, "Resume ARCHIVE").click()
    expect(button(page, "Pause ARCHIVE")).to_be_visible()

    button(page, "Pause all sending").click()
    expect(page.get_by_text("Sending is paused")).to_be_visible()
    button(page, "Resume sending").click()
    expect(page.get_by_text("All delivered")).to_be_visible()


# Clicks, and tells whether a dialog is open before the browser does anything else.
OPENS_DIALOG = """async (element) => {
  element.focus();
  element.click();
  await Promise.resolve();
  return document.querySelector("dialog")?.open ?? false;
}"""


def test_what_the_filter_shows_is_canceled_and_resent_at_once_after_its_count_was_confirmed(
    tmp_path: Path, start_router: StartRouter, start_orthanc: StartOrthanc, open_page: OpenPage
) -> None:
    archive = start_orthanc("ARCHIVE")
    router = start_router({"ARCHIVE": archive.node})
    router.router_post("/pause")
    for number in range(3):
        send_study(tmp_path / str(number), router, AccessionNumber=f"A{number}", PatientName=f"Lind^Maja{number}")
    router.wait_for_deliveries(lambda found: len(found) == 3)
    page = open_page(router).go()
    page.get_by_role("link", name="History").click()
    page.get_by_role("searchbox").fill("maja1")
    expect(page).to_have_url(re.compile(r"#/history\?q=maja1$"))  # a link that can be shared
    expect(page.get_by_text("1 delivery", exact=True)).to_be_visible()
    assert button(page, "Cancel these …").evaluate(OPENS_DIALOG), "the next key must be the dialog's"
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button(page, "Cancel these …")).to_be_focused()
    page.keyboard.press("Enter")
    button(page, "Cancel 1 delivery").click()
    expect(row(page, "Maja1", "Canceled")).to_be_visible()

    button(page, "Clear").click()
    expect(page.get_by_text("3 deliveries", exact=True)).to_be_visible()
    button(page, "Cancel these …").click()
    button(page, "Cancel 2 deliveries").click()
    expect(page.get_by_role("row").filter(has_text="Canceled")).to_have_count(3)
    router.router_post("/resume")
    button(page, "Resend these …").click()
    button(page, "Resend 3 deliveries").click()
    expect(page.get_by_role("row").filter(has_text="Completed")).to_have_count(3, timeout=SLOW)


def test_a_study_page_says_why_it_was_not_sent_and_sends_it(
    tmp_path: Path, start_orthanc: StartOrthanc, start_router: StartRouter, open_page: OpenPage
) -> None:
    archive = start_orthanc("ARCHIVE")
    rule = {"Name": "heads", "Match": {"StudyDescription": {"Contains": "Head"}}, "Send": ["ARCHIVE"]}
    router = start_router({"ARCHIVE": archive.node}, rules=[rule])
    send_study(tmp_path / "study", router)
    (study,) = router.get("/studies")
    page = open_page(router).go(f"#/studies/{study}")
    expect(page.get_by_text("No rule matched, so the router sent it nowhere.")).to_be_visible(timeout=SLOW)
    now = page.locator("section").filter(has=page.get_by_role("heading", name="What the rules say now"))
    expect(now.get_by_role("listitem").first).to_contain_text(re.compile("heads.*does not match"))
    expect(now).to_contain_text(re.compile("StudyDescription must contain .?Head.? but it is .?CT Thorax"))

    button(page, "Send now …").click()
    page.get_by_role("checkbox", name="ARCHIVE").check()
    page.get_by_role("dialog").get_by_role("button", name="Send").click()
    expect(row(page, "ARCHIVE", "Completed")).to_be_visible(timeout=SLOW)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_shows_a_hostile_name_as_text(
    tmp_path: Path, start_orthanc: StartOrthanc, start_router: StartRouter, open_page: OpenPage, scheme: str
) -> None:
    archive = start_orthanc("ARCHIVE")
    nodes = {"ARCHIVE": archive.node, "NOWHERE": DicomNode("NOWHERE", free_port())}
    hostile = {"PatientName": HOSTILE, "PatientID": "<b>7</b>", "StudyDescription": "<script>alert(2)</script>"}
    router = start_router(nodes)
    send_study(tmp_path / "study", router, **hostile, AccessionNumber="&lt;i&gt;")
    found = router.wait_for_deliveries(lambda all_: {each["Status"] for each in all_} == {"Completed", "Retrying"}, 60)
    delivery, waiting = sorted(found, key=lambda each: str(each["Status"]))
    window = open_page(router, color_scheme=scheme)
    window.expected = {404}

    pages = {
        "": "Destinations",
        "#/history": HOSTILE.split("^", maxsplit=1)[0],
        "#/history?q=no+such+thing&from=2026-01-01T00:00:00Z": "No delivery is like that",
        f"#/deliveries/{delivery['ID']}": HOSTILE.split("^", maxsplit=1)[0],
        f"#/deliveries/{waiting['ID']}": "NOWHERE",
        "#/deliveries/999": "There is no delivery 999",
        f"#/studies/{delivery['ResourceID']}": HOSTILE.split("^", maxsplit=1)[0],
        "#/studies/none": "Orthanc has no such study",
        "#/rules": "everything",
        "#/nowhere": "There is no such page",
    }
    for address, text in pages.items():
        page = window.go(address)
        expect(page.get_by_text(text).first).to_be_visible()
        expect(page.locator(".loading")).to_have_count(0)  # it fades in, pale at first
        assert accessibility_violations(page) == [], address
        assert page.locator("img, main script").count() == 0, address

    page = window.go(f"#/deliveries/{delivery['ID']}")
    button(page, "Resend …").click()
    page.get_by_role("dialog").wait_for()
    assert accessibility_violations(page) == [], "the dialog"


def test_a_narrow_window_needs_no_sideways_scrolling(
    tmp_path: Path, start_router: StartRouter, open_page: OpenPage
) -> None:
    router = start_router({"NOWHERE": DicomNode("NOWHERE", free_port())})
    send_study(tmp_path / "study", router, PatientName="Lind^Maja")
    (delivery,) = router.wait_for_deliveries(lambda found: len(found) == 1)
    window = open_page(router, viewport={"width": 375, "height": 700})
    for address in (
        "",
        "#/history",
        f"#/deliveries/{delivery['ID']}",
        f"#/studies/{delivery['ResourceID']}",
        "#/rules",
    ):
        page = window.go(address)
        expect(page.get_by_text("NOWHERE").locator("visible=true").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, address


def test_a_suspended_router_says_on_its_page_what_is_wrong(start_router: StartRouter, open_page: OpenPage) -> None:
    router = start_router(section={"Rules": [{"Name": "x", "Match": {"Modalty": "CT"}, "Send": ["NOWHERE"]}]})
    window = open_page(router)
    window.expected = {503}
    page = window.go()
    expect(page.get_by_text("Routing is suspended")).to_be_visible()
    expect(page.get_by_text("Router.Rules[0].Match.Modalty").first).to_be_visible()
    window.go("#/history")
    assert accessibility_violations(page) == []


def test_the_looks_are_chosen_by_the_button_and_kept(start_router: StartRouter, open_page: OpenPage) -> None:
    page = open_page(start_router()).go()
    theme = page.locator("html")
    page.get_by_role("button", name=re.compile("Colours")).click()
    expect(theme).to_have_attribute("data-theme", "light")
    page.get_by_role("button", name=re.compile("Colours")).click()
    expect(theme).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(theme).to_have_attribute("data-theme", "dark")


def test_the_page_works_without_the_slash_at_the_end_of_its_address(
    start_router: StartRouter, open_page: OpenPage
) -> None:
    router = start_router()
    page = open_page(router).page
    page.goto(f"{router.url}/router/ui#/history")
    expect(page.get_by_role("heading", name="History")).to_be_visible()
    assert page.url == f"{router.url}/router/ui/#/history"


def test_a_long_history_is_shown_at_once(start_router: StartRouter, open_page: OpenPage) -> None:
    """A hundred thousand here; bench/history.py has the figures for a million."""
    router = start_router({"ARCHIVE": DicomNode("ARCHIVE", free_port())}, section={"Database": ""})
    router.stop()
    write_long_history(router.folder / "storage" / "router.db", 100_000)
    router.start()
    for query in (
        "",
        "&status=Failed",
        "&destination=ARCHIVE&status=Failed",
        "&patient=P77",
        "&q=thorax",
        "&q=nothing",
    ):
        seconds = min(router.router_request("GET", f"/history?limit=50{query}").seconds for _ in range(5))
        assert seconds < 0.5, query
    page = open_page(router).go("#/history")
    expect(page.get_by_text("100,000 deliveries")).to_be_visible()
    expect(page.get_by_role("row")).to_have_count(51)
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_role("link", name="Newest")).to_be_visible()
    button(page, "Failed").click()
    expect(page.get_by_text("3,998 deliveries")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="Failed")).to_have_count(50)
    page.get_by_role("searchbox").fill("chest")
    expect(page.get_by_role("row").filter(has_text="CR Chest")).to_have_count(50)
