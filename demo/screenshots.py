# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures of each page of the web interface, into docs/images. `make screenshots` runs it."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect
from scene import running_scene

from support.browser import Watched, running_chromium
from support.router import REPOSITORY, Router

IMAGES = REPOSITORY / "docs" / "images"
SIZE = {"width": 1280, "height": 860}


def main() -> int:
    """Answers 1 when a page complained; the pictures are made all the same."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running_scene(Path(folder)) as router, running_chromium() as browser:
        window = Watched(browser, router.url, viewport=SIZE, color_scheme="light")
        for name, address in _pages(router).items():
            page = window.go(address)
            _settle(page)
            page.screenshot(path=IMAGES / f"{name}.png", full_page=name != "history")
            print(f"docs/images/{name}.png")
        window.close()
    for complaint in window.complaints:
        print(f"complaint: {complaint}", file=sys.stderr)
    return 1 if window.complaints else 0


def _pages(router: Router) -> dict[str, str]:
    delivery: dict[str, Any] = router.history(destination="RESEARCH", status="Retrying,Scheduled")[0]
    study = router.history(destination="SITE2")[0]["ResourceID"]
    return {
        "overview": "",
        "history": "#/history",
        "delivery": f"#/deliveries/{delivery['ID']}",
        "study": f"#/studies/{study}",
        "rules": "#/rules",
        "rule-editor": "#/rules/edit/chest%20X-rays%20to%20the%20reading%20room",
    }


def _settle(page: Page) -> None:
    """All data is there, and nothing moves any more."""
    page.wait_for_load_state("networkidle")
    expect(page.locator("main .loading, main .spinner, main [aria-busy=true]")).to_have_count(0, timeout=30_000)
    page.evaluate("document.fonts.ready")


if __name__ == "__main__":
    sys.exit(main())
