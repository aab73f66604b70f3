# SPDX-License-Identifier: AGPL-3.0-or-later
"""The router inside Orthanc Explorer, the classic one."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from support.browser import Watched
from support.network import DicomNode, free_port
from support.orthanc import Orthanc
from support.router import Router
from support.store_scu import send
from support.studies import make_study
from support.waiting import wait_until

expect.set_options(timeout=30_000)  # milliseconds: the machine may be busy
HOSTILE = "<img src=x onerror=alert(1)>^\"'&"
ITS_OWN = (
    "Deprecation",
    "deprecated",
    "Synchronous XMLHttpRequest",
)  # what Orthanc Explorer's old libraries make Chromium say


def explorer(window: Watched, address: str) -> Page:
    window.page.goto(f"{window.url}/app/explorer.html{address}")
    return window.page


def test_a_study_is_resent_and_routed_from_its_page(
    start_router: Callable[..., Router],
    start_orthanc: Callable[..., Orthanc],
    open_page: Callable[..., Watched],
    tmp_path: Path,
) -> None:
    archive = start_orthanc("ARCHIVE")
    nobody = DicomNode("<b>NOBODY", free_port())
    rule = {"Name": "all", "Match": {}, "Send": ["ARCHIVE"]}
    router = start_router({"ARCHIVE": archive.node, "NOBODY": nobody}, rules=[rule])
    study = make_study(tmp_path / "study", instances=2, PatientName=HOSTILE, StudyDescription=HOSTILE)
    send(study.files, router.node)
    (delivery,) = router.wait_until_completed(1)

    window = open_page(router)
    page = explorer(window, "#study?uuid=" + delivery["ResourceID"])
    row = page.locator(f"[data-router-delivery='{delivery['ID']}']")
    expect(row).to_contain_text("ARCHIVE")
    expect(row.locator(".router-status")).to_have_text("Completed")
    expect(row.locator("time")).to_have_attribute("title", delivery["CompletedAt"])
    expect(page.locator("#study-info")).to_contain_text("<img src=x onerror=alert(1)>")

    for instance in archive.get("/instances"):
        archive.request("DELETE", f"/instances/{instance}")
    row.get_by_role("button", name="Resend to ARCHIVE").click()
    expect(page.locator("#router-message")).to_have_text("It is being sent to ARCHIVE again.")
    expect(page.locator("#router-deliveries .router-status")).to_have_text(["Completed", "Completed"], timeout=20_000)
    wait_until(lambda: len(archive.get("/instances")) == 2, 20, "the archive has it again")
    assert router.history()[0]["ResendOf"] == delivery["ID"]

    page.get_by_role("button", name="Route to…").click()
    expect(page.locator("#router-choice").get_by_role("button")).to_have_text(["ARCHIVE", "NOBODY"])
    page.locator("#router-choice").get_by_role("button", name="NOBODY").click()
    expect(page.locator("#router-message")).to_have_text("It is being sent to NOBODY.")
    waiting = page.locator("#router-deliveries tr").filter(has_text="NOBODY")
    expect(waiting).to_contain_text("Retrying", timeout=20_000)
    expect(waiting.get_by_role("button", name="Resend")).to_have_count(0)  # it waits already
    assert page.locator("#router-panel img").count() == 0
    window.complaints = [each for each in window.complaints if not any(known in each for known in ITS_OWN)]


def test_each_study_shows_its_own_deliveries_and_the_front_page_leads_to_the_router(
    start_router: Callable[..., Router], open_page: Callable[..., Watched], tmp_path: Path
) -> None:
    router = start_router({"ARCHIVE": DicomNode("ARCHIVE", free_port())}, rules=[])
    for name in ("one", "two"):
        send(make_study(tmp_path / name, instances=1, PatientID=name).files, router.node)
    first, second = (each["ID"] for each in wait_until(lambda: two_studies(router), 20, "both studies are there"))
    router.router_post(f"/studies/{first}/route", {"Destinations": ["ARCHIVE"]})

    window = open_page(router)
    page = explorer(window, f"#study?uuid={first}")
    rows = page.locator("[data-router-delivery]")
    expect(rows).to_have_count(1)
    # By its link, as from one page of Explorer to the other, without loading anew.
    page.evaluate("uuid => { location.hash = `#study?uuid=${uuid}`; }", second)
    expect(page.get_by_text("The router has sent nothing of this study yet.")).to_be_visible()
    expect(rows).to_have_count(0)

    page = explorer(window, "")
    page.reload()
    page.get_by_role("link", name="Routing: deliveries, destinations, rules").click()
    page.get_by_role("heading", level=1).first.wait_for()
    assert page.url.startswith(f"{router.url}/router/ui/")
    window.complaints = [each for each in window.complaints if not any(known in each for known in ITS_OWN)]
    # Orthanc Explorer 2 and the list of plugins link to what the plugin calls its root.
    assert router.get("/plugins/python")["RootUri"] == "../router/ui/"


def two_studies(router: Router) -> list[dict[str, str]]:
    found: list[dict[str, str]] = router.get("/studies?expand")
    return found if len(found) == 2 else []
