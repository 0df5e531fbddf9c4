from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.interactions import EventKind, Interactions, interactions
from recsys.evaluation.holdout import basket_ndcg, hold_out_last

VIEW, DISLIKE = EventKind.VIEW, EventKind.DISLIKE


def one_user(items: list[int], times: list[int], kinds: list[int] | None = None) -> Interactions:
    return interactions([0] * len(items), items, times, n_users=1, n_items=10, kind=kinds)


@pytest.mark.parametrize(
    ("times", "before", "basket"),
    [
        ([1, 2, 3], [0, 1], [2]),  # the last moment holds one event
        ([1, 2, 2], [0], [1, 2]),  # or a basket
        ([2, 2, 2], [0, 1], [2]),  # one moment is all there is: its last event
        ([1, 1], [0], [1]),
        ([1], [0], []),  # one event: nothing to hold out
        ([], [], []),
    ],
)
def test_the_last_basket_is_the_last_moment_or_the_last_event(times, before, basket):
    held = hold_out_last(one_user(list(range(len(times))), times))
    assert held.before.item_idx.tolist() == before
    assert held.basket.item_idx.tolist() == basket
    assert held.moments.tolist() == [times[-1] if times else 0]


def test_dislikes_are_held_out_and_wanted_by_nobody():
    held = hold_out_last(one_user([0, 1, 2], [1, 2, 2], [VIEW, DISLIKE, VIEW]))
    assert (held.before.item_idx.tolist(), held.basket.item_idx.tolist()) == ([0], [2])
    held = hold_out_last(one_user([0, 1], [1, 2], [VIEW, DISLIKE]))
    assert (held.before.item_idx.tolist(), held.basket.item_idx.tolist()) == ([0], [])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_nothing_before_is_later_than_the_basket_and_nothing_is_lost(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 40))
    log = interactions(
        rng.integers(0, 8, n), rng.integers(0, 6, n), rng.integers(0, 6, n), n_users=9, n_items=6,
        kind=rng.integers(0, len(EventKind), n),
    )  # fmt: skip
    held = hold_out_last(log)
    assert held.before.n_users == held.basket.n_users == 9
    liked = log.where(log.kind != DISLIKE)
    before_liked = held.before.where(held.before.kind != DISLIKE)
    assert (before_liked.counts + held.basket.counts).tolist() == liked.counts.tolist()
    for user in range(9):
        assert (held.before.time[held.before.of(user)] <= held.moments[user]).all()
        assert (held.basket.time[held.basket.of(user)] == held.moments[user]).all()
        assert held.before.counts[user] >= min(log.counts[user], 1)


def test_ndcg_of_a_basket_by_hand():
    scores = np.array([[5, 4, 3, 2, 1]] * 3, dtype=np.float32)
    baskets = interactions([0, 0, 0, 2], [1, 3, 1, 0], [0, 0, 0, 0], n_users=3, n_items=5)
    found = basket_ndcg(scores, baskets, k=3)
    # user 0 wants items 1 (twice: counts once) and 3: hit at place 2 of 3, ideal 1 + 1/log2(3); user 2: first place
    assert found[0] == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))
    assert np.isnan(found[1])
    assert found[2] == 1.0


def test_a_hold_out_prints_sizes_and_no_history():
    held = hold_out_last(one_user([3, 4], [111, 222]))
    assert repr(held) == (
        "HoldOut(before=Interactions(n_users=1, n_items=10, n_events=1), "
        "basket=Interactions(n_users=1, n_items=10, n_events=1))"
    )
