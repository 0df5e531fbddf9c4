"""The demo shop: shelves move, a keyboard and a reader of the screen can use it, on a desk and on a phone."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Browser, Page

from recsys.catalogue.bundle import Bundle
from serving.http.app import create_app
from tests.browser import Visit, visit
from tests.listening import listening
from tests.serving.browser.node import BROWSER
from tests.serving.browser.pages import until

AXE = BROWSER / "node_modules" / "axe-core" / "axe.min.js"


def shelf_items(page: Page, name: str) -> list[str]:
    links = page.locator(f"[data-shelf={name}] .card a").evaluate_all(
        "all => all.map((link) => link.getAttribute('href'))"
    )
    return [str(link).rpartition("/")[2] for link in links]


def go(page: Page, address: str) -> None:
    page.evaluate("(address) => { location.hash = address; }", address)
    until(page, "(address) => document.activeElement?.id === 'main'", address)


def violations(seen: Visit) -> list[str]:
    """What axe complains of. It is put in by the test: the page's own policy would not let it load."""
    seen.page.evaluate(AXE.read_text())
    found = seen.page.evaluate(
        "async () => (await axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`)"
    )
    assert isinstance(found, list)
    return found


def test_looking_around_moves_the_shelf_and_a_reload_keeps_it(browser: Browser, address: str) -> None:
    with visit(browser, f"{address}/shop") as seen:
        page = seen.page
        page.wait_for_selector("[data-shelf=for-you] .card")
        popular = shelf_items(page, "for-you")
        page.click("#consent-yes")
        for item in ("sku-1", "sku-13", "sku-25"):
            go(page, f"#/item/{item}")
            page.wait_for_selector("[data-shelf=similar]")
        go(page, "#/")
        page.wait_for_selector("[data-shelf=recent]")
        mine = shelf_items(page, "for-you")
        assert mine != popular
        assert sum(int(item[4:]) % 6 == 1 for item in mine[:6]) >= 5
        assert shelf_items(page, "recent") == ["sku-25", "sku-13", "sku-1"]
        page.reload()
        page.wait_for_selector("[data-shelf=recent]")
        assert shelf_items(page, "for-you") == mine
        assert seen.complaints == []


def test_why_this_says_why(browser: Browser, address: str) -> None:
    with visit(browser, f"{address}/shop#/item/sku-1") as seen:
        page = seen.page
        page.wait_for_selector("[data-shelf=similar]")
        go(page, "#/")
        page.wait_for_selector("[data-shelf=recent]")
        page.locator("[data-shelf=for-you] .why summary").nth(1).click()
        page.wait_for_selector(".because:not([hidden])")
        assert (
            "Because you viewed Blue Candle Holder 1."
            in page.locator("[data-shelf=for-you] .because").nth(1).inner_text()
        )


def test_a_dislike_is_known_at_once(browser: Browser, address: str) -> None:
    with visit(browser, f"{address}/shop") as seen:
        page = seen.page
        page.wait_for_selector("[data-shelf=for-you] .card")
        first = shelf_items(page, "for-you")[0]
        page.locator("[data-shelf=for-you] .card").first.get_by_role("button", name="Not for me").click()
        card = "document.querySelector('[data-shelf=for-you] .card a')"
        until(page, f"(first) => !{card}.href.endsWith(first)", first)


def test_search_and_department_switch_between_two_orders(browser: Browser, address: str) -> None:
    with visit(browser, f"{address}/shop#/item/sku-1") as seen:
        page = seen.page
        page.wait_for_selector("[data-shelf=similar]")
        page.fill("#query", "candle")
        page.press("#query", "Enter")
        page.wait_for_selector("[data-shelf=search]")
        ranked = shelf_items(page, "search")
        page.check("#as-shop")
        heading = "document.querySelector('[data-shelf=search] h2').innerText.startsWith('As the shop')"
        until(page, heading)
        by_shop = shelf_items(page, "search")
        assert sorted(ranked) == sorted(by_shop)
        assert by_shop == [f"sku-{item}" for item in range(1, 120, 6) if item != 7]
        assert ranked != by_shop
        page.fill("#query", "nothing like it")
        page.press("#query", "Enter")
        page.wait_for_selector(".empty")


def test_a_basket_is_bought_and_offered_again(browser: Browser, address: str) -> None:
    with visit(browser, f"{address}/shop#/item/sku-3") as seen:
        page = seen.page
        page.click("#add")
        until(page, "document.getElementById('cart-count').textContent === '1'")
        go(page, "#/cart")
        assert "sku-3" not in shelf_items(page, "goes-with")
        page.click("#buy")
        page.wait_for_selector("[data-shelf=again]")
        assert shelf_items(page, "again") == ["sku-3"]


def test_your_data_forgets_and_erases(browser: Browser, address: str) -> None:
    with visit(browser, f"{address}/shop#/item/sku-1") as seen:
        page = seen.page
        page.wait_for_selector("[data-shelf=similar]")
        go(page, "#/item/sku-2")
        go(page, "#/data")
        page.check("input[value=observe]")
        page.wait_for_selector("text=Kept: sealed on this device.")
        assert page.locator("#bytes-of-mine").inner_text() == "0 bytes"
        page.get_by_role("button", name="Forget Green Pink Bag 2").click()
        until(page, "document.querySelectorAll('.events li').length === 1")
        page.click("#erase")
        page.wait_for_selector("text=Nothing yet.")
        assert page.evaluate("async () => (await indexedDB.databases()).length") == 0
        assert page.is_checked("input[value=nothing]")


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_is_accessible_and_as_wide_as_its_window(
    browser: Browser, address: str, phone: bool, dark: bool
) -> None:
    with visit(browser, f"{address}/shop", phone=phone, dark=dark) as seen:
        page = seen.page
        page.wait_for_selector(".card")
        for place in ("#/item/sku-1", "#/", "#/department/lights", "#/search/tea", "#/cart", "#/data", "#/nowhere"):
            go(page, place)
            page.wait_for_timeout(150)
            assert violations(seen) == [], place
            assert seen.sideways == 0, place


def test_a_keyboard_reaches_an_item(browser: Browser, address: str) -> None:
    with visit(browser, f"{address}/shop") as seen:
        page = seen.page
        page.wait_for_selector(".card")
        page.focus("[data-shelf=for-you] .card a")
        page.keyboard.press("Enter")
        page.wait_for_selector("#add")
        assert page.evaluate("document.activeElement.id") == "main"


def test_it_is_off_unless_it_was_asked_for(bundle: Bundle, address: str) -> None:
    with listening(create_app([bundle])) as off:
        refused = {path: httpx.get(off + path) for path in ("/shop", "/shop/shop.js", "/sdk/index.js")}
    for path, answer in refused.items():
        assert answer.status_code == 404
        assert "--shop" in answer.json()["error"]["message"]
        assert "a shop serves these files from its own host" in httpx.get(address + path).headers["ownshelf-demo"]
    for path in ("/shop/../app.py", "/shop/nothing.js", "/sdk/index.d.ts", "/sdk/%2e%2e"):
        assert httpx.get(address + path).status_code == 404
    tag = httpx.get(f"{address}/sdk/index.js").headers["etag"]
    assert httpx.get(f"{address}/sdk/index.js", headers={"if-none-match": tag}).status_code == 304
