# SPDX-License-Identifier: AGPL-3.0-or-later
"""Debian's Chromium, driven as a user would; it writes down what a user should never meet."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, sync_playwright

from .router import REPOSITORY

SECONDS = 20_000  # milliseconds until Playwright gives up waiting
FLAGS = (
    "--no-sandbox",  # the tests may run as root, which Chromium's sandbox refuses
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
SERIOUS = {"serious", "critical"}


def chromium_binary() -> str:
    """`CHROMIUM_BINARY`, or what is on the PATH."""
    return os.environ.get("CHROMIUM_BINARY") or shutil.which("chromium") or "/usr/bin/chromium"


@contextmanager
def running_chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_binary(), args=list(FLAGS))
        yield browser
        browser.close()


class Watched:
    """A page of the router in a window of its own. `complaints`: console errors, exceptions, refused or foreign
    requests; a status of 400 or more that a test provokes is named in `expected`.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.expected: set[int] = set()
        self._context = browser.new_context(**({"locale": "en-GB", "timezone_id": "Europe/Berlin"} | options))
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("request", self._request)
        self.page.on("response", self._response)
        self.page.on("dialog", self._dialog)

    def go(self, address: str = "") -> Page:
        """To `#/history`, for example; back when the page has been drawn."""
        self.page.goto(f"{self.url}/router/ui/{address}")
        self.page.get_by_role("heading", level=1).first.wait_for()
        return self.page

    def close(self) -> None:
        self._context.close()

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium tells of every answer of 400 or more itself; `_response` is more exact.
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.complaints.append(f"console {message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).scheme not in {"data", "blob"} and not request.url.startswith(f"{self.url}/"):
            self.complaints.append(f"foreign request: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.complaints.append(f"status {response.status}: {response.url}")

    def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()


def accessibility_violations(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical."""
    page.evaluate(AXE.read_text(encoding="utf-8"))  # over the debugging port, which the page's policy does not concern
    found = page.evaluate("axe.run()")
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {[node['html'][:200] for node in each['nodes'][:4]]}"
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]
