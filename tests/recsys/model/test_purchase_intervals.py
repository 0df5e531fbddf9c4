from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from data.errors import ModelError
from data.interactions import MICROS_PER_DAY, EventKind, interactions
from recsys.model.purchase_intervals import (
    CATEGORY_INTERVALS,
    MOST_INTERVALS,
    hazards,
    intervals_of,
    read_intervals,
    sum_intervals,
)


def test_intervals_are_of_one_device_and_one_item() -> None:
    # device 0 buys item 0 on days 0, 7, 21 and item 1 on day 3; device 1 item 0 on day 1 and twice on day 5
    events = [(0, 0, 0), (0, 1, 3), (0, 0, 7), (0, 0, 21), (1, 0, 1), (1, 0, 5), (1, 0, 5)]
    user, item, day = zip(*events, strict=True)
    log = interactions(
        user, item, np.array(day) * MICROS_PER_DAY, n_users=2, n_items=3, kind=np.full(7, EventKind.PURCHASE)
    )
    sums = sum_intervals(log, np.array([1, 0, -1], dtype=np.int32)).values
    x = np.log([7, 14, 4])
    assert sums[1] == pytest.approx([3, x.sum(), (x**2).sum()])
    assert sums[0].tolist() == [0, 0, 0]
    assert sums[2].tolist() == [0, 0, 0]


def test_one_household_does_not_set_a_categorys_clock() -> None:
    n = 400
    log = interactions(
        np.zeros(n),
        np.zeros(n),
        np.arange(n) * MICROS_PER_DAY,
        n_users=1,
        n_items=1,
        kind=np.full(n, EventKind.PURCHASE),
    )
    assert sum_intervals(log, np.zeros(1, dtype=np.int32)).values[0, 0] == pytest.approx(MOST_INTERVALS)


def test_a_categorys_clock_is_drawn_towards_that_of_all() -> None:
    sums = np.array(
        [[30.0, 30 * math.log(7), 30 * math.log(7) ** 2], [10.0, 10 * math.log(70), 10 * math.log(70) ** 2]]
    )
    made = intervals_of(type("Sums", (), {"values": sums})(), ["milk"])  # type: ignore[arg-type]
    every = (30 * math.log(7) + 10 * math.log(70)) / 40
    assert made is not None
    assert made.mean[0] == pytest.approx(
        (30 * math.log(7) + CATEGORY_INTERVALS * every) / (30 + CATEGORY_INTERVALS), abs=1e-4
    )
    assert made.clock_of(["milk", None, "bread"]).tolist() == [0, 1, 1]
    assert read_intervals(made.to_dict()).to_dict() == made.to_dict()


def test_nothing_bought_again_has_no_clock() -> None:
    log = interactions([0], [0], [0], n_users=1, n_items=1, kind=np.full(1, EventKind.PURCHASE))
    assert intervals_of(sum_intervals(log, np.zeros(1, dtype=np.int32)), ["a"]) is None


def test_the_hazard_is_that_of_a_log_normal_interval() -> None:
    clocks = read_intervals({"categories": ["milk"], "mean": [math.log(7), 3.0], "spread": [0.5, 1.0]})
    chance = hazards(clocks, np.array([0]), np.array([1.0]), np.array([6.0]), np.array([6.0]), 14.0)
    law = stats.lognorm(s=0.5, scale=7)
    assert chance[0] == pytest.approx((law.cdf(20) - law.cdf(6)) / law.sf(6), rel=1e-9)


def test_what_was_just_bought_is_less_due_than_what_is_late() -> None:
    clocks = read_intervals({"categories": [], "mean": [math.log(30)], "spread": [0.3]})
    days = np.array([1.0, 25.0])
    late = hazards(clocks, np.array([0, 0]), np.ones(2), days, days, 7.0)
    assert late[0] < 0.01 < 0.3 < late[1]


@pytest.mark.parametrize(
    "raw",
    [
        None,
        {},
        {"categories": ["a"], "mean": [1.0], "spread": [1.0]},
        {"categories": [], "mean": [1.0], "spread": [0.0]},
        {"categories": [], "mean": ["x"], "spread": [1.0]},
        {"categories": ["a", "a"], "mean": [1, 1, 1], "spread": [1, 1, 1]},
    ],
)
def test_impossible_intervals_are_refused(raw: object) -> None:
    with pytest.raises(ModelError, match="intervals"):
        read_intervals(raw)
