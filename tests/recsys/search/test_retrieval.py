from __future__ import annotations

import dataclasses
import threading
import time
from functools import cache

import faiss
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ModelError
from recsys.model.items import ItemTable
from recsys.model.scoring import score, top_k
from recsys.search import index as index_build
from recsys.search import selection
from recsys.search.index import exact_lists, recalls, sample_queries
from recsys.search.retrieval import ItemIndex

NONE = np.empty(0, dtype=np.int32)


def whole_numbers(seed: int, n_items: int, dim: int = 3) -> ItemTable:
    """Small integers: inner products are exact in any order of summing, and many of them tie."""
    rng = np.random.default_rng(seed)
    V = rng.integers(-1, 2, (n_items, dim)).astype(np.float32)
    return ItemTable(V, rng.integers(0, 2, n_items).astype(np.float32), np.zeros(dim, np.float32))


def real_numbers(seed: int, n_items: int = 2_000, dim: int = 16, spread: float = 0.0) -> ItemTable:
    """Normal rows; spread: σ of the logarithm of their lengths."""
    rng = np.random.default_rng(seed)
    V = rng.normal(size=(n_items, dim)) * rng.lognormal(0, spread, (n_items, 1))
    return ItemTable(V.astype(np.float32), rng.random(n_items).astype(np.float32), np.zeros(dim, np.float32))


def lists_of(monkeypatch: pytest.MonkeyPatch, *, few: int = 0, smallest: int = 1, approximate: int = 10**9) -> None:
    """Bounds at which small tables take the ways of large ones."""
    monkeypatch.setattr(selection, "FEW", few)
    monkeypatch.setattr(selection, "FEW_SHARE", 0.0)
    monkeypatch.setattr(index_build, "MIN_LIST", smallest)
    monkeypatch.setattr("recsys.search.retrieval.APPROXIMATE_FROM", approximate)


@pytest.mark.parametrize("few", [0, 2_000])
@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    n_items=st.integers(1, 60),
    k=st.integers(1, 70),
    trend_weight=st.sampled_from([0.0, 1.0, 2.0]),
    share=st.sampled_from([None, 0.0, 0.1, 0.5, 0.95]),
    category=st.sampled_from([(), "a", "b", ("a", "c"), ("a", "nowhere")]),
    hidden=st.lists(st.integers(0, 59), max_size=70),
)
def test_search_is_the_top_k_of_the_score_ties_filters_and_all(
    few, seed, n_items, k, trend_weight, share, category, hidden
):
    rng = np.random.default_rng(seed)
    table = whole_numbers(seed, n_items)
    query = rng.integers(-1, 2, table.dim).astype(np.float32)
    names = [None if name == "d" else name for name in rng.choice(["a", "a", "b", "c", "d"], n_items).tolist()]
    allowed = None if share is None else rng.random(n_items) < share
    gone = np.array([item for item in hidden if item < n_items], dtype=np.int32)
    with pytest.MonkeyPatch.context() as patch:
        lists_of(patch, few=few, smallest=3)
        index = ItemIndex.build(table, pl.Series("category", names, dtype=pl.String))
        chosen = index.select(allowed, category)
        items, scores = index.search(query, k, trend_weight=trend_weight, selection=chosen, hidden=gone)
    wanted = (category,) if isinstance(category, str) else category
    out = np.array([bool(wanted) and name not in wanted for name in names])
    if allowed is not None:
        out |= ~allowed
    assert chosen.count == n_items - out.sum()
    every = score(table, query[None], trend_weight)[0]
    expected = top_k(every, k, np.concatenate([np.flatnonzero(out), gone]).astype(np.int32))
    assert items.tolist() == expected[0].tolist()
    assert scores.tolist() == expected[1].tolist()
    assert (items.dtype, scores.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("k", [1, 20, 150])  # FAISS keeps a heap below 100 and a reservoir from there on
def test_where_everything_ties_the_lowest_item_idx_are_listed(k):
    table = ItemTable(np.ones((5_000, 4), np.float32), np.zeros(5_000, np.float32), np.zeros(4, np.float32))
    items, _ = ItemIndex.build(table).search(np.zeros(4, np.float32), k, trend_weight=1.0)
    assert items.tolist() == list(range(k))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 900.0])
