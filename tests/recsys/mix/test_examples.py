"""An example is what a device took next: its first basket, and ten items at least; never what it took much later."""

from __future__ import annotations

import numpy as np

from data.interactions import MICROS_PER_DAY, interactions
from recsys.mix.examples import NEXT_ITEMS, make_examples, taken_next
from tests.recsys.mix.worlds import NOW, shop_log, signals_of


def test_the_first_basket_and_at_least_ten_items():
    """User 0: a basket of 12, then 3 more items; user 1: twelve single events."""
    users = [0] * 15 + [1] * 12
    items = [*range(15), *range(12)]
    times = [1] * 12 + [2] * 3 + [*range(1, 13)]
    log = interactions(users, items, times, n_users=2, n_items=20)
    key, first = np.unique(log.user_idx.astype(np.int64) * 20 + log.item_idx, return_index=True)
    chosen = key[taken_next(log, first)]
    assert chosen[chosen < 20].tolist() == list(range(12))
    assert (chosen[chosen >= 20] - 20).tolist() == list(range(NEXT_ITEMS))


def test_examples_hold_no_item_that_came_later_and_know_what_left_the_pool():
    before, after = shop_log(1), shop_log(2, n_events=600)
    after = interactions(
        after.user_idx, after.item_idx, after.time + 200 * MICROS_PER_DAY, n_users=12, n_items=130, kind=after.kind
    )
    users = np.flatnonzero((before.counts > 0) & (after.counts > 0))
    examples = make_examples(signals_of(1, before), before, after, NOW, users)
    for place, user in enumerate(users.tolist()):
        inside = slice(examples.pools.offsets[place], examples.pools.offsets[place + 1])
        pool, positive = examples.pools.item_idx[inside], examples.positive[inside]
        targets = examples.items[examples.offsets[place] : examples.offsets[place + 1]]
        liked = after.item_idx[after.of(user)][after.kind[after.of(user)] != 4]
        assert set(pool[positive].tolist()) == set(pool.tolist()) & set(targets.tolist())
        assert not set(pool[~positive].tolist()) & set(liked.tolist())
        assert set(targets.tolist()) <= set(liked.tolist())


def test_new_examples_have_nothing_of_the_own_history():
    before, after = shop_log(3), shop_log(4)
    users = np.flatnonzero((before.counts > 0) & (after.counts > 0))
    every = make_examples(signals_of(3, before), before, after, NOW, users)
    new = every.new()
    assert not new.pools.own.any()
    for place, user in enumerate(users.tolist()):
        own = set(before.item_idx[before.of(user)][before.kind[before.of(user)] != 4].tolist())
        targets = set(new.items[new.offsets[place] : new.offsets[place + 1]].tolist())
        assert targets == set(every.items[every.offsets[place] : every.offsets[place + 1]].tolist()) - own


def test_some_devices_of_examples_are_those_devices():
    before, after = shop_log(5), shop_log(6)
    users = np.flatnonzero((before.counts > 0) & (after.counts > 0))
    signals = signals_of(5, before)
    every = make_examples(signals, before, after, NOW, users)
    chosen = np.arange(len(users)) % 2 == 0
    some, alone = every.devices(chosen), make_examples(signals, before, after, NOW, users[chosen])
    for name in ("positive", "offsets", "items"):
        np.testing.assert_array_equal(getattr(some, name), getattr(alone, name))
    np.testing.assert_allclose(some.pools.features, alone.pools.features, rtol=1e-4, atol=1e-4)
