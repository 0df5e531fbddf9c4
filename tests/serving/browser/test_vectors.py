"""The same events make the same lists in the SDK as on the Python device: in Node and in Chromium."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.serving.browser.comparison import differences, near
from tests.serving.browser.node import BROWSER, ROOT, node
from tests.serving.browser.pages import open_shelf
from tests.vectors.shops import shops

RUNNER = ROOT / "tests" / "vectors" / "shops.mjs"
N_SHOPS, PARTS = 1_000, 4


def wrong(made: list[dict[str, object]], answers: list[dict[str, object]]) -> dict[int, list[str]]:
    assert len(made) == len(answers)
    found = {at: differences(shop, answer) for at, (shop, answer) in enumerate(zip(made, answers, strict=True))}
    return {at: problems for at, problems in found.items() if problems}


@pytest.mark.parametrize("part", range(PARTS))
def test_a_thousand_random_shops_in_node(part: int) -> None:
    made = shops(N_SHOPS // PARTS, seed=part)
    assert wrong(made, json.loads(node(RUNNER, stdin=json.dumps(made)))) == {}


def test_random_shops_in_chromium(page: Page) -> None:
    def source(route: Any) -> None:
        path = BROWSER / "src" / route.request.url.partition("/source/")[2]
        route.fulfill(path=path, content_type="text/javascript")

    page.route("**/source/**", source)
    page.route("**/shops.mjs", lambda route: route.fulfill(path=RUNNER, content_type="text/javascript"))
    made = shops(60, seed=99)
    answers = page.evaluate(
        "async (shops) => (await import('/shops.mjs')).answer(await import('/source/internals.js'), shops)", made
    )
    assert wrong(made, answers) == {}


def test_the_comparison_sees_a_wrong_score_a_wrong_item_and_a_wrong_reason() -> None:
    (shop,) = shops(1, seed=3)
    (answer,) = json.loads(node(RUNNER, stdin=json.dumps([shop])))
    assert differences(shop, answer) == []
    for name, place, value in (("scores", 0, answer["calls"][-1]["scores"][0] + 1e-3), ("items", 0, "another")):
        spoilt = json.loads(json.dumps(answer))
        spoilt["calls"][-1][name][place] = value
        assert differences(shop, spoilt)
    explained = next(at for at, call in enumerate(answer["calls"]) if any(call["reasons"]))
    place = next(at for at, reason in enumerate(answer["calls"][explained]["reasons"]) if reason)
    answer["calls"][explained]["reasons"][place]["share"] += 1e-3
    assert differences(shop, answer)


def test_the_shops_are_not_of_one_kind() -> None:
    made = shops(120, seed=5)
    assert {"trend"} < {
        reason["kind"] for shop in made for call in shop["calls"][:3] for reason in call["reasons"] if reason
    }
    files = [base64.b64decode(shop["file"]) for shop in made]
    assert 0.4 < sum(b"mix_trends" in file for file in files) / 120 < 0.95
    assert sum(b'"intent' in file for file in files) > 20
    assert {len(shop["events"]) for shop in made} == {0, 1, 3, 20, 140}
    assert sum(bool(shop["changes"]) for shop in made) > 15


def test_a_shop_s_own_list_is_re_ordered_as_on_the_device() -> None:
    written = json.loads((ROOT / "tests" / "vectors" / "surfaces.json").read_text())
    wanted = [case["answer"] for shop in written["shops"].values() for case in shop["answers"] if "rank" in case]
    made = json.loads(node(ROOT / "tests" / "vectors" / "ranked.mjs", stdin=json.dumps(written)))
    assert len(wanted) > 100
    for answer, ranked in zip(wanted, made, strict=True):
        assert (ranked["items"], ranked["unknown"]) == (answer["item_ids"], answer["unknown"])
        assert all(near(score, other) for score, other in zip(ranked["scores"], answer["scores"], strict=True))


def test_ranking_in_a_page_and_its_mistakes(page: Page) -> None:
    open_shelf(page)
    shop_order = [f"sku-{item}" for item in (1, 2, 3, 0, 6)]
    script = "async (asked) => (await shelf.rank(['sku-1', 'sku-2', 'sku-3', 'sku-0', 'sku-6'], asked)).items"
    assert page.evaluate(script, {}) == shop_order  # nothing is known yet
    page.evaluate("async () => { for (const item of ['sku-12', 'sku-18']) await shelf.observe({ item }); }")
    assert set(page.evaluate(script, {"impact": "high"})[:2]) == {"sku-0", "sku-6"}
    for wrong in ({"impact": "huge"}, {"surface": "shelf"}, {"base": [1]}):
        code = page.evaluate(
            "async (asked) => { try { await shelf.rank(['sku-1', 'sku-2'], asked); } "
            "catch (error) { return error.code; } }",
            wrong,
        )
        assert code == "rank", wrong
