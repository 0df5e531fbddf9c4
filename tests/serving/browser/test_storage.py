"""Where a shopper's history lies in the browser: it stays, it moves the other tab, and erased it is gone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.serving.browser.pages import blank_page, known_events, listed, observe, open_shelf, visit_blank

TEA = ["sku-0", "sku-6", "sku-12"]
STORED = """async () => {
  const names = (await indexedDB.databases()).map(({ name }) => name), all = [];
  for (const name of names) {
    const db = await new Promise((done) => { indexedDB.open(name).onsuccess = ({ target }) => done(target.result); });
    for (const store of db.objectStoreNames) {
      const values = await new Promise((done) => {
        db.transaction(store).objectStore(store).getAll().onsuccess = ({ target }) => done(target.result);
      });
      all.push(...values.map((value) => [store, value instanceof CryptoKey ? [value.extractable, value.usages] :
        value.sealed ? [...new Uint8Array(value.sealed)] : value]));
    }
    db.close();
  }
  return { names, all, caches: await caches.keys(), local: { ...localStorage }, session: { ...sessionStorage } };
}"""


def stored(page: Page) -> dict[str, Any]:
    found = page.evaluate(STORED)
    assert isinstance(found, dict)
    return found


def things(items: list[str]) -> list[int]:
    """Which of the six kinds of things the items are of."""
    return [int(item.removeprefix("sku-")) % 6 for item in items]


def test_the_next_list_knows_an_event(page: Page) -> None:
    open_shelf(page)
    before = listed(page)
    for item in TEA:
        assert observe(page, item) == {"recorded": True, "durable": True, "inCatalogue": True}
    after = listed(page)
    assert after != before
    assert things(after[:6]) == [0] * 6


def test_a_reload_keeps_history_and_consent(page: Page, address: str) -> None:
    open_shelf(page, "contribute")
    for item in TEA:
        observe(page, item)
    before = listed(page, topK=20)
    visit_blank(page, address)
    open_shelf(page, "nothing")  # for whoever has not chosen yet; this shopper has not either: consent is an act
    assert page.evaluate("shelf.consent") == "nothing"
    page.evaluate("() => shelf.setConsent('observe')")
    assert known_events(page) == 3
    visit_blank(page, address)
    open_shelf(page, "nothing")
    assert page.evaluate("shelf.consent") == "observe"
    assert listed(page, topK=20) == before


def test_without_consent_nothing_is_stored_and_the_page_remembers(page: Page, address: str) -> None:
    open_shelf(page, "session")
    assert observe(page, TEA[0]) == {"recorded": True, "durable": False, "inCatalogue": True}
    assert things(listed(page)[:3]) == [0] * 3
    found = stored(page)
    assert (found["names"], found["caches"], found["local"], found["session"]) == ([], [], {}, {})
    visit_blank(page, address)
    open_shelf(page, "session")
    assert known_events(page) == 0


def test_what_the_page_remembered_is_kept_once_the_shopper_agrees(page: Page, address: str) -> None:
    open_shelf(page, "session")
    for item in TEA:
        observe(page, item)
    page.evaluate("() => shelf.setConsent('observe')")
    assert page.evaluate("shelf.storage") == "sealed"
    visit_blank(page, address)
    open_shelf(page, "session")
    assert known_events(page) == 3


def test_consent_nothing_records_nothing_and_uses_nothing(page: Page) -> None:
    open_shelf(page)
    trend = listed(page, "trending")
    observe(page, TEA[0])
    page.evaluate("() => shelf.setConsent('nothing')")
    assert observe(page, TEA[1])["recorded"] is False
    assert listed(page) == trend
    page.evaluate("() => shelf.setConsent('observe')")
    assert known_events(page) == 1


def test_the_store_holds_no_item_id_in_clear_and_a_key_that_cannot_be_read(page: Page) -> None:
    open_shelf(page)
    for item in TEA:
        observe(page, item, "purchase")
    found = stored(page)
    keys = [value for store, value in found["all"] if store == "keys"]
    assert keys == [[False, ["encrypt", "decrypt"]]]
    sealed = [bytes(value) for store, value in found["all"] if store == "events"]
    assert len(sealed) == 3
    assert {len(record) for record in sealed} == {256 + 16}  # in steps: a length says nothing of an item
    assert not any(item.encode() in record for item in TEA for record in sealed)
    assert (found["local"], found["session"]) == ({}, {})


def test_two_tabs_lose_and_double_nothing_and_move_each_other(context: BrowserContext, address: str) -> None:
    tabs = [blank_page(context, address) for _ in range(2)]
    for tab in tabs:
        open_shelf(tab)
    tabs[1].evaluate("() => { globalThis.told = 0; shelf.on('history', () => told++); }")
    script = """async (first) => { await Promise.all(Array.from({ length: 25 }, (_, at) =>
        shelf.observe({ item: `sku-${first + 2 * at}` }))); }"""
    for first, tab in enumerate(tabs):
        tab.evaluate(f"() => {{ globalThis.writing = ({script})({first}); }}")
    for tab in tabs:
        tab.evaluate("() => writing")
    tabs[1].wait_for_function("told > 0")
    for tab in tabs:
        tab.wait_for_function("async () => (await shelf.profile()).events === 50")
    assert listed(tabs[0]) == listed(tabs[1])
    late = blank_page(context, address)
    open_shelf(late)
    history = json.loads(late.evaluate("() => shelf.export()"))["events"]["item_id"]
    assert sorted(history, key=lambda item: int(item[4:])) == [f"sku-{item}" for item in range(50)]


def test_events_that_come_while_others_are_kept(page: Page, address: str) -> None:
    open_shelf(page)
    page.evaluate("""async () => {
        const all = [];
        for (let at = 0; at < 60; at++) {
            all.push(shelf.observe({ item: `sku-${at}` }));
            if (at % 3 === 0) await new Promise((next) => setTimeout(next, 1));
        }
        await Promise.all(all);
    }""")
    assert known_events(page) == 60
    visit_blank(page, address)
    open_shelf(page)
    assert known_events(page) == 60


def test_consent_and_erasure_reach_the_other_tab(context: BrowserContext, address: str) -> None:
    first, second = (blank_page(context, address) for _ in range(2))
    for tab in (first, second):
        open_shelf(tab)
    observe(first, TEA[0])
    second.wait_for_function("async () => (await shelf.profile()).events === 1")
    first.evaluate("() => shelf.erase()")
    second.wait_for_function("shelf.consent === 'nothing'")
    assert known_events(second) == 0
    assert stored(first)["names"] == []
    assert observe(second, TEA[0])["recorded"] is False


def test_erased_nothing_is_left_and_the_list_is_the_trend(page: Page) -> None:
    open_shelf(page)
    trend = listed(page, "trending")
    for item in TEA:
        observe(page, item)
    assert listed(page) != trend
    assert stored(page)["caches"] == ["ownshelf"]
    page.evaluate("() => shelf.erase()")
    found = stored(page)
    assert (found["names"], found["all"], found["caches"]) == ([], [], [])
    assert listed(page) == trend


def test_a_forgotten_item_is_in_no_record(page: Page, address: str) -> None:
    open_shelf(page)
    for item in [*TEA, TEA[0]]:
        observe(page, item)
    assert page.evaluate("() => shelf.forget('sku-0')") == 2
    assert page.evaluate("() => shelf.forget('sku-0')") == 0
    visit_blank(page, address)
    open_shelf(page)
    assert json.loads(page.evaluate("() => shelf.export()"))["events"]["item_id"] == TEA[1:]
    observe(page, TEA[0])
    assert known_events(page) == 3


def test_many_events_are_packed_and_none_is_lost(context: BrowserContext, address: str) -> None:
    page, other = (blank_page(context, address) for _ in range(2))
    for tab in (page, other):
        open_shelf(tab)
    page.evaluate(
        """async () => { for (let at = 0; at < 300; at++) await shelf.observe({ item: `sku-${at % 100}` }); }"""
    )
    other.wait_for_function("async () => (await shelf.profile()).events === 300")
    visit_blank(page, address)
    open_shelf(page)
    assert known_events(page) == 300
    assert sum(store == "events" for store, _ in stored(page)["all"]) < 60
    observe(page, "sku-5")
    other.wait_for_function("async () => (await shelf.profile()).events === 301")


def test_a_page_killed_while_it_writes_leaves_whole_events(context: BrowserContext, address: str) -> None:
    for at in range(6):
        page = blank_page(context, address)
        open_shelf(page)
        page.evaluate("""() => { (async () => {
            for (let k = 0; k < 1000; k++) {
                await shelf.observe({ item: `sku-${k % 120}` });
                globalThis.wrote = k + 1;
            }
        })(); }""")
        page.wait_for_timeout(15 + 9 * at)
        acknowledged = page.evaluate("globalThis.wrote ?? 0")
        page.close(run_before_unload=False)
        after = blank_page(context, address)
        open_shelf(after)
        items = json.loads(after.evaluate("() => shelf.export()"))["events"]["item_id"]
        assert len(items) >= acknowledged
        assert items == [f"sku-{k % 120}" for k in range(len(items))]
        after.evaluate("() => shelf.erase()")
        after.close()


def test_a_full_disk_is_told_and_the_page_goes_on(page: Page) -> None:
    open_shelf(page)
    page.evaluate("""() => {
        globalThis.told = [];
        shelf.on('storage', (error) => told.push(error.code));
        const add = IDBObjectStore.prototype.add;
        IDBObjectStore.prototype.add = function () { throw new DOMException('full', 'QuotaExceededError'); };
        globalThis.emptied = () => { IDBObjectStore.prototype.add = add; };
    }""")
    assert observe(page, TEA[0]) == {"recorded": True, "durable": False, "inCatalogue": True}
    assert page.evaluate("told") == ["quota"]
    assert things(listed(page)[:3]) == [0] * 3
    page.evaluate("emptied()")
    assert observe(page, TEA[1])["durable"] is True


@pytest.mark.parametrize(
    "denied",
    [
        "indexedDB.open = () => { throw new DOMException('no', 'SecurityError'); }",
        "caches.open = () => Promise.reject(new DOMException('no', 'SecurityError'))",
    ],
)
def test_a_browser_that_stores_nothing_still_recommends(page: Page, denied: str) -> None:
    page.evaluate(f"() => {{ {denied}; }}")
    open_shelf(page)
    for item in TEA:
        assert observe(page, item)["recorded"] is True
    assert things(listed(page)[:6]) == [0] * 6


def test_a_record_that_was_changed_is_not_used(page: Page, address: str) -> None:
    open_shelf(page)
    for item in TEA:
        observe(page, item)
    page.evaluate("""() => new Promise((done) => { indexedDB.open('ownshelf').onsuccess = ({ target }) => {
        const store = target.result.transaction('events', 'readwrite').objectStore('events');
        store.get(1).onsuccess = ({ target: { result } }) => {
            new Uint8Array(result.sealed)[3] ^= 1;
            store.put(result, 1).onsuccess = () => { target.result.close(); done(); };
        };
    }; })""")
    visit_blank(page, address)
    open_shelf(page)
    assert page.evaluate("shelf.storage") == "memory"
    assert known_events(page) == 0


def test_two_records_that_changed_places_are_not_used(page: Page, address: str) -> None:
    open_shelf(page)
    for item in TEA:
        observe(page, item)
    page.evaluate("""() => new Promise((done) => { indexedDB.open('ownshelf').onsuccess = ({ target }) => {
        const store = target.result.transaction('events', 'readwrite').objectStore('events');
        store.getAll().onsuccess = ({ target: { result: [one, two] } }) => {
            store.put(two, 1);
            store.put(one, 2).onsuccess = () => { target.result.close(); done(); };
        };
    }; })""")
    visit_blank(page, address)
    open_shelf(page)
    assert page.evaluate("shelf.storage") == "memory"


def test_a_clock_that_was_wrong_breaks_no_list(page: Page) -> None:
    open_shelf(page)
    page.evaluate("""async () => {
        const now = Date.now();
        await shelf.observe({ item: 'sku-0', time: now + 400 * 86_400_000 });
        await shelf.observe({ item: 'sku-6', time: 0 });
        await shelf.observe({ item: 'sku-12' });
    }""")
    assert things(listed(page)[:6]) == [0] * 6
    assert json.loads(page.evaluate("() => shelf.export()"))["events"]["item_id"] == ["sku-6", "sku-12", "sku-0"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("shelf.observe({ item: '' })", "event"),
        ("shelf.observe({ item: 'sku-0', kind: 'looked' })", "event"),
        ("shelf.observe({ item: 'sku-0', quantity: 0 })", "event"),
        ("shelf.observe({ item: 'sku-0', time: NaN })", "event"),
        ("shelf.recommend('nowhere')", "placement"),
        ("shelf.recommend('for-you', { topK: 0 })", "top_k"),
        ("shelf.recommend('for-you', { diversity: 2 })", "diversity"),
        ("shelf.recommend('for-you', { filter: { size: 3 } })", "filter"),
        ("shelf.recommend('for-you', { filter: { price: { least: 3 } } })", "filter"),
        ("shelf.setConsent('all')", "consent"),
        ("shelf.import('{}')", "import"),
        ("sdk.open({ endpoint: 'http://elsewhere.example' })", "endpoint"),
    ],
)
def test_a_mistake_is_one_kind_of_error_with_a_code(page: Page, wrong: str, code: str) -> None:
    open_shelf(page)
    caught = page.evaluate(f"""async () => {{
        try {{ await {wrong}; }}
        catch (error) {{ return [error instanceof sdk.ShelfError, error.code, error.message]; }}
    }}""")
    assert caught[:2] == [True, code], caught
