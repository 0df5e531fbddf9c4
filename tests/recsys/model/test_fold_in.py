"""Fold-in by hand and by calculus; what a cart and a product page ask for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ModelError
from data.interactions import EventKind
from recsys.model.fold_in import CART_WEIGHT, CONTEXT_WEIGHT, blend, cart_query, context_query, fold_in
from recsys.model.items import ItemTable
from recsys.model.profile import ProfileConfig, event_targets

CONFIG = ProfileConfig(alpha=0.2, reg=0.1)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def indices(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


def random_table(seed: int, n_items: int = 30, dim: int = 6, parts: tuple[tuple[str, int], ...] = ()) -> ItemTable:
    rng = np.random.default_rng(seed)
    V = rng.normal(0, 0.5, (n_items, dim)).astype(np.float32)
    return ItemTable(V, np.zeros(n_items, np.float32), np.zeros(dim, np.float32), parts)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_fold_in_of_one_event_in_one_dimension():
    # V = [2, 1], G = 5; α·G = 0.5; one event on item 0: w·v² = 4; λ(Σw + α·n) = 0.5·(1 + 0.2) = 0.6
    # u = 2 / (0.5 + 4 + 0.6)
    u = fold_in(floats(2)[:, None], floats(5)[:, None], floats(1), floats(1), n_items=2, alpha=0.1, reg=0.5)
    assert u.tolist() == pytest.approx([2 / 5.1], rel=1e-6)


def test_fold_in_of_a_purchase_and_a_dislike_in_one_dimension():
    # beside it a dislike of item 1 at weight ½: A = 0.5 + 4 + ½ + 0.5·(1.5 + 0.2) = 5.85, b = 2 − ½
    u = fold_in(floats(2, 1)[:, None], floats(5)[:, None], floats(1, 0.5), floats(1, -1), n_items=2, alpha=0.1, reg=0.5)
    assert u.tolist() == pytest.approx([1.5 / 5.85], rel=1e-6)


def test_fold_in_in_two_dimensions():
    # V = (1,0), (0,1), (1,1); G = [[2,1],[1,2]]; events: item 0 with w = 1, item 2 with w = 2; α = 1, λ = ½
    # A = G + [[1,0],[0,0]] + 2·[[1,1],[1,1]] + ½·(3 + 3)·I = [[8,3],[3,7]], b = (1,0) + 2·(1,1) = (3,2)
    # A⁻¹ = [[7,−3],[−3,8]] / 47, so u = (21 − 6, −9 + 16) / 47
    V = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    u = fold_in(V[[0, 2]], V.T @ V, floats(1, 2), floats(1, 1), n_items=3, alpha=1.0, reg=0.5)
    assert u.tolist() == pytest.approx([15 / 47, 7 / 47], rel=1e-6)


def test_an_item_twice_is_the_item_once_at_twice_the_weight():
    table = random_table(1)
    twice = fold_in(
        table.item_embeddings[[3, 3]], table.gram, floats(0.5, 0.5), floats(1, 1), n_items=30, alpha=0.2, reg=0.1
    )
    once = fold_in(table.item_embeddings[[3]], table.gram, floats(1), floats(1), n_items=30, alpha=0.2, reg=0.1)
    np.testing.assert_allclose(twice, once, rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_fold_in_is_where_the_loss_is_flat(seed, n_events, alpha, reg):
    """L(u) = ½[Σ_j w_j (u·v_j − p_j)² + α Σ_i (u·v_i)² + λ(Σ_j |w_j| + α·n)|u|²], by central differences."""
    rng = np.random.default_rng(seed)
    table = random_table(seed)
    V = table.item_embeddings.astype(np.float64)
    items = rng.integers(0, table.n_items, n_events)
    weights = rng.uniform(0.05, 2.0, n_events).astype(np.float32)
    targets = event_targets(rng.integers(0, len(EventKind), n_events).astype(np.uint8))
    u = fold_in(table.item_embeddings[items], table.gram, weights, targets, n_items=30, alpha=alpha, reg=reg)

    def loss(x: np.ndarray) -> float:
        error = (weights * (V[items] @ x - targets) ** 2).sum()
        ridge = reg * (np.abs(weights).sum() + alpha * table.n_items) * (x @ x)
        return 0.5 * float(error + alpha * ((V @ x) ** 2).sum() + ridge)

    step = 1e-4 * np.eye(table.dim)
    slope = [(loss(u + h) - loss(u - h)) / 2e-4 for h in step]
    curved = [loss(u + 1e3 * h) > loss(u) < loss(u - 1e3 * h) for h in step]
    assert np.abs(slope).max() < 1e-5 * (1 + weights.sum())  # u is rounded to float32
    assert all(curved)


def test_a_gram_that_cannot_be_is_refused():
    rows, gram = floats(1)[:, None], floats(-100)[:, None]
    with pytest.raises(ModelError, match="not positive definite"):
        fold_in(rows, gram, floats(1), floats(1), n_items=1, alpha=1.0, reg=0.01)


def test_folding_writes_into_no_argument():
    table = random_table(4)
    rows, weights, targets = table.item_embeddings[[1, 2, 2]], floats(1, 1, 1), floats(1, -1, 1)
    for array in (rows, weights, targets):
        array.flags.writeable = False
    assert np.isfinite(fold_in(rows, table.gram, weights, targets, n_items=30, alpha=0.1, reg=0.1)).all()
    vector, items = floats(*range(6)), indices(1, 2)
    vector.flags.writeable = items.flags.writeable = False
    assert np.isfinite(cart_query(table, items, CONFIG, vector)).all()
    assert np.isfinite(context_query(table, table.item_embeddings[3], vector)).all()


# a cart


def test_a_cart_is_its_distinct_items_bought_just_now():
    table = random_table(1)
    ones = floats(1, 1, 1)
    rows = table.item_embeddings[[2, 5, 7]]
    folded = fold_in(rows, table.gram, ones, ones, n_items=30, alpha=0.2, reg=0.1)
    found = cart_query(table, indices(7, 2, 7, 5), CONFIG)
    np.testing.assert_allclose(found, unit(folded), rtol=1e-5)
    assert found.dtype == np.float32


def test_a_cart_beside_a_profile_is_four_fifths_of_what_counts():
    table, vector = random_table(2), floats(0, 0, 3, 0, 0, 0)
    alone = cart_query(table, indices(4), CONFIG)
    expected = CART_WEIGHT * alone + (1 - CART_WEIGHT) * floats(0, 0, 1, 0, 0, 0)
    np.testing.assert_allclose(cart_query(table, indices(4), CONFIG, vector), expected, rtol=1e-5, atol=1e-7)


def test_an_empty_cart_says_nothing():
    table = random_table(2)
    assert cart_query(table, indices(), CONFIG).tolist() == [0.0] * 6
    assert cart_query(table, indices(), CONFIG, floats(0, 2, 0, 0, 0, 0)).tolist() == [0, 1, 0, 0, 0, 0]


def test_a_cart_and_a_context_speak_in_the_taste_part_alone():
    table = random_table(3, dim=6, parts=(("intent", 2), ("taste", 4)))
    for found in (cart_query(table, indices(1, 2), CONFIG), context_query(table, table.item_embeddings[1], None)):
        assert found[:2].tolist() == [0.0, 0.0]
        assert np.linalg.norm(found) == pytest.approx(1)


# a product page


def test_a_context_without_a_profile_is_the_items_direction():
    table = random_table(4)
    for nobody in (None, np.zeros(6, np.float32)):
        np.testing.assert_allclose(
            context_query(table, table.item_embeddings[3], nobody), unit(table.item_embeddings[3]), rtol=1e-6
        )


@pytest.mark.parametrize("weight", [0.0, CONTEXT_WEIGHT, 1.0])
def test_a_context_and_a_profile_are_blended_by_direction_not_by_length(weight: float):
    table, vector = random_table(5), floats(5, -1, 0, 2, 0, 1)
    found = context_query(table, table.item_embeddings[3], vector, weight)
    expected = weight * unit(table.item_embeddings[3]) + (1 - weight) * unit(vector)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        context_query(table, table.item_embeddings[3], 1000 * vector, weight), found, rtol=1e-5, atol=1e-7
    )
    assert np.linalg.norm(found) <= 1 + 1e-6


def test_an_item_without_an_embedding_leaves_the_profile_alone():
    rows = random_table(6).item_embeddings.copy()
    rows[3] = 0
    table = ItemTable(rows, np.zeros(30, np.float32), np.zeros(6, np.float32))
    assert context_query(table, table.item_embeddings[3], floats(0, 0, 0, 4, 0, 0)).tolist() == [0, 0, 0, 1, 0, 0]


def test_what_the_table_does_not_have_is_refused():
    table = random_table(7)
    with pytest.raises(ModelError, match=r"cart=-1: must be in 0\.\.29"):
        cart_query(table, indices(3, -1), CONFIG)
    with pytest.raises(ModelError, match=r"weight=1\.5: must be 0\.\.1"):
        blend(floats(1), floats(1), 1.5)
