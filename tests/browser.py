"""The system's Chromium for tests of pages, and what a page did: requests, console, errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, Page, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",  # its sandbox needs rights that a container lacks; the pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser. It is the system's: `make system` installs it."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert program is not None, f"no browser: none of {', '.join(PROGRAMS)}; run `make system`"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page, and all that it asked for and complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def sideways(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@contextmanager
def visit(browser: Browser, url: str, *, phone: bool = False, dark: bool = False) -> Iterator[Visit]:
    """Open a page in a context of its own: no cookie and no cache of an earlier one."""
    context = browser.new_context(
        viewport=PHONE if phone else WIDE,  # type: ignore[arg-type]  # a TypedDict of the same two
        color_scheme="dark" if dark else "light",
    )
    seen = Visit(context.new_page())
    seen.page.set_default_timeout(20_000)
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.on("console", lambda said: seen.complaints.append(f"{said.type}: {said.text}"))
    seen.page.on("pageerror", lambda error: seen.complaints.append(f"error: {error}"))
    try:
        seen.page.goto(url)
        yield seen
    finally:
        context.close()
