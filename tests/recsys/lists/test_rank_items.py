from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ModelError
from recsys.lists.rank_items import (
    IMPACTS,
    MOST_MOVED,
    RankSignals,
    base_heights,
    check_rank,
    rank_scores,
    reorder,
)

SCORES = st.lists(st.floats(-100, 100, width=32), max_size=60).map(lambda values: np.array(values, dtype=np.float32))


@given(SCORES)
def test_low_impact_moves_no_item_further_than_it_may(scores: np.ndarray) -> None:
    order = reorder(scores, "low")
    assert sorted(order.tolist()) == list(range(len(scores)))
    assert all(abs(place - item) <= MOST_MOVED for place, item in enumerate(order.tolist()))


def test_low_impact_uses_what_it_may() -> None:
    best_last = np.arange(8, dtype=np.float32)  # the shop's last is the shopper's first
    assert reorder(best_last, "low").tolist() == [3, 4, 5, 0, 1, 2, 7, 6]


@given(SCORES, st.sampled_from(["medium", "high"]))
def test_other_impacts_order_by_score_and_keep_equals(scores: np.ndarray, impact: str) -> None:
    order = reorder(scores, impact)  # type: ignore[arg-type]
    assert order.tolist() == sorted(range(len(scores)), key=lambda item: (-scores[item], item))


def test_a_base_is_an_order_or_scores_in_their_own_deviations() -> None:
    assert base_heights(3, None) == pytest.approx([0, -0.693147, -1.098612], abs=1e-6)
    assert base_heights(3, [30, 20, 10]) == pytest.approx([1.224745, 0, -1.224745], abs=1e-6)
    assert base_heights(2, [5, 5]).tolist() == [0, 0]
    assert base_heights(0, None).tolist() == []


@pytest.mark.parametrize("base", [[1.0], [1.0, float("nan")], [1.0, float("inf")], [[1.0, 2.0]]])
def test_a_base_of_another_length_or_no_numbers_is_refused(base: list[float]) -> None:
    with pytest.raises(ModelError, match="base: must be 2 finite numbers"):
        base_heights(2, base)


def test_an_item_that_nobody_knows_scores_as_the_mean_of_the_others() -> None:
    signals = _signals([1.0, 2.0, 3.0])
    scores = rank_scores(signals, np.array([0, -1, 2], dtype=np.int32), np.zeros(3, np.float32), "high", "category")
    assert scores.tolist() == [1.0, 2.0, 3.0]


def test_a_list_of_unknown_items_stays_in_the_shops_order() -> None:
    base = base_heights(4, None)
    for impact in IMPACTS:
        scores = rank_scores(_signals([1.0]), np.full(4, -1, dtype=np.int32), base, impact, "search")
        assert reorder(scores, impact).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("items", "impact", "surface", "told"),
    [
        (["a", "a"], "low", "search", "items: one is given twice"),
        (["a"] * 1001, "low", "search", "items: 1001: must be at most 1000"),
        (["a"], "strong", "search", "impact: must be one of low, medium, high"),
        (["a"], "low", "home", "surface: must be one of search, category"),
    ],
)
def test_an_impossible_list_is_refused(items: list[str], impact: str, surface: str, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        check_rank(items, impact, surface)


def _signals(personal: list[float]) -> RankSignals:
    n = len(personal)
    nothing = np.zeros(n, dtype=np.float32)
    return RankSignals(np.array(personal, np.float32), nothing, np.zeros(n, np.bool_), 0, 0)
