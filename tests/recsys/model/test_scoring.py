from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.errors import ModelError
from recsys.model.items import ItemTable
from recsys.model.scoring import keys, queries, score, top_k
from recsys.search.ranking import rank

TIED = st.sampled_from([-2.5, -1.0, -0.0, 0.0, 1e-30, 1.0, 3.5])


def random_table(seed: int, n_items: int = 50, dim: int = 7) -> ItemTable:
    rng = np.random.default_rng(seed)
    V = rng.normal(0, 0.5, (n_items, dim)).astype(np.float32)
    return ItemTable(V, rng.random(n_items).astype(np.float32), np.zeros(dim, np.float32))


def test_score_by_hand():
    table = ItemTable(
        np.array([[1, 2], [0, -1]], np.float32), np.array([0.5, 1.0], np.float32), np.zeros(2, np.float32)
    )
    # (3,4)·(1,2) + 2·0.5 = 12; (3,4)·(0,−1) + 2·1 = −2; the zero profile scores the trend alone
    assert score(table, np.array([[3, 4], [0, 0]], np.float32), 2.0).tolist() == [[12.0, -2.0], [1.0, 2.0]]


@given(st.integers(0, 1_000), st.floats(0, 10, width=32))
@settings(max_examples=50, deadline=None)
def test_score_is_one_inner_product_of_keys_and_queries(seed, trend_weight):
    table = random_table(seed)
    profiles = np.random.default_rng(seed + 1).normal(size=(3, table.dim)).astype(np.float32)
    np.testing.assert_allclose(
        queries(profiles, trend_weight) @ keys(table).T, score(table, profiles, trend_weight), atol=2e-5
    )


def test_all_results_are_float32_and_nothing_is_written_to():
    table = random_table(0)
    profiles = np.ones((2, table.dim), dtype=np.float32)
    profiles.flags.writeable = False
    found = score(table, profiles, 0.3)
    assert (found.dtype, keys(table).dtype, queries(profiles, 0.3).dtype) == (np.float32,) * 3
    found.flags.writeable = False
    items, best = top_k(found[0], 5, exclude=np.array([1], np.int32))
    assert (items.dtype, best.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("shape", [(7,), (2, 6), (1, 2, 7)])
def test_profiles_of_another_shape_are_refused(shape):
    with pytest.raises(ModelError, match=r"profiles: shape .* must be \(batch, 7\)"):
        score(random_table(0), np.zeros(shape, np.float32), 0.0)


@settings(max_examples=200, deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 12), elements=TIED),
    st.integers(1, 14),
    st.lists(st.integers(0, 11), max_size=14),
)
def test_top_k_is_the_ranking_without_the_excluded_items(scores, k, excluded):
    exclude = np.array([item for item in excluded if item < len(scores)], dtype=np.int32)
    items, best = top_k(scores, k, exclude)
    allowed = scores.copy()
    allowed[exclude] = -np.inf
    listed = rank(allowed[None], k)[0]
    assert items.tolist() == listed[listed >= 0].tolist()
    assert len(items) == min(k, len(set(range(len(scores))) - set(exclude.tolist())))
    np.testing.assert_array_equal(best, scores[items])


def test_equal_scores_stand_in_order_of_item_idx():
    assert top_k(np.array([1, 2, 1, 2, 1], np.float32), 4)[0].tolist() == [1, 3, 0, 2]


def test_everything_excluded_leaves_an_empty_list():
    items, best = top_k(np.zeros(3, np.float32), 2, np.array([0, 1, 2, 2], np.int32))
    assert (items.tolist(), best.tolist()) == ([], [])


def test_k_below_one_is_an_error():
    with pytest.raises(ModelError, match="top_k=0: must be 1 or more"):
        top_k(np.zeros(3, np.float32), 0)


@pytest.mark.parametrize("outside", [-1, 3])  # −1 is what a vocabulary says of an unknown id, not the last item
def test_an_excluded_item_that_does_not_exist_is_an_error(outside):
    with pytest.raises(ModelError, match=f"exclude={outside}: must be in 0..2"):
        top_k(np.zeros(3, np.float32), 1, np.array([0, outside], np.int32))


def test_nan_scores_are_an_error_and_not_a_short_list():
    with pytest.raises(ModelError, match="scores: has NaN"):
        top_k(np.array([0, np.nan, 1], np.float32), 2)
