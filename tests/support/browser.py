"""A headless Chromium for tests: the system's own, driven by Playwright; tests skip where it is missing."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import PATIENCE_S


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Start the browser."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        # The sandbox of Chromium does not start for root, nor in most containers.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextlib.contextmanager
def window(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    """Open a window of its own, with its own cookies and logins, that notes in `window.outside` who else was asked."""
    context = browser.new_context(viewport={"width": 1200, "height": 1000}, **options)
    context.set_default_timeout(PATIENCE_S * 1000)
    page = context.new_page()
    page.outside = []
    home = address.split("?")[0].rstrip("/")
    here = (home, home.replace("http:", "ws:"), "data:", "blob:")
    for event in ("request", "websocket"):
        page.on(event, lambda one: None if one.url.startswith(here) else page.outside.append(one.url))
    try:
        page.goto(address, wait_until="commit")
        yield page
    finally:
        context.close()


def button(page: Any) -> Any:
    """The button of the board's form."""
    return page.get_by_role("button", name="Decide on version")


def fill(page: Any, choice: str, reason: str) -> None:
    """Fill in the board's form; `choice` is how the chosen option begins."""
    button(page).wait_for()
    box = page.get_by_role("combobox")
    box.select_option(next(text for text in box.locator("option").all_text_contents() if text.startswith(choice)))
    page.get_by_role("textbox").first.fill(reason)


def outcome(page: Any) -> str:
    """What the board says after a click."""
    alert = page.locator("[role=alert]")
    alert.wait_for()
    return alert.inner_text()
