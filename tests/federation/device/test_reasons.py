"""The reason of a listed item is the largest part of its score, whichever that is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.interactions import MICROS_PER_DAY, EventKind
from federation.device.device import Device
from federation.device.reasons import Reason, reasons_for
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import Catalogue, catalogue_of
from recsys.lists.reasons import because
from recsys.model.profile import ProfileConfig, make_profile
from tests.shop import make_bundle, sent_by, service

NOW = 1_700_000_000_000_000
NOTHING, NO_BONUS = np.empty(0, np.int32), np.empty(0, np.float32)
VECTORS = np.array([[1, 0], [0, 1], [1, 0.1], [-1, 0]], dtype=np.float32)
"""sku-2 is close to sku-0 and a little to sku-1; sku-3 is their opposite."""


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    config = ProfileConfig(trend_weight=0.1)
    trend = np.array([0, 0, 1, 0], np.float32)
    folder = tmp_path_factory.mktemp("bundle") / "b"
    return catalogue_of(make_bundle(folder, n_items=4, dim=2, embeddings=VECTORS, trend=trend, config=config))


def why(catalogue: Catalogue, listed: int, *events: tuple[int, EventKind], bonus: float = 0.0) -> Reason | None:
    items = np.array([item for item, _ in events], np.int32)
    kinds = np.array([kind for _, kind in events], np.uint8)
    own = np.array([listed], np.int32) if bonus else NOTHING
    extra = np.array([bonus], np.float32) if bonus else NO_BONUS
    history = items, kinds, np.full(len(events), NOW)
    (reason,) = reasons_for(catalogue, history, NOW, np.array([listed], np.int32), own, extra)
    return reason


def test_the_strongest_event_is_the_reason_with_its_share_of_all_that_speaks_for_the_item(catalogue: Catalogue) -> None:
    bought = [(0, EventKind.PURCHASE), (1, EventKind.VIEW)]
    found = why(catalogue, 2, *bought)
    assert found is not None
    assert (found.kind, found.item_id, found.text) == ("purchase", "sku-0", "because you bought Thing “0”")
    items, kinds = np.array([0, 1], np.int32), np.array([2, 0], np.uint8)
    listed = np.array([2], np.int32)
    parts = because(catalogue.table, items, kinds, np.array([NOW] * 2), NOW, catalogue.config, listed).parts[0]
    assert found.share == pytest.approx(parts[0] / (parts[parts > 0].sum() + 0.1 * 1), rel=1e-6)
    assert 0 < found.share < 1


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (EventKind.VIEW, "because you viewed Thing “0”"),
        (EventKind.CART, "because you put Thing “0” in your cart"),
        (EventKind.PURCHASE, "because you bought Thing “0”"),
        (EventKind.LIKE, "because you liked Thing “0”"),
    ],
)
def test_it_says_what_was_done(catalogue: Catalogue, kind: EventKind, words: str) -> None:
    assert getattr(why(catalogue, 2, (0, kind)), "text", None) == words


def test_a_dislike_of_the_opposite_is_a_reason_too(catalogue: Catalogue) -> None:
    found = why(catalogue, 2, (3, EventKind.DISLIKE))
    assert found is not None
    assert (found.kind, found.item_id, found.text) == ("dislike", "sku-3", "because you disliked Thing “3”")


def test_the_trend_is_the_reason_where_it_is_the_largest_part(catalogue: Catalogue) -> None:
    # the item is across from what was viewed; only the trend, .1, speaks for it
    found = why(catalogue, 2, (1, EventKind.DISLIKE))
    assert found == Reason("trend", None, 1.0, "popular now")


def test_the_repeat_counter_is_the_reason_where_it_is_the_largest_part(catalogue: Catalogue) -> None:
    found = why(catalogue, 2, (2, EventKind.PURCHASE), bonus=5.0)
    assert found is not None
    assert (found.kind, found.item_id, found.text) == ("repeat", "sku-2", "because you have bought it before")
    itself = why(catalogue, 2, (2, EventKind.PURCHASE))
    assert itself is not None
    assert (itself.kind, itself.item_id, itself.text) == ("purchase", "sku-2", "because you bought it before")


def test_nothing_speaks_for_an_item_that_is_only_the_least_unlikely(catalogue: Catalogue) -> None:
    assert why(catalogue, 3, (0, EventKind.PURCHASE)) is None


def test_an_item_without_a_title_is_called_by_its_id(catalogue: Catalogue) -> None:
    untitled = replace(catalogue, shown=catalogue.shown.with_columns(title=None))
    assert getattr(why(untitled, 2, (0, EventKind.VIEW)), "text", None) == "because you viewed sku-0"


def test_a_reason_prints_nothing_of_the_history(catalogue: Catalogue) -> None:
    found = why(catalogue, 2, (0, EventKind.VIEW))
    assert "sku" not in repr(found)
    assert "Thing" not in repr(found)


def shopped(tmp_path: Path, bundle: Bundle) -> Device:
    device = Device.create(tmp_path / "home", consent="observe", key_store="file", bundle=bundle)
    for day, (item, kind) in enumerate([("sku-1", "view"), ("sku-2", "purchase"), ("sku-2", "purchase")]):
        device.observe(item, kind, NOW - (10 - day) * MICROS_PER_DAY)
    return device


def test_a_devices_list_has_reasons_when_asked_and_is_the_same_list(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    device = shopped(tmp_path, bundle)
    plain, told = device.recommend(20, now=NOW), device.recommend(20, now=NOW, reasons=True)
    assert {item.reason for item in plain.items} == {None}
    assert [replace(item, reason=None) for item in told.items] == list(plain.items)
    reasons = {item.item_id: item.reason for item in told.items}
    assert reasons["sku-2"] is not None
    assert reasons["sku-2"].kind in ("purchase", "repeat")
    causes = {reason.item_id for reason in reasons.values() if reason and reason.kind != "trend"}
    assert causes <= {"sku-1", "sku-2"}
    # repeat=False leaves the counter out of the reasons as it does of the scores
    without = device.recommend(20, now=NOW, reasons=True, repeat=False)
    assert "repeat" not in {item.reason.kind for item in without.items if item.reason}


def test_the_parts_of_a_devices_scores_add_up(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", config=ProfileConfig(trend_weight=0.0))
    device = shopped(tmp_path, bundle)
    listed = device.recommend(40, now=NOW, repeat=False)
    items = np.array([1, 2, 2], np.int32), np.array([0, 2, 2], np.uint8)
    time = np.array([NOW - (10 - day) * MICROS_PER_DAY for day in range(3)])
    order = bundle.items.index_of(list(listed.item_ids))
    parts = because(bundle.table, *items, time, NOW, bundle.config, order).parts
    np.testing.assert_allclose(parts.sum(axis=1), [item.score for item in listed.items], atol=1e-5)
    u = make_profile(bundle.table, *items, time, NOW, bundle.config, "v").vector
    np.testing.assert_allclose(parts.sum(axis=1), bundle.table.item_embeddings[order] @ u, atol=1e-5)


def test_the_trend_is_the_reason_of_every_item_for_a_new_shopper(tmp_path: Path) -> None:
    device = Device.create(tmp_path / "home", key_store="file", bundle=make_bundle(tmp_path / "b"))
    listed = device.recommend(5, now=NOW, reasons=True)
    assert listed.fallback == "trend"
    assert [item.reason for item in listed.items] == [Reason("trend", None, 1.0, "popular now")] * 5


def test_reasons_never_leave_the_device(tmp_path: Path) -> None:
    """Whatever a device says to a service after it has made reasons has no word of them and none of the history."""
    bundle = make_bundle(tmp_path / "b")
    device = shopped(tmp_path, bundle)
    told = device.recommend(10, now=NOW, reasons=True, filter={"category": ["shelf 1", "shelf 2"]}, diversity=0.5)
    client = service(bundle)
    device.refresh(client)
    answered = device.recommend_from(client, 10, now=NOW, mode="profile")
    assert {item.reason for item in answered.items} == {None}
    words = {word for item in told.items if item.reason for word in (item.reason.text, item.reason.item_id or "trend")}
    assert any(word.startswith("because") for word in words)
    for request, body in sent_by(client):
        said = str(request.url) + str(dict(request.headers)) + body.decode()
        for word in (*words, "reason", "because", "filter", "diversity", "sku-", "shelf", "exclude"):
            assert word not in said