def test_on_real_numbers_half_precision_never_changes_a_list(scale):
    drawn = real_numbers(0, n_items=20_000)
    table = ItemTable(drawn.item_embeddings * np.float32(scale), drawn.trend, drawn.mean_profile)
    index = ItemIndex.build(table)
    for query in np.random.default_rng(1).normal(size=(20, table.dim)).astype(np.float32):
        for k in (1, 20, 300):
            items, scores = index.search(query, k, trend_weight=0.5)
            every = score(table, query[None], 0.5)[0]
            np.testing.assert_allclose(scores, every[items], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(scores, top_k(every, k)[1], rtol=1e-5, atol=1e-5)
            assert len(set(items.tolist())) == k


def test_a_list_that_long_rows_fill_is_not_looked_for_elsewhere_and_is_the_right_one():
    drawn = real_numbers(11, n_items=8_000, dim=8, spread=1.2)
    index = ItemIndex.build(drawn)
    assert index.limits[0] > 0
    long = [index.exact.invlists.list_size(place) for place in range(2)]
    assert 0 < long[0] < long[1]
    wanted = np.random.default_rng(12).normal(size=(50, 8)).astype(np.float32)
    # a shopper of short rows: the best of them score less than a long row could, so the rest must be looked at
    short = np.argsort(np.linalg.norm(drawn.item_embeddings, axis=1))[:4_000]
    allowed = np.zeros(8_000, dtype=np.bool_)
    allowed[short] = True
    chosen = index.select(allowed)
    assert chosen.members is None
    for query in wanted:
        every = score(drawn, query[None], 0.1)[0]
        for selected, out in ((None, NONE), (chosen, np.flatnonzero(~allowed).astype(np.int32))):
            items, _ = index.search(query, 20, trend_weight=0.1, selection=selected)
            assert items.tolist() == top_k(every, 20, out)[0].tolist()


def test_scores_that_half_precision_cannot_tell_apart_are_told_apart():
    # 1 + 2⁻¹² rounds to 1 in half precision; 60 such items beside 300 items of exactly 1
    rows = np.ones((360, 2), np.float32)
    rows[300:, 0] += np.float32(2.0**-12)
    table = ItemTable(rows, np.zeros(360, np.float32), np.zeros(2, np.float32))
    items, _ = ItemIndex.build(table).search(np.array([1, 0], np.float32), 5, trend_weight=0.0)
    assert items.tolist() == [300, 301, 302, 303, 304]


def test_three_matching_items_are_exactly_three_at_any_size(monkeypatch):
    table = real_numbers(2, n_items=6_000)
    lists_of(monkeypatch, few=2_000, smallest=1_000, approximate=5_000)
    index = ItemIndex.build(table, pl.Series(["a", "b", "c"] * 2_000), trend_weight=0.5)
    allowed = np.zeros(6_000, dtype=np.bool_)
    allowed[[0, 4_000, 5_997]] = True
    for chosen, members in ((index.select(allowed), [0, 4_000, 5_997]), (index.select(allowed, "a"), [0, 5_997])):
        items, _ = index.search(np.ones(table.dim, np.float32), 20, trend_weight=0.5, selection=chosen)
        assert sorted(items.tolist()) == members


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_the_approximate_index_finds_what_it_was_measured_to_find(monkeypatch, spread):
    lists_of(monkeypatch, approximate=10_000)
    table = real_numbers(3, n_items=20_000, dim=8, spread=spread)
    index = ItemIndex.build(table, trend_weight=0.2)
    assert index.approximate is not None
    assert index.probes[0][1] < index.approximate.nlist
    wanted = sample_queries(table, 100, 17)
    found = [index.search(row, 20, trend_weight=0.2)[0] for row in wanted]
    recall = recalls(exact_lists(table, wanted, 0.2, 20), np.array(found))
    assert recall.mean() > 0.98
    assert index.check_recall(trend_weight=0.2) > 0.98


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.89])
def test_a_filter_is_exact_where_the_unfiltered_search_is_not(monkeypatch, share):
    lists_of(monkeypatch, approximate=10_000)
    table = real_numbers(4, n_items=20_000, dim=8)
    index = ItemIndex.build(table)
    blind = dataclasses.replace(index, probes=((400, 1),))  # looks at one list: misses most
    allowed = np.random.default_rng(5).random(20_000) < share
    chosen = blind.select(allowed)
    wanted = sample_queries(table, 30, 6)
    truth = exact_lists(table, wanted, 0.0, 20)
    assert recalls(truth, np.array([blind.search(row, 20, trend_weight=0.0)[0] for row in wanted])).mean() < 0.9
    for row in wanted:
        items, _ = blind.search(row, 20, trend_weight=0.0, selection=chosen)
        every = score(table, row[None], 0.0)[0]
        assert items.tolist() == top_k(every, 20, np.flatnonzero(~allowed).astype(np.int32))[0].tolist()


