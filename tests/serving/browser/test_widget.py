"""The optional chunks: GA4's events read in the page, and a shelf as an element."""

from __future__ import annotations

import json

from playwright.sync_api import Page

from tests.serving.browser.node import BROWSER
from tests.serving.browser.pages import known_events, listed, observe, open_shelf, until

AXE = BROWSER / "node_modules" / "axe-core" / "axe.min.js"
GA4 = """async () => {
  globalThis.dataLayer = [{ event: 'view_item', ecommerce: { items: [{ item_id: 'sku-0' }] } }];
  globalThis.shelf = await sdk.open({ consent: 'observe', dataLayer });
  await shelf.refresh();
  globalThis.gtag = function () { dataLayer.push(arguments); };
}"""


def history(page: Page) -> list[tuple[str, int, float]]:
    events = json.loads(page.evaluate("() => shelf.export()"))["events"]
    return list(zip(events["item_id"], events["kind"], events["quantity"], strict=True))


def test_a_shop_with_ga4_writes_no_tracking_code(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(GA4)
    page.evaluate("""() => {
        dataLayer.push({ event: 'add_to_cart', ecommerce: { items: [{ item_id: 'sku-6', quantity: 2 }] } });
        gtag('event', 'purchase', { items: [{ item_id: 'sku-6', quantity: 2 }, { item_id: 'sku-12', quantity: 1 }] });
        gtag('event', 'view_item_list', { items: [{ item_id: 'sku-3' }] });
        gtag('config', 'G-1');
        dataLayer.push('nonsense', null, 7, { event: 'purchase' }, { event: 'view_item', ecommerce: { items: [{}] } });
        dataLayer.push({ event: 'toString', ecommerce: { items: [{ item_id: 'sku-9' }] } });
    }""")
    until(page, "async () => (await shelf.profile()).events === 4")
    assert history(page) == [("sku-0", 0, 1), ("sku-6", 1, 2), ("sku-6", 2, 2), ("sku-12", 2, 1)]
    assert page.evaluate("dataLayer.length") == 11
    assert all("/sdk/" in url or "/v1/catalogue/" in url for url in asked)


def test_a_refund_takes_the_last_purchase_back(page: Page) -> None:
    page.evaluate(GA4)
    buy = "() => gtag('event', 'purchase', { items: [{ item_id: 'sku-6' }] })"
    for _ in range(2):
        page.evaluate(buy)
    until(page, "async () => (await shelf.profile()).events === 3")
    page.evaluate("() => gtag('event', 'refund', { items: [{ item_id: 'sku-6' }, { item_id: 'sku-99' }] })")
    until(page, "async () => (await shelf.profile()).events === 2")
    assert history(page) == [("sku-0", 0, 1), ("sku-6", 2, 1)]
    assert page.evaluate("() => shelf.retract('sku-6', 'like')") is False


def test_of_two_events_that_are_equal_one_is_taken_back(page: Page) -> None:
    open_shelf(page)
    for _ in range(2):
        page.evaluate("() => shelf.observe({ item: 'sku-6', kind: 'purchase', time: 1e12 })")
    assert page.evaluate("() => shelf.retract('sku-6', 'purchase')") is True
    assert known_events(page) == 1
    open_shelf(page, "nothing")
    assert page.evaluate("shelf.consent") == "nothing"


def test_a_shelf_is_an_element(page: Page) -> None:
    open_shelf(page)
    page.evaluate("""async () => {
        const { defineShelf } = await import('/sdk/widget.js');
        defineShelf(shelf, { price: (amount) => `£${amount.toFixed(2)}` });
        document.body.innerHTML = '<main><h1>Shop</h1>'
            + '<ownshelf-shelf heading="For you" top-k="4" href="/items/{item}"></ownshelf-shelf></main>';
    }""")
    items = page.locator("ownshelf-shelf [part=item]")
    items.first.wait_for()
    wanted = listed(page, topK=4)
    links = page.locator("ownshelf-shelf a").evaluate_all("all => all.map((link) => link.getAttribute('href'))")
    assert links == [f"/items/{item}" for item in wanted]
    assert page.locator("ownshelf-shelf h2").inner_text() == "For you"
    assert items.first.locator("[part=price]").inner_text().startswith("£")
    page.evaluate(AXE.read_text())
    assert page.evaluate("async () => (await axe.run()).violations.map(({ id }) => id)") == []
    items.first.get_by_role("button").click()
    first = "document.querySelector('ownshelf-shelf').shadowRoot.querySelector('a').getAttribute('href')"
    until(page, f"{first} !== '{links[0]}'")
    observe(page, "sku-1")
    page.evaluate("document.querySelector('ownshelf-shelf').setAttribute('placement', 'nowhere')")
    until(page, "!document.querySelector('ownshelf-shelf').shadowRoot.querySelector('li')")


def test_two_shelves_and_one_that_is_taken_out(page: Page) -> None:
    open_shelf(page)
    page.evaluate("""async () => {
        const { defineShelf } = await import('/sdk/widget.js');
        defineShelf(shelf);
        document.body.innerHTML = '<ownshelf-shelf placement="trending"></ownshelf-shelf>'
            + '<ownshelf-shelf placement="similar" context="sku-1" image="/pictures/{item}.webp"></ownshelf-shelf>';
    }""")
    page.locator("ownshelf-shelf [part=item]").nth(13).wait_for()
    page.evaluate("document.querySelector('ownshelf-shelf').remove()")
    observe(page, "sku-0")
    sources = page.locator("ownshelf-shelf img").evaluate_all("all => all.map((image) => image.getAttribute('src'))")
    assert len(sources) == 12
    assert all(source.startswith("/pictures/sku-") for source in sources)
