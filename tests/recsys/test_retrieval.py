from __future__ import annotations

import threading

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ModelError
from recsys.items import ItemTable
from recsys.retrieval import ItemIndex
from recsys.scoring import score, top_k

NONE = np.empty(0, dtype=np.int32)


def whole_numbers(seed: int, n_items: int, dim: int = 3) -> ItemTable:
    """Small integers: inner products are exact in any order of summing, and many of them tie."""
    rng = np.random.default_rng(seed)
    V = rng.integers(-1, 2, (n_items, dim)).astype(np.float32)
    return ItemTable(V, rng.integers(0, 2, n_items).astype(np.float32), np.zeros(dim, np.float32))


def real_numbers(seed: int, n_items: int = 2_000, dim: int = 16) -> ItemTable:
    rng = np.random.default_rng(seed)
    V = rng.normal(size=(n_items, dim)).astype(np.float32)
    return ItemTable(V, rng.random(n_items).astype(np.float32), np.zeros(dim, np.float32))


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    n_items=st.integers(1, 60),
    batch=st.sampled_from([1, 2, 25]),  # FAISS has another kernel from 20 queries on
    k=st.integers(1, 70),
    trend_weight=st.sampled_from([0.0, 1.0, 2.0]),
    excluded=st.lists(st.integers(0, 59), max_size=70),
)
def test_search_is_the_top_k_of_the_score_ties_and_all(seed, n_items, batch, k, trend_weight, excluded):
    table = whole_numbers(seed, n_items)
    profiles = np.random.default_rng(seed).integers(-1, 2, (batch, table.dim)).astype(np.float32)
    exclude = np.array([item for item in excluded if item < n_items], dtype=np.int32)
    items, scores = ItemIndex(table).search(profiles, k, trend_weight=trend_weight, exclude=exclude)
    expected = [top_k(row, k, exclude) for row in score(table, profiles, trend_weight)]
    assert items.tolist() == [listed.tolist() for listed, _ in expected]
    assert scores.tolist() == [best.tolist() for _, best in expected]


@pytest.mark.parametrize("k", [1, 20, 150])  # FAISS keeps a heap below 100 and a reservoir from there on
def test_where_everything_ties_the_lowest_item_idx_are_listed(k):
    table = ItemTable(np.ones((500, 4), np.float32), np.zeros(500, np.float32), np.zeros(4, np.float32))
    items, _ = ItemIndex(table).search(np.zeros((2, 4), np.float32), k, trend_weight=1.0)
    assert items.tolist() == [list(range(k))] * 2


@pytest.mark.parametrize("batch", [1, 32])
def test_on_real_numbers_search_agrees_with_the_score_to_rounding(batch):
    table = real_numbers(0)
    profiles = np.random.default_rng(1).normal(size=(batch, table.dim)).astype(np.float32)
    items, scores = ItemIndex(table).search(profiles, 20, trend_weight=0.5)
    every = score(table, profiles, 0.5)
    assert items.tolist() == [top_k(row, 20)[0].tolist() for row in every]
    np.testing.assert_allclose(scores, np.take_along_axis(every, items, axis=1), atol=2e-5)
    assert (items.dtype, scores.dtype) == (np.int32, np.float32)


def test_an_excluded_item_never_appears_and_the_list_stays_full():
    table = real_numbers(2)
    profile = np.ones((1, table.dim), np.float32)
    index = ItemIndex(table)
    first, _ = index.search(profile, 20, trend_weight=0.5)
    exclude = np.concatenate([first[0], first[0][::-1]])  # each twice
    second, _ = index.search(profile, 20, trend_weight=0.5, exclude=exclude)
    both, _ = index.search(profile, 40, trend_weight=0.5)
    assert np.concatenate([first[0], second[0]]).tolist() == both[0].tolist()


def test_everything_excluded_leaves_empty_lists():
    items, scores = ItemIndex(whole_numbers(0, 5)).search(
        np.zeros((3, 3), np.float32), 2, trend_weight=0.0, exclude=np.arange(5, dtype=np.int32)
    )
    assert (items.shape, scores.shape) == ((3, 0), (3, 0))


def test_k_beyond_the_catalogue_lists_it_all():
    items, _ = ItemIndex(whole_numbers(0, 5)).search(
        np.zeros((1, 3), np.float32), 99, trend_weight=0.0, exclude=np.array([2, 2], np.int32)
    )
    assert items.tolist() == [[0, 1, 3, 4]]


def test_an_empty_batch_has_no_lists():
    items, scores = ItemIndex(whole_numbers(0, 5)).search(np.zeros((0, 3), np.float32), 2, trend_weight=0.0)
    assert (items.shape, scores.shape) == ((0, 2), (0, 2))


def test_arguments_are_not_written_to():
    table, profiles, exclude = whole_numbers(0, 9), np.ones((2, 3), np.float32), np.array([4, 1], np.int32)
    profiles.flags.writeable = exclude.flags.writeable = False
    items, _ = ItemIndex(table).search(profiles, 3, trend_weight=1.0, exclude=exclude)
    assert not np.isin(items, exclude).any()


def test_threads_share_an_index():
    table = real_numbers(3)
    index, profiles = ItemIndex(table), np.random.default_rng(4).normal(size=(40, table.dim)).astype(np.float32)
    alone = [index.search(row[None], 10, trend_weight=0.1)[0].tolist() for row in profiles]
    found: dict[int, list[list[int]]] = {}

    def ask(start: int) -> None:
        faiss.omp_set_num_threads(1)  # per thread
        for row in range(start, len(profiles), 4):
            found[row] = index.search(profiles[row][None], 10, trend_weight=0.1)[0].tolist()

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[row] for row in range(len(profiles))] == alone


@pytest.mark.parametrize(
    ("profiles", "k", "exclude", "message"),
    [
        (np.zeros((1, 4), np.float32), 1, NONE, r"profiles: shape \(1, 4\), must be \(batch, 3\)"),
        (np.zeros(3, np.float32), 1, NONE, r"profiles: shape \(3,\)"),
        (np.full((1, 3), np.nan, np.float32), 1, NONE, "profiles: has values that are not finite"),
        (np.zeros((1, 3), np.float32), 0, NONE, "top_k=0: must be 1 or more"),
        (np.zeros((1, 3), np.float32), 1, np.array([-1], np.int32), "exclude=-1: must be in 0..4"),
        (np.zeros((1, 3), np.float32), 1, np.array([5], np.int32), "exclude=5: must be in 0..4"),
    ],
)
def test_a_search_that_cannot_be_is_refused(profiles, k, exclude, message):
    with pytest.raises(ModelError, match=message):
        ItemIndex(whole_numbers(0, 5)).search(profiles, k, trend_weight=0.0, exclude=exclude)
