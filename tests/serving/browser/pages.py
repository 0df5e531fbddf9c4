"""Pages of a shop for tests: empty ones with the SDK, and what a page's scripts are asked."""

from __future__ import annotations

import time

from playwright.sync_api import BrowserContext, Page

BLANK = "<!doctype html><html lang=en><title>a shop</title><body></body></html>"


def blank_page(context: BrowserContext, address: str) -> Page:
    """A page of the service's origin with the SDK's module in `sdk`, and what went wrong in `page.errors`."""
    page = context.new_page()
    page.route("**/blank", lambda route: route.fulfill(body=BLANK, content_type="text/html"))
    visit_blank(page, address)
    return page


def visit_blank(page: Page, address: str) -> None:
    page.goto(f"{address}/blank")
    page.evaluate("async () => { globalThis.sdk = await import('/sdk/index.js'); }")


def open_shelf(page: Page, consent: str = "observe") -> None:
    """A shelf in `shelf` with its catalogue there."""
    page.evaluate(
        "async (consent) => { globalThis.shelf = await sdk.open({ consent }); await shelf.refresh(); }", consent
    )


def observe(page: Page, item: str, kind: str = "view") -> dict[str, object]:
    answer = page.evaluate("([item, kind]) => shelf.observe({ item, kind })", [item, kind])
    assert isinstance(answer, dict)
    return answer


def listed(page: Page, placement: str = "for-you", **asked: object) -> list[str]:
    items = page.evaluate(
        "async ([placement, asked]) => (await shelf.recommend(placement, asked)).items.map(({ item }) => item)",
        [placement, asked],
    )
    assert isinstance(items, list)
    return items


def known_events(page: Page) -> int:
    return int(page.evaluate("async () => (await shelf.profile()).events"))


def until(page: Page, expression: str, argument: object = None, timeout_s: float = 20.0) -> None:
    """Wait for something of a page: its own policy forbids what Playwright would put in to do so."""
    end = time.monotonic() + timeout_s
    while not page.evaluate(expression, argument):
        assert time.monotonic() < end, f"never: {expression}"
        page.wait_for_timeout(20)
