"""The dashboard's page in a browser: it shows the figures and nothing else, and asks nobody but its service.

In a module of its own, since Playwright's loop runs in this thread as long as the browser does.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser

from federation.learning.privacy_plan import PrivacyPlan
from federation.storage.database import open_engine, sqlite_url
from serving.access import Access
from serving.http.app import create_app
from serving.state.api_keys import ApiKeys
from serving.state.key_book import KeyBook
from serving.state.stores import Stores
from tests.browser import Visit, chromium, visit
from tests.federation.service.a_lineage import CLIPS, a_line, stop
from tests.listening import listening
from tests.serving.asked import ask_everything
from tests.serving.keyed import keyed_service
from tests.shop import DIM, make_bundle

NOW = 1_800_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FastAPI, str]]:
    """A service with two finished rounds under noise, one open round and some traffic; its analyst's key."""
    folder = tmp_path_factory.mktemp("live")
    plan = PrivacyPlan.calibrated(8.0, 1e-6, 4, CLIPS, min_reports=3, max_reports=20)
    line, now = a_line(folder, plan=plan, pause_s=1), NOW
    for _ in range(2):
        line.fill(line.open(now), per_block=4, now=now)
        line.settle(now)
        now += 60
    line.open(now)
    stores = Stores.open(sqlite_url(folder / "counts.sqlite"))
    engine = open_engine(sqlite_url(folder / "state.sqlite"))
    keys = ApiKeys(engine)
    key, app_key = (keys.create("shop", [scope], NOW) for scope in ("analyst", "app"))
    app = create_app(
        line.coordinator.bundles(), access=Access(KeyBook(keys)), stores=stores, coordinator=line.coordinator
    )
    headers = {"authorization": f"Bearer {app_key}"}
    with listening(app) as url, httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        ask_everything(client, line.coordinator.bundles()[0].version, [0.25] * DIM)
    stores.traffic.count("shop", "profile", 503, int(time.time()))
    stores.traffic.flush(int(time.time()))
    yield app, key
    stop(line)
    stores.close()
    engine.dispose()


@pytest.fixture(scope="module")
def address(live: tuple[FastAPI, str]) -> Iterator[str]:
    with listening(live[0]) as url:
        yield url


def sign_in(seen: Visit, key: str) -> None:
    seen.page.get_by_label("API key").fill(key)
    seen.page.get_by_role("button", name="Show").click()


def tiles(seen: Visit) -> dict[str, str]:
    seen.page.locator("#page").wait_for()
    pairs = seen.page.locator(".tile").evaluate_all(
        "all => all.map(t => [t.children[1].innerText, t.children[0].innerText])"
    )
    return dict(pairs)


def titles(seen: Visit, plot: str) -> list[str]:
    found: list[str] = seen.page.locator(f"#{plot} svg title").evaluate_all("all => all.map(t => t.textContent)")
    return found


def only_here(seen: Visit, url: str) -> None:
    assert {httpx.URL(one).host for one in seen.requests} == {"127.0.0.1"}
    assert {one.split("?")[0] for one in seen.requests} == {f"{url}/dashboard", f"{url}/v1/dashboard"}


