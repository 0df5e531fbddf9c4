"""The trend's half-life from a log: short where fashions change within a day, long where they never do."""

from __future__ import annotations

import numpy as np
import pytest

from data.interactions import MICROS_PER_DAY as DAY
from data.interactions import EventKind, Interactions, interactions
from recsys.evaluation.half_life import HALF_LIVES, choose_half_life
from recsys.evaluation.metrics import ndcg
from recsys.model.trend import HALF_LIFE_DAYS


def fashions(lasting_days: float, n_users: int = 4_000, n_items: int = 400, days: int = 60) -> Interactions:
    """Every user comes once for 3 items of the 20 that are in fashion; fashions follow each other."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(n_users), 3)
    time = np.sort(rng.uniform(0, days, n_users))[user]
    fashion = (time / lasting_days).astype(int)
    item = (fashion * 20 + rng.integers(0, 20, len(user))) % n_items
    return interactions(user, item, (time * DAY).astype(np.int64), n_users=n_users, n_items=n_items)


def test_what_changes_every_few_days_gets_a_short_half_life() -> None:
    found = choose_half_life(fashions(10.0))
    assert found.days <= 1.0
    assert found.figures[HALF_LIVES.index(found.days)] > 1.1 * found.figures[HALF_LIVES.index(HALF_LIFE_DAYS)]


def test_a_week_stays_where_nothing_is_clearly_better() -> None:
    assert choose_half_life(fashions(1_000.0)).days == HALF_LIFE_DAYS


def test_rare_events_of_a_taste_that_never_changes_get_a_long_half_life() -> None:
    """Two events a week on 200 items of unequal popularity: a week's counts are noise, a year's are not."""
    rng = np.random.default_rng(1)
    n, n_items = 1_500, 200
    item = np.minimum(rng.geometric(0.03, n) - 1, n_items - 1)
    log = interactions(np.arange(n), item, (np.arange(n) * 3.5 * DAY).astype(np.int64), n_users=n, n_items=n_items)
    assert choose_half_life(log).days >= 30.0


def test_nothing_to_measure_is_the_usual_half_life_of_no_devices() -> None:
    for log in (
        interactions([], [], [], n_users=1, n_items=1),
        interactions([0, 0], [0, 1], [5, 5], n_users=1, n_items=2),
        interactions([0, 1], [0, 1], [0, DAY], n_users=2, n_items=2, kind=[EventKind.DISLIKE] * 2),
    ):
        found = choose_half_life(log)
        assert (found.days, found.devices) == (HALF_LIFE_DAYS, 0)


def test_figures_by_hand() -> None:
    """Ten devices, one a day; of the later half each is asked when it comes; all buy item 0, so it is always on top."""
    log = interactions(np.arange(10), np.zeros(10), np.arange(10) * DAY, n_users=10, n_items=3)
    found = choose_half_life(log)
    assert found.figures == pytest.approx((1.0,) * len(HALF_LIVES))
    assert found.devices == 5
    assert ndcg(np.array([[True]]), np.array([1]), 20)[0] == 1.0
