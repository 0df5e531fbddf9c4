"""Placements on the device: the service's own list where no history is in it, and what only a history can list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import ModelError, ServingError
from federation.device.device import Device
from recsys.catalogue.bundle import Bundle
from recsys.lists.placements.placement import HISTORY_SOURCES, SOURCES
from tests.shop import sent_by, service
from tests.vectors.surfaces import DAY, NOW, a_bundle, histories

PUBLIC = [source for source in SOURCES if source not in HISTORY_SOURCES]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return a_bundle(tmp_path_factory.mktemp("surfaces") / "b", mixed=True)


@pytest.fixture(scope="module")
def shop(bundle: Bundle) -> httpx.Client:
    return service(bundle)


@pytest.fixture
def device(tmp_path: Path, bundle: Bundle) -> Device:
    return Device.create(tmp_path / "d", consent="observe", key_store="file", bundle=bundle)


ITEM = st.integers(0, 47).map(lambda number: f"i{number:02d}")
FILTERS = st.sampled_from(
    [None, {"category": ["tea", "rugs"]}, {"price": {"max": 30}}, {"attributes.brand": "oak"},
     {"not": {"attributes.size": {"min": 39}}}, {"category": "nothing"}]
)  # fmt: skip
RULES = st.sampled_from(
    [None, {"pin": [{"item_id": "i30", "position": 2}]}, {"cap": [{"by": "category", "most": 1}]},
     {"boost": [{"filter": {"category": "lamps"}, "by": 1.0}], "bury": [{"filter": {"price": {"max": 20}}, "by": 0.5}]}]
)  # fmt: skip


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    placement=st.sampled_from([*PUBLIC, "home", "page", "fresh"]),
    context=st.none() | ITEM,
    cart=st.lists(ITEM, max_size=3, unique=True),
    exclude=st.lists(ITEM, max_size=5, unique=True),
    condition=FILTERS,
    rules=RULES,
    diversity=st.sampled_from([None, 0.0, 0.5]),
    top_k=st.none() | st.integers(1, 60),
)
def test_without_a_history_device_and_service_list_the_same(
    device: Device, shop: httpx.Client, placement: str, context: str | None, cart: list[str], exclude: list[str],
    condition: dict[str, Any] | None, rules: dict[str, Any] | None, diversity: float | None, top_k: int | None,
) -> None:  # fmt: skip
    here = device.recommend(
        placement,
        context=context,
        cart=cart,
        exclude=exclude,
        filter=condition,
        rules=rules,
        diversity=diversity,
        top_k=top_k,
    )
    body = {
        "placement": placement,
        "context": context,
        "cart": cart,
        "exclude": exclude,
        "filter": condition,
        "rules": rules,
    }
    body |= {} if diversity is None else {"diversity": diversity}
    body |= {} if top_k is None else {"top_k": top_k}
    answer = shop.post("/v1/recommendations", json=body)
    assert answer.status_code == 200, answer.text
    there = answer.json()
    assert there["placement"] == placement
    assert here.source == there["source"]
    assert here.item_ids == [item["item_id"] for item in there["recommendations"]]
    assert [item.score for item in here.items] == [np.float32(item["score"]) for item in there["recommendations"]]
    assert [[row.category, *(item.item_id for item in row.items)] for row in here.rows] == [
        [row["category"], *(item["item_id"] for item in row["recommendations"])] for row in there.get("rows", [])
    ]


@pytest.mark.parametrize("source", sorted(HISTORY_SOURCES))
def test_what_needs_a_history_is_refused_by_the_service(shop: httpx.Client, source: str) -> None:
    answer = shop.post("/v1/recommendations", json={"placement": source})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "needs_device")
    unseen = shop.post("/v1/recommendations", json={"placement": "others"})  # its setting unseen needs one too
    assert (unseen.status_code, unseen.json()["error"]["code"]) == (422, "needs_device")


def test_a_device_sends_nothing_for_any_placement(device: Device, shop: httpx.Client) -> None:
    before = len(sent_by(shop))
    device.observe("i16", "view")
    for source in SOURCES:
        device.recommend(source, context="i20", cart=["i01"])
    assert len(sent_by(shop)) == before


def test_without_consent_no_placement_uses_the_history(tmp_path: Path, bundle: Bundle) -> None:
    device = Device.create(tmp_path / "d", consent="observe", key_store="file", bundle=bundle)
    new = {source: device.recommend(source, context="i20").item_ids for source in SOURCES}
    device.observe("i16", "purchase", NOW)
    device.observe("i12", "view", NOW)
    used = {source: device.recommend(source, context="i20").item_ids for source in SOURCES}
    assert all(new[source] != used[source] for source in ("for-you", "recently-viewed", "buy-again"))
    device.set_consent("nothing")
    assert {source: device.recommend(source, context="i20").item_ids for source in SOURCES} == new


def test_recently_viewed_is_the_last_look_first_without_what_was_bought_since(device: Device) -> None:
    for age, (item, kind) in enumerate(
        [("i01", "view"), ("i02", "view"), ("i01", "cart"), ("i04", "view"), ("i04", "purchase")]
    ):
        device.observe(item, kind, NOW - (9 - age) * DAY)
    assert device.recommend("recently-viewed", now=NOW).item_ids == ["i01", "i02"]


def test_because_you_viewed_names_the_item_and_leaves_it_out(device: Device) -> None:
    device.observe("i16", "view", NOW)
    listed = device.recommend("because-you-viewed", now=NOW)
    assert listed.about == "i16"
    assert "i16" not in listed.item_ids


def test_a_price_dropped_when_it_is_below_that_of_the_last_look(tmp_path: Path, bundle: Bundle) -> None:
    with service(bundle) as shop:
        device = Device.create(tmp_path / "d", consent="observe", key_store="file")
        device.refresh(shop)
        for item in ("i01", "i02", "i04"):
            device.observe(item, "view", NOW)
        assert device.recommend("price-dropped", now=NOW).source == "trending"
        shop.put("/v1/items", json={"items": [{"item_id": "i02", "price": 1.0}, {"item_id": "i04", "price": 99.0}]})
        device.refresh(shop)
        assert device.recommend("price-dropped", now=NOW).item_ids == ["i02"]
        device.observe("i02", "view", NOW + 1)  # seen at the new price
        assert device.recommend("price-dropped", now=NOW).source == "trending"


def test_back_in_stock_is_what_was_looked_at_while_it_was_out(tmp_path: Path, bundle: Bundle) -> None:
    with service(bundle) as shop:
        device = Device.create(tmp_path / "d", consent="observe", key_store="file")
        device.refresh(shop)
        for item in ("i03", "i04"):  # the bundle says that i03 is sold out
            device.observe(item, "view", NOW)
        assert device.recommend("back-in-stock", now=NOW).source == "trending"
        shop.put("/v1/items", json={"items": [{"item_id": "i03", "available": True}]})
        device.refresh(shop)
        assert device.recommend("back-in-stock", now=NOW).item_ids == ["i03"]


def test_placements_change_without_a_new_bundle(tmp_path: Path, bundle: Bundle) -> None:
    with service(bundle) as shop:
        device = Device.create(tmp_path / "d", consent="observe", key_store="file")
        device.refresh(shop)
        assert len(device.recommend("home").items) == 8
        wanted = {"placements": {"home": {"source": "trending", "top_k": 3}, "front": {"source": "on-sale"}}}
        told = shop.put("/v1/placements", json=wanted)
        assert told.status_code == 200, told.text
        device.refresh(shop)
        assert [device.recommend("home").source, len(device.recommend("home").items)] == ["trending", 3]
        assert device.recommend("front").source == "on-sale"
        again = Device.open(tmp_path / "d")
        assert len(again.recommend("home").items) == 3
        assert shop.get("/v1/placements").json() == told.json()
        shop.delete("/v1/placements")
        device.refresh(shop)
        assert len(device.recommend("home").items) == 8
        with pytest.raises(ModelError, match="no such name"):
            device.recommend("front")


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"placements": {"a": {"source": "shelf"}}}, "must be one of for-you"),
        ({"placements": {"a": {"source": "for-you", "filter": {"attributes.colour": "x"}}}}, "no such field"),
        ({"placements": {"a": {"source": "for-you"}}, "attributes": ["title"]}, "do not hold title"),
    ],
)
def test_placements_that_cannot_hold_are_refused(shop: httpx.Client, wanted: dict[str, Any], told: str) -> None:
    answer = shop.put("/v1/placements", json=wanted)
    assert answer.status_code == 422
    assert told in answer.text


def test_what_is_wrong_in_a_request_is_said(device: Device) -> None:
    with pytest.raises(ModelError, match="placement: no such name; must be one of fresh, home, others, page"):
        device.recommend("shelf")
    with pytest.raises(ModelError, match="rules: must be an object of pin"):
        device.recommend("for-you", rules={"pins": []})
    with pytest.raises(ServingError, match="cart: 101 items: must be at most 100"):
        device.recommend(cart=["i01"] * 101)
    with pytest.raises(ServingError, match="top_k=0"):
        device.recommend("for-you", top_k=0)


def test_buy_again_is_of_own_purchases_only(device: Device) -> None:
    for item_id, kind, time, _, _ in histories()["long"]:
        device.observe(item_id, kind, time)
    bought = {item_id for item_id, kind, *_ in histories()["long"] if kind == "purchase"}
    listed = device.recommend("buy-again", top_k=50, now=NOW)
    assert set(listed.item_ids) == bought
    assert listed.source == "buy-again"
