"""Groceries at a tiny size: personal top frequency by hand, and what a threshold of lines leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.errors import DataError
from data.interactions import interactions
from data.synthetic import SyntheticShop
from tests.benchmarks import groceries


def test_own_items_come_by_baskets_and_then_everybodys() -> None:
    # user 0 has item 2 in two baskets, item 1 twice in one; user 1 has item 0
    log = interactions([0, 0, 0, 0, 1], [2, 2, 1, 1, 0], [0, 5, 5, 5, 0], n_users=3, n_items=4)
    arm = groceries.TopFrequency(np.array([1, 2, 2, 0], dtype=np.float32))
    scores = arm.scores(log, np.array([0, 1, 2]), 9)
    third = 1 / 3
    expected = [
        [third, 1 + 2 * third, 2 + 2 * third, 0],
        [1 + third, 2 * third, 2 * third, 0],
        [third, 2 * third, 2 * third, 0],
    ]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_rare_items_leave_and_the_others_keep_their_order() -> None:
    log = interactions([0, 0, 1, 1, 1], [3, 1, 3, 0, 1], [0, 1, 2, 3, 4], n_users=2, n_items=5)
    some = groceries.sold_at_least(log, 2)
    assert (some.n_items, some.item_idx.tolist()) == (2, [1, 0, 1, 0])  # items 1 and 3


def test_figures_of_a_log_have_every_arm() -> None:
    log = SyntheticShop(200, 60, 6_000, seed=2).interactions()
    found = groceries.measure("shop", log, int(np.quantile(log.time, 0.9)), 10, 0)
    assert set(found["ndcg"]) == {"personalized", "own_counter", "item_knn", "popularity", "central", "top_frequency"}
    difference, low, high = found["over_own_counter"]
    assert low <= difference <= high
    assert difference == pytest.approx(found["ndcg"]["personalized"]["all"] - found["ndcg"]["own_counter"]["all"])


def test_a_missing_log_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ZOO_LOGS", str(tmp_path))
    with pytest.raises(DataError, match=f"{tmp_path}.*ZOO_LOGS"):
        groceries.journey()
