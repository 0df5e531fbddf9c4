"""Every score is the sum of what the shopper did: by hand, by property, and by leaving an event's target out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.interactions import MICROS_PER_DAY, EventKind
from recsys.lists.reasons import because
from recsys.model.items import ItemTable
from recsys.model.profile import ProfileConfig, make_profile

VIEW, CART, PURCHASE, LIKE, DISLIKE = (int(kind) for kind in EventKind)
NOW = 100 * MICROS_PER_DAY
ALIKE = (1.0, 1.0, 1.0, 1.0, 1.0)


def table_of(rows: np.ndarray, parts: tuple[tuple[str, int], ...] = ()) -> ItemTable:
    return ItemTable(
        rows.astype(np.float32), np.zeros(len(rows), np.float32), np.zeros(rows.shape[1], np.float32), parts
    )


def history(seed: int, n: int, n_items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, len(EventKind), n).astype(np.uint8)
    return rng.integers(0, n_items, n).astype(np.int32), kind, np.sort(rng.integers(0, NOW, n))


def test_by_hand_in_one_dimension() -> None:
    # V = (2, 1, 3), G = 14, α = .1, λ = .5; item 0 bought (w = 1), item 1 disliked (w = 1), both just now:
    # A = 1.4 + 4 + 1 + .5·(2 + .3) = 7.55; to item 2 the purchase adds 3·2/7.55, the dislike −3·1/7.55
    config = ProfileConfig(alpha=0.1, reg=0.5, kind_weights=ALIKE)
    events = np.array([0, 1], np.int32), np.array([PURCHASE, DISLIKE], np.uint8), np.array([NOW, NOW])
    found = because(table_of(np.array([[2.0], [1.0], [3.0]])), *events, NOW, config, np.array([2, 0], np.int32))
    np.testing.assert_allclose(found.parts, [[6 / 7.55, -3 / 7.55], [4 / 7.55, -2 / 7.55]], rtol=1e-6)
    assert (found.item_idx.tolist(), found.kind.tolist()) == ([0, 1], [PURCHASE, DISLIKE])


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 60),
    st.sampled_from(["days", "events"]),
    st.sampled_from([(), (("intent", 3), ("taste", 5)), (("taste", 5), ("intent", 3))]),
)
def test_the_parts_add_up_to_the_score(seed, n_events, unit, parts):
    rng = np.random.default_rng(seed)
    table = table_of(rng.normal(0, 0.5, (20, 8)), parts)
    events = history(seed, n_events, 20)
    config = ProfileConfig(alpha=0.1, reg=0.05, half_life=15.0, half_life_unit=unit)
    listed = rng.permutation(20)[:7].astype(np.int32)
    u = make_profile(table, *events, NOW, config, "v").vector
    found = because(table, *events, NOW, config, listed)
    assert found.parts.shape == (7, len(set(events[0].tolist())))
    np.testing.assert_allclose(found.parts.sum(axis=1), table.item_embeddings[listed] @ u, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_part_is_what_the_score_loses_without_the_items_say(seed):
    """The item's events stay in the system and only their targets become 0: u is linear in the targets."""
    rng = np.random.default_rng(seed)
    table, (items, kind, time) = table_of(rng.normal(0, 0.5, (20, 6))), history(seed, 15, 20)
    kind = np.where(kind == DISLIKE, LIKE, kind).astype(np.uint8)
    config = ProfileConfig(alpha=0.1, reg=0.05, half_life=np.inf, kind_weights=ALIKE)
    listed = np.arange(20, dtype=np.int32)
    found = because(table, items, kind, time, NOW, config, listed)
    V = table.item_embeddings.astype(np.float64)
    A = 0.1 * V.T @ V + V[items].T @ V[items] + 0.05 * (15 + 0.1 * 20) * np.eye(6)
    for place, item in enumerate(found.item_idx):
        without = V @ np.linalg.solve(A, V[items[items != item]].sum(axis=0))
        full = V @ np.linalg.solve(A, V[items].sum(axis=0))
        np.testing.assert_allclose(found.parts[:, place], full - without, atol=1e-6)


def test_what_was_done_with_an_item_is_what_weighs_most() -> None:
    table = table_of(np.eye(3))
    items = np.array([0, 0, 0, 1, 1, 2, 2], np.int32)
    kind = np.array([VIEW, VIEW, PURCHASE, VIEW, CART, LIKE, DISLIKE], np.uint8)
    config = ProfileConfig(kind_weights=(0.25, 0.5, 1.0, 1.0, 1.0))
    found = because(table, items, kind, np.full(7, NOW), NOW, config, np.array([0], np.int32))
    assert found.kind.tolist() == [PURCHASE, CART, DISLIKE]
    looked = because(table, items, kind, np.full(7, NOW), NOW, ProfileConfig(), np.array([0], np.int32))
    assert looked.kind.tolist() == [PURCHASE, CART, DISLIKE]
    many = np.array([VIEW] * 5 + [PURCHASE], np.uint8)
    often = because(table, np.zeros(6, np.int32), many, np.full(6, NOW), NOW, config, np.array([0], np.int32))
    assert often.kind.tolist() == [VIEW]  # 5 · .25 > 1


def test_no_history_no_reasons() -> None:
    table = table_of(np.eye(3))
    none = np.empty(0, np.int32), np.empty(0, np.uint8), np.empty(0, np.int64)
    found = because(table, *none, NOW, ProfileConfig(), np.array([0, 1], np.int32))
    assert found.parts.shape == (2, 0)


def test_it_prints_no_history_and_writes_into_no_argument() -> None:
    table, events = table_of(np.eye(20)), history(3, 9, 20)
    for array in events:
        array.flags.writeable = False
    found = because(table, *events, NOW, ProfileConfig(), np.array([0, 1], np.int32))
    assert "[" not in repr(found)
    assert "array" not in repr(found)


@pytest.mark.parametrize("kind", [VIEW, CART, PURCHASE, LIKE])
def test_more_of_the_same_speaks_for_itself(kind: int) -> None:
    rng = np.random.default_rng(kind)
    table = table_of(rng.normal(0, 0.5, (10, 4)))
    one = np.array([3], np.int32), np.array([kind], np.uint8), np.array([NOW])
    found = because(table, *one, NOW, ProfileConfig(), np.array([3], np.int32))
    assert found.parts[0, 0] > 0
