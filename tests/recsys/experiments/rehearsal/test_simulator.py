"""Simulated shoppers do what the simulator says they do."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import DataError
from data.synthetic import SyntheticShop
from recsys.experiments.rehearsal.simulator import ClickModel, Shoppers

SHOP = SyntheticShop(n_users=60, n_items=50, n_events=1, seed=3)
SHOPPERS = Shoppers.of(SHOP, seed=1)


def test_the_best_item_is_clicked_as_often_as_habits_say_and_worse_ones_less():
    even = Shoppers.of(SHOP, ClickModel(eagerness=0.0))
    best = even.scores.argmax(axis=1)
    everybody = np.arange(60)
    assert even.chance[everybody, best] == pytest.approx(0.3, rel=1e-5)
    order = np.argsort(-even.scores, axis=1)
    assert (np.diff(np.take_along_axis(even.chance, order, axis=1), axis=1) <= 1e-7).all()


def test_clicks_follow_attention_times_chance():
    rng = np.random.default_rng(0)
    who, lists = np.repeat(5, 20_000), np.tile(np.array([4, 9, 2], dtype=np.int32), (20_000, 1))
    found = SHOPPERS.respond(who, lists, rng)
    expected = SHOPPERS.chance[5, [4, 9, 2]] * [1, 1 / 2, 1 / 3]
    assert found.clicked.mean(axis=0) == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 20_000))
    assert not (found.bought & ~found.clicked).any()
    assert found.revenue == pytest.approx((found.bought * SHOPPERS.price[lists]).sum(axis=1))
    assert found.bought.sum() == pytest.approx(0.05 * found.clicked.sum(), abs=4 * np.sqrt(found.clicked.sum() * 0.05))


def test_a_smaller_error_is_a_better_ranker_and_none_is_the_truth():
    everybody = np.arange(60)
    clicks = [
        SHOPPERS.click_chances(everybody, SHOPPERS.ranker(error, 10, seed=2)).sum(axis=1).mean()
        for error in (0.0, 1.0, 3.0, 30.0)
    ]
    assert clicks == sorted(clicks, reverse=True)
    assert clicks[0] > 1.5 * clicks[3]
    truth = SHOPPERS.ranker(0.0, 5, seed=9)
    assert (truth == np.argsort(-SHOPPERS.scores, axis=1, kind="stable")[:, :5]).all()


def test_the_same_seed_makes_the_same_shoppers():
    again = Shoppers.of(SHOP, seed=1)
    assert np.array_equal(again.chance, SHOPPERS.chance)
    assert not np.array_equal(Shoppers.of(SHOP, seed=2).chance, SHOPPERS.chance)
    assert np.array_equal(again.ranker(1.0, 5, seed=3), SHOPPERS.ranker(1.0, 5, seed=3))


def test_mistakes():
    with pytest.raises(DataError, match="best_click must be above 0 and below 1"):
        ClickModel(best_click=1.0)
    with pytest.raises(DataError, match=r"k=51: must be 0 or more, and 1..50"):
        SHOPPERS.ranker(1.0, 51, seed=0)