@pytest.mark.parametrize("phone", [False, True], ids=["wide", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_tiles_plots_and_tables_hold_the_figures_of_the_answer(
    browser: Browser, address: str, live: tuple[FastAPI, str], phone: bool, dark: bool
) -> None:
    answer = httpx.get(f"{address}/v1/dashboard", headers={"authorization": f"Bearer {live[1]}"}, timeout=60).json()
    with visit(browser, f"{address}/dashboard", phone=phone, dark=dark) as seen:
        sign_in(seen, live[1])
        shown = tiles(seen)
        current = next(one for one in answer["bundles"] if one["current"])
        assert shown["current model"] == current["version"][:8]
        assert shown["items"] == str(current["n_items"])
        assert shown["requests"] == str(sum(one["n"] for one in answer["traffic"])) == "14"
        assert (shown["refused (4xx)"], shown["errors (5xx)"]) == ("2", "1")
        spent, lifetime = (float(word) for word in shown["ε spent"].split(" of "))
        assert spent == pytest.approx(answer["epsilon"]["spent"], rel=5e-3)
        assert lifetime == pytest.approx(answer["epsilon"]["lifetime"], rel=5e-3)

        done = [one for one in reversed(answer["rounds"]) if one["finished_at"]]
        assert [one["state"] for one in answer["rounds"]] == ["open", "published", "published"]
        assert titles(seen, "rounds") == [f"round {one['round']}: {one['reports']} reports" for one in done]
        for title, one in zip(titles(seen, "epsilon"), done, strict=True):
            assert title.startswith(f"spent, {one['round']}: ")
            assert float(title.split(": ")[1]) == pytest.approx(one["record"]["privacy"]["epsilon"], rel=5e-3)
        drawn: Counter[str] = Counter()
        for title in titles(seen, "traffic"):
            n, kind = re.fullmatch(r".*: (\d+) (\w+)(?: \(no profile\))?", title).groups()  # type: ignore[union-attr]
            drawn[kind] += int(n)
        expected: Counter[str] = Counter()
        for one in answer["traffic"]:
            expected["errors" if one["outcome"] == "error" else one["kind"]] += one["n"]
        assert drawn == expected

        versions = seen.page.locator("#bundles tr td:first-child").all_inner_texts()
        assert versions == [one["version"] for one in answer["bundles"]]
        assert seen.page.locator("#newest tr td:nth-child(2)").all_inner_texts() == ["open", "published", "published"]
        assert seen.sideways <= 0
        assert seen.complaints == []
        only_here(seen, address)


@pytest.mark.parametrize("phone", [False, True], ids=["wide", "phone"])
def test_a_plot_lies_within_its_card_and_its_words_do_not_overlap(
    browser: Browser, address: str, live: tuple[FastAPI, str], phone: bool
) -> None:
    boxes = """svg => { const at = svg.getBoundingClientRect();
      return {svg: [at.left, at.top, at.right, at.bottom], card: svg.closest('section').getBoundingClientRect().right,
        marks: [...svg.querySelectorAll('text, rect, circle, polyline')].map(one => {
          const r = one.getBoundingClientRect(); return [one.tagName, r.left, r.top, r.right, r.bottom]; })}; }"""
    with visit(browser, f"{address}/dashboard", phone=phone) as seen:
        sign_in(seen, live[1])
        tiles(seen)
        plots = [seen.page.locator(f"#{name} svg").evaluate(boxes) for name in ("epsilon", "rounds", "traffic")]
    for plot in plots:
        left, top, right, bottom = plot["svg"]
        assert right <= plot["card"]
        assert all(
            left <= x0 and top <= y0 and x1 <= right + 0.5 and y1 <= bottom + 0.5 for _, x0, y0, x1, y1 in plot["marks"]
        )
        words = [mark[1:] for mark in plot["marks"] if mark[0] == "text"]
        assert len(words) >= 4
        for place, one in enumerate(words):
            for other in words[place + 1 :]:
                assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_a_wrong_key_is_told_so_and_the_right_one_opens_it_afterwards(
    browser: Browser, address: str, live: tuple[FastAPI, str]
) -> None:
    with visit(browser, f"{address}/dashboard") as seen:
        assert seen.requests == [f"{address}/dashboard"]  # nothing is asked before there is a key
        sign_in(seen, "osk_wrong_key")
        seen.page.get_by_text("This key is not known here.").wait_for()
        assert not seen.page.locator("#page").is_visible()
        sign_in(seen, "")
        seen.page.get_by_text("This service needs a key.").wait_for()
        assert [one for one in seen.complaints if "401" not in one] == []  # the browser's own line
        sign_in(seen, live[1])
        assert tiles(seen)["requests"] == "14"
        assert seen.page.locator("#problem").inner_text() == ""
        assert not seen.page.locator("#login").is_visible()
        assert seen.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie, location.search]") == [
            0,
            0,
            "",
            "",
        ]


def test_a_key_of_another_scope_is_told_which(browser: Browser, tmp_path: Path) -> None:
    with keyed_service(tmp_path) as keyed, listening(keyed.app) as url, visit(browser, f"{url}/dashboard") as seen:
        sign_in(seen, keyed.keys["shop-a", "app"])
        seen.page.get_by_text("This key lacks the scope analyst.").wait_for()


def test_a_service_without_keys_rounds_and_traffic_says_so(browser: Browser, tmp_path: Path) -> None:
    app = create_app([make_bundle(tmp_path / "bundle")])
    with listening(app) as url, visit(browser, f"{url}/dashboard", phone=True) as seen:
        sign_in(seen, "")
        assert tiles(seen)["ε spent"] == "–"
        assert tiles(seen)["requests"] == "0"
        texts = {
            name: seen.page.locator(f"#{name}").inner_text() for name in ("quality", "epsilon", "rounds", "traffic")
        }
        assert texts == {
            "quality": "No version has a figure.",
            "epsilon": "No live rounds on this service.",
            "rounds": "No round is done.",
            "traffic": "No request in this time.",
        }
        assert seen.page.locator("#newest").inner_text() == "No round yet."
        assert seen.sideways <= 0
        assert seen.complaints == []


def test_it_works_behind_a_prefix(browser: Browser, live: tuple[FastAPI, str]) -> None:
    async def proxied(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            path = scope["path"].removeprefix("/shop/figures")
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await live[0](scope, receive, send)

    with listening(proxied) as url, visit(browser, f"{url}/shop/figures/dashboard") as seen:
        sign_in(seen, live[1])
        assert tiles(seen)["requests"] == "14"
        only_here(seen, f"{url}/shop/figures")
        assert seen.complaints == []


def test_the_policy_stops_what_is_not_the_pages_own(browser: Browser, address: str) -> None:
    with visit(browser, f"{address}/dashboard") as seen:
        seen.page.evaluate(
            """() => { const planted = document.createElement('script'); planted.textContent = 'window.planted = 1';
            document.body.append(planted); const image = new Image(); image.src = 'http://127.0.0.2/?key=1'; }"""
        )
        seen.page.wait_for_timeout(300)
        assert seen.page.evaluate("window.planted") is None
        assert len([one for one in seen.complaints if "Content Security Policy" in one]) >= 2