def test_hiding_what_somebody_likes_best_does_not_cost_recall(monkeypatch):
    """A bitmap in the approximate search would: what ranks behind the hidden items lies in lists not looked at."""
    lists_of(monkeypatch, approximate=10_000)
    table = real_numbers(7, n_items=20_000, dim=8, spread=0.7)
    index = ItemIndex.build(table)
    wanted = sample_queries(table, 40, 8)
    truth = exact_lists(table, wanted, 0.0, 220)
    shares = []
    for row, known in zip(wanted, truth, strict=True):
        order = known[np.argsort(-score(table, row[None], 0.0)[0][known], kind="stable")]
        items, _ = index.search(row, 20, trend_weight=0.0, hidden=order[:200])
        assert len(items) == 20
        assert not np.isin(items, order[:200]).any()
        shares.append(np.isin(items, order[200:]).mean())
    assert np.mean(shares) > 0.97


@pytest.mark.parametrize("spread", [0.0, 0.6])
@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 20),
    k=st.sampled_from([1, 5, 20, 90, 500]),
    trend_weight=st.sampled_from([0.0, 1.5]),
    share=st.sampled_from([None, 0.5, 0.97]),
)
def test_a_question_gets_the_same_bits_whoever_else_asks(spread, n, k, trend_weight, share):
    index = _large(spread)
    rng = np.random.default_rng([n, k])
    queries = rng.normal(size=(n, 16)).astype(np.float32) * rng.choice([1e-3, 1.0, 1e4], (n, 1)).astype(np.float32)
    chosen = None if share is None else index.select(rng.random(index.n_items) < share)
    found = index.search_many(queries, k, trend_weight=trend_weight, selection=chosen)
    assert len(found) == n
    for query, (items, scores) in zip(queries, found, strict=True):
        alone = index.search(query, k, trend_weight=trend_weight, selection=chosen)
        assert (items.tobytes(), scores.tobytes()) == (alone[0].tobytes(), alone[1].tobytes())
        assert (items.dtype, scores.dtype) == (np.int32, np.float32)


@cache
def _large(spread: float) -> ItemIndex:
    """With an approximate index."""
    with pytest.MonkeyPatch.context() as patched:
        lists_of(patched, smallest=200, approximate=8_000)
        index = ItemIndex.build(real_numbers(5, 8_000, spread=spread), trend_weight=1.0)
    assert index.approximate is not None
    return index


def test_several_questions_are_refused_for_one_that_cannot_be():
    index = _large(0.0)
    bad = np.zeros((3, 16), dtype=np.float32)
    bad[1, 4] = np.nan
    with pytest.raises(ModelError, match="not finite"):
        index.search_many(bad, 5, trend_weight=1.0)
    with pytest.raises(ModelError, match=r"shape \(3, 4\), must be \(n, 16\)"):
        index.search_many(bad[:, :4], 5, trend_weight=1.0)


def test_an_index_below_the_floor_is_refused(monkeypatch):
    lists_of(monkeypatch, approximate=10_000)
    index = ItemIndex.build(real_numbers(9, n_items=20_000, dim=8))
    assert ItemIndex.build(real_numbers(9, n_items=500)).check_recall() == 1.0
    with pytest.raises(ModelError, match=r"recall@20=0\.\d+: must be 0.95 or more"):
        dataclasses.replace(index, probes=((400, 1),)).check_recall()


