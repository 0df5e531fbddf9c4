"""A pool in plain loops is the pool of the batch; a batch is its devices one by one; nothing is barred by accident."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.interactions import MICROS_PER_DAY, EventKind, interactions
from recsys.mix import pools as fast
from recsys.mix.features import FEATURES, OWN_COLUMNS, POOL
from recsys.mix.plain_loops import pool_features
from recsys.mix.pools import all_pools, form_pools, halves, pool_of_history
from recsys.model.profile import make_profile
from tests.recsys.mix.worlds import CONFIG, NOW, shop_log, signals_of


def scores_of(signals, log, user):
    """Of one user's own profile, as a device computes it."""
    rows = log.of(user)
    history = (log.item_idx[rows], log.kind[rows], log.time[rows])
    vector = make_profile(signals.table, *history, NOW, halves(CONFIG), "v").vector
    parts = {name: signals.table.part(name) for name in ("taste", "intent")}
    return {name: vector[part] @ signals.table.item_embeddings[:, part].T for name, part in parts.items()}, vector


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_batch_agrees_with_plain_loops(seed):
    log = shop_log(seed)
    signals = signals_of(seed, log)
    pools = all_pools(signals, log, NOW)
    for user in range(log.n_users - 1):
        rows = log.of(user)
        history = [
            (int(item), EventKind(kind), int(time))
            for item, kind, time in zip(log.item_idx[rows], log.kind[rows], log.time[rows], strict=True)
        ]
        if not history:
            continue
        scores = scores_of(signals, log, user)[0]
        expected = pool_features(signals.tables, scores, history, NOW)
        inside = slice(pools.offsets[user], pools.offsets[user + 1])
        assert pools.item_idx[inside].tolist() == list(expected)
        wanted = np.array([[row[name] for name in FEATURES] for row in expected.values()])
        for name, signal in scores.items():
            check_ranks(name, signal, list(expected), {item for item, _, _ in history}, pools.features[inside])
        plain = [column for column, name in enumerate(FEATURES) if not name.endswith("_rank")]
        np.testing.assert_allclose(pools.features[inside][:, plain], wanted[:, plain], rtol=2e-3, atol=2e-3)


def check_ranks(name, signal, pool, own, features):
    """Two profiles of one history agree to rounding; so a rank lies between those of a score a little more and less."""
    others = np.array([item not in own for item in range(len(signal))])
    little = 1e-4 * max(float(signal.std()), 1e-12)
    if signal.std() == 0:
        return
    for row, item in enumerate(pool):
        n = len(signal)
        ranks = [int((signal[others] > signal[item] + side * little).sum()) for side in (-1, 1)]
        low, high = (4 * np.log((n + 1) / (rank + 1)) / np.log(n + 1) for rank in ranks)
        assert low - 2e-3 <= features[row, FEATURES.index(f"{name}_rank")] <= high + 2e-3


def test_a_batch_is_its_devices_one_by_one(monkeypatch):
    log = shop_log(3)
    signals = signals_of(3, log)
    together = all_pools(signals, log, NOW)
    monkeypatch.setattr(fast, "CELLS_AT_ONCE", log.n_items)
    assert [len(pools) for _, pools in form_pools(signals, log, NOW)] == [1] * log.n_users
    alone = all_pools(signals, log, NOW)
    np.testing.assert_array_equal(alone.item_idx, together.item_idx)
    np.testing.assert_allclose(alone.features, together.features, rtol=1e-4, atol=1e-4)


def test_a_device_with_its_own_profile_has_the_pool_of_the_batch():
    log = shop_log(5)
    signals = signals_of(5, log)
    together = all_pools(signals, log, NOW)
    for user in range(log.n_users - 1):
        one = pool_of_history(signals, log.users(np.array([user])), NOW, scores_of(signals, log, user)[1])
        inside = slice(together.offsets[user], together.offsets[user + 1])
        np.testing.assert_array_equal(one.item_idx, together.item_idx[inside])
        np.testing.assert_allclose(one.features, together.features[inside], rtol=1e-3, atol=1e-3)


def test_the_pool_has_all_own_items_and_no_item_that_is_not_allowed_or_was_disliked():
    log = shop_log(7)
    signals = signals_of(7, log)
    allowed = np.random.default_rng(0).random(log.n_items) < 0.5
    for rows, pools in form_pools(signals, log, NOW, allowed):
        assert allowed[pools.item_idx].all()
        for user in range(rows.start, rows.stop):
            own, kind = log.item_idx[log.of(user)], log.kind[log.of(user)]
            liked = set(own[kind != EventKind.DISLIKE].tolist())
            inside = slice(pools.offsets[user - rows.start], pools.offsets[user - rows.start + 1])
            pool = set(pools.item_idx[inside].tolist())
            assert {item for item in liked if allowed[item]} <= pool
            assert not pool & (set(own.tolist()) - liked)
            assert pools.own[inside].sum() == len({item for item in liked if allowed[item]})


def test_a_pool_is_bounded_by_the_signals_not_by_the_catalogue():
    log = shop_log(11, n_items=3_000, n_users=6, n_events=120)
    pools = all_pools(signals_of(11, log), log, NOW)
    signals = 2 + 2 + 5 + 1  # taste and intent, transitions at two half-lives, trends, category
    assert (np.diff(pools.offsets) <= signals * POOL + 2 * POOL + log.counts).all()  # level ones come in too


def test_by_hand():
    """One device: bought item 0 twice (10 days and 1 day ago) and item 1 once in between; 2 came after the first.

    own_2_events of item 0: log(1 + 2^(−2/2) + 2^0);
    bought_60d of item 0: log(1 + 2^(−10/60) + 2^(−1/60));
    bought_5_baskets of item 1: log(1 + 2^(−1/5)).
    """
    ago = [NOW - days * MICROS_PER_DAY for days in (10, 5, 1)]
    log = interactions([0, 0, 0], [0, 1, 0], ago, n_users=1, n_items=130, kind=[EventKind.PURCHASE] * 3)
    signals = signals_of(1, shop_log(1))
    pools = all_pools(signals, log, NOW)
    at = {item: pools.features[place] for place, item in enumerate(pools.item_idx.tolist())}
    column = FEATURES.index
    assert at[0][column("own_2_events")] == pytest.approx(np.log(1 + 0.5 + 1.0), rel=1e-5)
    assert at[0][column("bought_60d")] == pytest.approx(np.log(1 + 2 ** (-10 / 60) + 2 ** (-1 / 60)), rel=1e-5)
    assert at[1][column("bought_5_baskets")] == pytest.approx(np.log(1 + 2 ** (-1 / 5)), rel=1e-5)
    assert not pools.features[2:, list(OWN_COLUMNS)].any()


def test_a_share_of_the_intent_changes_no_pool():
    log = shop_log(13)
    signals = signals_of(13, log)
    other = replace(signals, config=replace(CONFIG, intent_share=0.05))
    ours, theirs = all_pools(signals, log, NOW), all_pools(other, log, NOW)
    np.testing.assert_array_equal(ours.item_idx, theirs.item_idx)
    np.testing.assert_allclose(ours.features, theirs.features, rtol=1e-4, atol=1e-4)
