"""What leaves a browser in mode device, byte by byte, and what happens when the service is away."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page

from data.interactions import EventKind
from federation.device.device import Device
from recsys.catalogue.bundle import Bundle
from serving.http.app import ServiceSettings, create_app
from tests.browser import visit
from tests.listening import listening
from tests.serving.browser.a_shop import N_ITEMS, gift_shop
from tests.serving.browser.pages import blank_page, known_events, listed, observe, open_shelf, visit_blank

HEADERS = {
    *("accept", "accept-encoding", "accept-language", "cache-control", "connection", "host", "if-none-match", "origin"),
    *("pragma", "referer", "sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "sec-fetch-dest", "sec-fetch-mode"),
    *("sec-fetch-site", "sec-fetch-user", "upgrade-insecure-requests", "user-agent"),
}
"""What any browser sends to any page."""


def test_a_whole_session_says_nothing_of_the_shopper(browser: Browser, address: str, bundle: Bundle) -> None:
    """Every request of the demo shop: no item, no body, no header that another shopper's would not have."""
    with visit(browser, f"{address}/shop") as seen:
        page, heads = seen.page, []
        page.on("request", lambda request: heads.append((request.url, request.post_data_buffer, request.all_headers())))
        page.click("#consent-yes")
        page.wait_for_selector(".card")
        for query in ("candle", "red tea"):
            page.fill("#query", query)
            page.press("#query", "Enter")
            page.wait_for_selector("[data-shelf=search] .card")
            page.locator(".card a").first.click()
            page.wait_for_selector("#add")
            page.get_by_role("button", name="I like it", exact=True).click()
            page.click("#add")
        page.goto(f"{address}/shop#/cart")
        page.click("#buy")
        page.wait_for_selector("[data-shelf=again]")
        page.reload()
        page.wait_for_selector("[data-shelf=for-you]")
        assert page.evaluate("async () => (await shelf.profile()).events") >= 8
        assert page.evaluate("async () => (await shelf.profile()).sent.every(({ bytes }) => bytes === 0)")
    assert heads
    mine = {f"sku-{item}" for item in range(N_ITEMS)} | {"candle"}
    public = {
        "/shop",
        *(f"/shop/{name}.js" for name in ("shop", "cards", "cart", "departments", "dom", "pages", "privacy", "tiles")),
    }
    for url, body, headers in heads:
        path = url.removeprefix(address).partition("#")[0].partition("?")[0]
        assert body is None
        assert path in public or path.startswith(("/sdk/", "/shop/shop.css", "/v1/catalogue/")), path
        assert not any(word in path for word in mine)
        assert set(headers) <= HEADERS
        text = json.dumps(
            [url.partition("#")[0], {name: value for name, value in headers.items() if name != "referer"}]
        )
        assert not any(f"sku-{item}" in text for item in range(N_ITEMS))
    tags = {
        headers["if-none-match"] for url, _, headers in heads if "if-none-match" in headers and "/catalogue/" in url
    }
    assert len(tags) <= 1  # the file's own hash, the same for everybody


def test_offline_it_still_recommends(context: BrowserContext, address: str) -> None:
    page = blank_page(context, address)
    open_shelf(page)
    observe(page, "sku-0")
    before = listed(page)
    context.set_offline(True)
    observe(page, "sku-6")
    page.evaluate("async () => { globalThis.again = await sdk.open(); }")
    assert page.evaluate("async () => (await again.recommend()).items.length") == 10
    caught = page.evaluate("async () => { try { await again.refresh(); } catch (error) { return error.code; } }")
    assert caught == "offline"
    context.set_offline(False)
    page.evaluate("() => again.refresh()")
    assert len(before) == 10


def test_offline_without_a_catalogue_is_said(context: BrowserContext, address: str) -> None:
    page = blank_page(context, address)
    context.set_offline(True)
    code = page.evaluate("""async () => {
        const shelf = await sdk.open();
        try { await shelf.recommend(); } catch (error) { return error.code; }
    }""")
    assert code == "offline"


