from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from recsys.catalogue.bundle import Bundle
from tests.shop import service
from tests.vectors.surfaces import a_bundle

IDS = [f"i{place:02d}" for place in (5, 40, 12, 33, 0, 21, 7, 18, 26, 44)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return a_bundle(tmp_path_factory.mktemp("rank") / "b", mixed=False)


@pytest.fixture(scope="module")
def shop(bundle: Bundle) -> httpx.Client:
    return service(bundle)


def _asked(bundle: Bundle, **more: Any) -> dict[str, Any]:
    profile = bundle.table.item_embeddings[21].tolist()
    return {"items": IDS, "profile": profile, "bundle_version": bundle.version} | more


def test_a_profile_re_orders_by_its_score(bundle: Bundle, shop: httpx.Client) -> None:
    told = shop.post("/v1/rank", json=_asked(bundle, impact="high")).json()
    places = bundle.items.index_of(IDS)
    scores = bundle.table.item_embeddings[places] @ bundle.table.item_embeddings[21]
    scores = scores + np.float32(bundle.config.trend_weight) * bundle.table.trend[places]
    assert [item["item_id"] for item in told["ranked"]] == [IDS[place] for place in np.argsort(-scores, kind="stable")]
    assert told["unknown_items"] == []


def test_low_impact_moves_nothing_far(bundle: Bundle, shop: httpx.Client) -> None:
    told = shop.post("/v1/rank", json=_asked(bundle, impact="low", base=list(range(10, 0, -1)))).json()
    order = [IDS.index(item["item_id"]) for item in told["ranked"]]
    assert order != list(range(10))
    assert all(abs(place - item) <= 3 for place, item in enumerate(order))


def test_without_a_profile_the_shops_order_stands(shop: httpx.Client) -> None:
    told = shop.post("/v1/rank", json={"items": [*IDS, "unknown"], "base": list(range(11))}).json()
    assert [item["item_id"] for item in told["ranked"]] == ["unknown", *IDS[::-1]]
    assert told["unknown_items"] == ["unknown"]


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"items": ["i01", "i01"]}, 422, "items: one is given twice"),
        ({"items": []}, 422, "items"),
        ({"base": [1.0]}, 422, "base: must be 10 finite numbers"),
        ({"impact": "strong"}, 422, "impact"),
        ({"surface": "home"}, 422, "surface"),
        ({"profile": [0.1]}, 422, "profile: 1 values, must be 8"),
        ({"bundle_version": "0123456789abcdef"}, 409, "bundle_version"),
        ({"bundle_version": "current"}, 409, "current"),
        ({"more": 1}, 422, "more"),
    ],
)
def test_what_is_wrong_is_refused(
    bundle: Bundle, shop: httpx.Client, change: dict[str, Any], status: int, told: str
) -> None:
    answer = shop.post("/v1/rank", json=_asked(bundle) | change)
    assert answer.status_code == status, answer.text
    assert told in answer.json()["error"]["message"]
    assert "0.1" not in answer.text  # nothing of the profile comes back
