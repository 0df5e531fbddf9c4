"""A floor under the tail's exposure: the controller's steps by hand, and that it holds what can be held."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.errors import ModelError
from data.split import Split, temporal
from recsys.evaluation.baselines import item_knn
from recsys.evaluation.targets import Targets, collect_targets
from recsys.fairness.exposure_floor import (
    ExposureFloor,
    FloorCost,
    cost_curve,
    hold_floor,
    priced_items,
    priced_lists,
)
from recsys.fairness.groups import tail_items
from recsys.fairness.served_lists import serve_lists
from recsys.model.trend import trend
from recsys.search.ranking import sort_keys
from tests.recsys.logs import tastes_log

K = 10


@pytest.fixture(scope="module")
def asked() -> tuple[Split, Targets, np.ndarray]:
    split = temporal(tastes_log(3, n_users=400, n_items=80, events=20), 80 * 86_400_000_000)
    tail = tail_items(np.bincount(split.train.item_idx, minlength=80))
    return split, collect_targets(split, split.train), tail


def hold(asked: tuple[Split, Targets, np.ndarray], control: ExposureFloor, seed: int = 0) -> FloorCost:
    split, targets, tail = asked
    assert split.at is not None
    return hold_floor(
        item_knn(split.train), targets, split.train, split.at, tail=tail, priced=tail, control=control, k=K, passes=4,
        seed=seed,
    )  # fmt: skip


def test_the_price_follows_what_is_missing_and_stays_within_its_bounds() -> None:
    control = ExposureFloor(0.2, step=0.5, most=1.0)
    assert control.next_price(0.1, 0.1) == pytest.approx(0.15)
    assert control.next_price(0.1, 0.3) == pytest.approx(0.05)
    assert control.next_price(0.01, 1.0) == 0.0
    assert control.next_price(0.99, 0.0) == 1.0
    assert control.next_price(0.3, float("nan")) == 0.3  # nobody asked in that period


def test_only_tail_items_of_at_least_their_median_trend_are_priced() -> None:
    tail = np.array([True, True, True, False])
    trend_of = np.array([0.0, 0.2, 0.5, 0.9], dtype=np.float32)
    assert priced_items(tail, trend_of).tolist() == [False, True, True, False]
    assert not priced_items(np.zeros(4, dtype=bool), trend_of).any()


def test_a_floor_is_held_and_a_floor_that_is_met_already_costs_nothing(
    asked: tuple[Split, Targets, np.ndarray],
) -> None:
    before = hold(asked, ExposureFloor(0.0))
    assert before.loss == 0.0
    assert set(before.prices) == {0.0}
    assert before.share == before.share_before
    floor = before.share + 0.1
    held = hold(asked, ExposureFloor(floor, step=2.0, most=10.0))
    assert held.share == pytest.approx(floor, abs=0.01)
    assert held.price > 0
    assert held.share_before == pytest.approx(before.share, abs=0.02)


def test_without_a_price_lists_are_the_models_own(asked: tuple[Split, Targets, np.ndarray]) -> None:
    split, targets, tail = asked
    assert split.at is not None
    lists = serve_lists(item_knn(split.train), targets, split.train, split.at, K, 80)
    whole = hold(asked, ExposureFloor(0.0, period=int(targets.warm.sum())))
    assert whole.ndcg == pytest.approx(lists.ndcg[targets.warm].mean())
    assert whole.share == pytest.approx(lists.share_of(tail)[targets.warm].mean())


def test_a_price_buys_a_place_and_not_a_position() -> None:
    scores = np.array([[0.9, 0.8, 0.7, 0.1, -np.inf]], dtype=np.float32)
    priced = np.array([False, False, False, True, True])
    keys = sort_keys(scores)
    assert priced_lists(scores, keys, priced, 0.0, 3).tolist() == [[0, 1, 2]]
    assert priced_lists(scores, keys, priced, 5.0, 3).tolist() == [[0, 1, 3]]  # first by price, last by its own score
    assert priced_lists(scores, keys, priced, 5.0, 5).tolist() == [[0, 1, 2, 3, -1]]


def test_an_impossible_floor_is_a_bounded_price(asked: tuple[Split, Targets, np.ndarray]) -> None:
    held = hold(asked, ExposureFloor(1.0, step=1.0, most=0.01))
    assert max(held.prices) == 0.01
    assert held.share < 1.0


def test_the_curve_is_in_the_order_of_the_floors(asked: tuple[Split, Targets, np.ndarray]) -> None:
    costs = [hold(asked, ExposureFloor(floor, step=2.0)) for floor in (0.4, 0.0)]
    curve = cost_curve(costs)
    assert [row["floor"] for row in curve] == [0.0, 0.4]
    assert curve[1]["loss"] == pytest.approx(1 - costs[0].ndcg / costs[0].ndcg_before)


def test_what_cannot_be_is_refused(asked: tuple[Split, Targets, np.ndarray]) -> None:
    for wrong in (
        {"floor": 1.1},
        {"floor": 0.1, "step": 0.0},
        {"floor": 0.1, "most": 0.0},
        {"floor": 0.1, "period": 0},
    ):
        with pytest.raises(ModelError):
            ExposureFloor(**wrong)  # type: ignore[arg-type]
    split, targets, tail = asked
    few = replace(targets, warm=np.arange(len(targets.warm)) < 3)
    with pytest.raises(ModelError, match="two periods"):
        hold_floor(
            item_knn(split.train), few, split.train, int(split.at or 0), tail=tail, priced=tail,
            control=ExposureFloor(0.1), k=K, passes=2,
        )  # fmt: skip


def test_a_recent_trend_chooses_the_priced(asked: tuple[Split, Targets, np.ndarray]) -> None:
    split, _, tail = asked
    assert split.at is not None
    priced = priced_items(tail, trend(split.train, split.at))
    assert 0 < priced.sum() < tail.sum() + 1
    assert not (priced & ~tail).any()