def test_a_service_that_restarts_with_another_bundle_is_followed(context: BrowserContext, tmp_path: Path) -> None:
    old, new = gift_shop(tmp_path / "old"), gift_shop(tmp_path / "new", seed=1)
    settings = ServiceSettings(shop=True)
    with listening(create_app([old], settings)) as url:
        page = blank_page(context, url)
        open_shelf(page)
        observe(page, "sku-0")
        port = int(url.rpartition(":")[2])
    assert len(listed(page)) == 10  # the service is away
    with listening(create_app([new, old], settings), port=port):
        assert page.evaluate("() => shelf.refresh()") is True
        assert page.evaluate("shelf.catalogue.bundleVersion") == new.version
        assert known_events(page) == 1
        sent = page.evaluate("async () => (await shelf.profile()).sent.map(({ path }) => path)")
        assert f"/v1/catalogue/current?since={old.version}" in sent
        visit_blank(page, url)
        page.evaluate("async () => { globalThis.shelf = await sdk.open(); }")
        assert page.evaluate("shelf.catalogue.bundleVersion") == new.version
    shutil.rmtree(tmp_path)


def test_a_file_that_is_not_the_one_its_etag_names_is_refused(page: Page) -> None:
    def torn(route: object) -> None:
        answer = route.fetch()  # type: ignore[attr-defined]
        body = bytearray(answer.body())
        body[-1] ^= 1
        route.fulfill(response=answer, body=bytes(body))  # type: ignore[attr-defined]

    page.route("**/v1/catalogue/*", torn)
    code = page.evaluate("""async () => {
        const shelf = await sdk.open();
        try { await shelf.refresh(); } catch (error) { return error.code; }
    }""")
    assert code == "catalogue"


def test_a_cached_catalogue_that_was_changed_is_fetched_again(page: Page, address: str) -> None:
    open_shelf(page)
    page.evaluate("""async () => {
        const cache = await caches.open('ownshelf'), [key] = await cache.keys(), kept = await cache.match(key);
        const file = new Uint8Array(await kept.arrayBuffer());
        file[file.length - 1] ^= 1;
        await cache.put(key, new Response(file, { headers: kept.headers }));
    }""")
    visit_blank(page, address)
    open_shelf(page)
    assert page.evaluate("async () => (await shelf.profile()).sent[0].path") == "/v1/catalogue/current"
    assert len(listed(page)) == 10


def test_what_changes_in_the_shop_reaches_the_page(context: BrowserContext, tmp_path: Path) -> None:
    app = create_app([gift_shop(tmp_path / "bundle")], ServiceSettings(shop=True))
    with listening(app) as url:
        page = blank_page(context, url)
        open_shelf(page)
        assert listed(page, "trending", topK=2) == ["sku-0", "sku-1"]
        page.evaluate("""async () => {
            const body = JSON.stringify({ items: [{ item_id: 'sku-0', title: 'gone', available: false }] });
            await fetch('/v1/items', { method: 'PUT', headers: { 'content-type': 'application/json' }, body });
        }""")
        page.evaluate("() => shelf.refresh()")
        assert listed(page, "trending", topK=2) == ["sku-1", "sku-2"]


def test_an_export_goes_from_browser_to_browser_and_to_a_device(browser: Browser, address: str, tmp_path: Path) -> None:
    first = browser.new_context()
    page = blank_page(first, address)
    open_shelf(page)
    for item in ("sku-0", "sku-6", "sku-0"):
        observe(page, item, "purchase")
    exported, shelf = page.evaluate("() => shelf.export()"), listed(page, topK=20)
    first.close()
    second = browser.new_context()
    other = blank_page(second, address)
    open_shelf(other)
    assert other.evaluate("(text) => shelf.import(text)", exported) == 3
    assert other.evaluate("(text) => shelf.import(text)", exported) == 0
    assert listed(other, topK=20) == shelf
    second.close()
    device = Device.create(tmp_path / "device", consent="observe", key_store="file")
    device.refresh(address)
    events = json.loads(exported)["events"]
    for item_id, kind, time in zip(events["item_id"], events["kind"], events["time"], strict=True):
        device.observe(item_id, EventKind(kind), time)
    assert device.recommend(20).item_ids == shelf