def test_a_value_beyond_half_precision_is_refused():
    table = ItemTable(np.full((3, 2), 1e5, np.float32), np.zeros(3, np.float32), np.zeros(2, np.float32))
    with pytest.raises(ModelError, match="is above 65504"):
        ItemIndex.build(table)


def test_arguments_are_not_written_to():
    table, query, hidden = whole_numbers(0, 9), np.ones(3, np.float32), np.array([4, 1], np.int32)
    allowed = np.ones(9, dtype=np.bool_)
    allowed[0] = False
    query.flags.writeable = hidden.flags.writeable = allowed.flags.writeable = False
    index = ItemIndex.build(table)
    items, _ = index.search(query, 3, trend_weight=1.0, selection=index.select(allowed), hidden=hidden)
    assert not np.isin(items, [0, 1, 4]).any()


def test_threads_share_an_index():
    table = real_numbers(3, n_items=5_000)
    index, wanted = ItemIndex.build(table), np.random.default_rng(4).normal(size=(40, table.dim)).astype(np.float32)
    alone = [index.search(row, 10, trend_weight=0.1)[0].tolist() for row in wanted]
    found: dict[int, list[int]] = {}

    def ask(start: int) -> None:
        faiss.omp_set_num_threads(1)  # per thread
        for row in range(start, len(wanted), 4):
            found[row] = index.search(wanted[row], 10, trend_weight=0.1)[0].tolist()

    threads = [threading.Thread(target=ask, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[row] for row in range(len(wanted))] == alone


def test_other_threads_run_while_an_index_is_built():
    table = real_numbers(10, n_items=60_000, dim=30)
    built: list[ItemIndex] = []
    builder = threading.Thread(target=lambda: built.append(ItemIndex.build(table)))
    turns, begun = 0, time.perf_counter()
    builder.start()
    while builder.is_alive():
        time.sleep(0.001)
        turns += 1
    seconds = time.perf_counter() - begun
    assert len(built) == 1
    assert turns > 20 * seconds  # a builder that kept the lock would let a handful through


@pytest.mark.parametrize(
    ("query", "k", "hidden", "message"),
    [
        (np.zeros(4, np.float32), 1, NONE, r"query: shape \(4,\), must be \(3,\)"),
        (np.zeros((1, 3), np.float32), 1, NONE, r"query: shape \(1, 3\)"),
        (np.full(3, np.nan, np.float32), 1, NONE, "query: has values that are not finite"),
        (np.full(3, np.inf, np.float32), 1, NONE, "query: has values that are not finite"),
        (np.zeros(3, np.float32), 0, NONE, "top_k=0: must be 1 or more"),
        (np.zeros(3, np.float32), 1, np.array([-1], np.int32), "hidden=-1: must be in 0..4"),
        (np.zeros(3, np.float32), 1, np.array([5], np.int32), "hidden=5: must be in 0..4"),
    ],
)
def test_a_search_that_cannot_be_is_refused(query, k, hidden, message):
    with pytest.raises(ModelError, match=message):
        ItemIndex.build(whole_numbers(0, 5)).search(query, k, trend_weight=0.0, hidden=hidden)


def test_a_selection_that_cannot_be_is_refused():
    index = ItemIndex.build(whole_numbers(0, 5))
    with pytest.raises(ModelError, match=r"allowed: bool\(4,\), must be bool \(5,\)"):
        index.select(np.ones(4, dtype=np.bool_))
    with pytest.raises(ModelError, match="category='a': this index knows no categories"):
        index.select(None, "a")
    with pytest.raises(ModelError, match="categories: 1, the item table has 5 items"):
        ItemIndex.build(whole_numbers(0, 5), pl.Series(["a"]))
    other = ItemIndex.build(whole_numbers(0, 6)).everything
    with pytest.raises(ModelError, match="selection: of 6 items, the index has 5"):
        index.search(np.zeros(3, np.float32), 1, trend_weight=0.0, selection=other)
