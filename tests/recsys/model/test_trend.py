from __future__ import annotations

import numpy as np
import pytest

from data.interactions import MICROS_PER_DAY, EventKind, interactions
from recsys.model.trend import (
    HALF_LIFE_DAYS,
    capped_popularity,
    decayed_popularity,
    last_events,
    once_a_period,
    trend,
)

DAY = MICROS_PER_DAY


def test_each_event_is_halved_for_every_half_life_of_its_age():
    log = interactions([0, 1, 0, 1], [0, 0, 1, 2], [0, 7 * DAY, 14 * DAY, 7 * DAY], n_users=2, n_items=4)
    # at day 14 with half-life 7: item 0 is ¼ + ½, item 1 is 1, item 2 is ½, item 3 nobody had
    assert decayed_popularity(log, 14 * DAY, 7.0).tolist() == [0.75, 1.0, 0.5, 0.0]


def test_trend_is_the_logarithm_over_its_largest():
    log = interactions([0, 1, 0], [0, 0, 1], [0, 0, 0], n_users=2, n_items=3)
    # log(1 + 2), log(1 + 1), log(1 + 0) over log 3
    assert trend(log, 0).tolist() == pytest.approx([1.0, np.log(2) / np.log(3), 0.0])


def test_a_week_is_the_half_life():
    log = interactions([0], [0], [0], n_users=1, n_items=1)
    assert decayed_popularity(log, round(HALF_LIFE_DAYS * DAY)).tolist() == [0.5]
    assert HALF_LIFE_DAYS == 7.0


def test_dislikes_make_nothing_popular():
    kinds = [EventKind.VIEW, EventKind.CART, EventKind.PURCHASE, EventKind.LIKE, EventKind.DISLIKE]
    log = interactions([0] * 5, range(5), [0] * 5, n_users=1, n_items=5, kind=kinds)
    assert trend(log, 0).tolist() == [1.0, 1.0, 1.0, 1.0, 0.0]


def test_an_event_later_than_now_counts_as_of_now():
    log = interactions([0, 0], [0, 1], [0, 9 * DAY], n_users=1, n_items=2)
    assert decayed_popularity(log, 0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("kind", [None, [EventKind.DISLIKE]])
def test_an_empty_log_has_a_trend_of_zeros(kind):
    n = 0 if kind is None else 1
    log = interactions([0] * n, [0] * n, [0] * n, n_users=1, n_items=3, kind=kind)
    found = trend(log, 0)
    assert (found.tolist(), found.dtype) == ([0.0, 0.0, 0.0], np.float32)


def test_trend_keeps_the_order_of_popularity_within_0_and_1():
    rng = np.random.default_rng(0)
    log = interactions(
        np.zeros(500, int), rng.zipf(1.5, 500) % 40, rng.integers(0, 90 * DAY, 500), n_users=1, n_items=40
    )
    level, found = capped_popularity(log, 90 * DAY), trend(log, 90 * DAY)
    assert found.max() == 1.0
    assert found.min() >= 0.0
    assert (np.diff(found[np.argsort(level)]) >= 0).all()


def test_a_shopper_counts_once_a_day_for_an_item():
    # device 0 on day 0 at 1, 2 and 3 µs, and on day 1; device 1 once: the last of a day counts
    log = interactions([0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1, 2, 3, DAY, 5], n_users=2, n_items=1)
    assert capped_popularity(log, DAY, float("inf")).tolist() == [3.0]
    assert once_a_period(log).time.tolist() == [3, DAY, 5]


def test_one_shoppers_thousands_of_views_are_no_trend():
    # one shopper views item 0 5,000 times within a day; 300 others view items 1 to 8 once each
    bot = interactions(np.zeros(5000), np.zeros(5000), np.arange(5000) * 1_000_000, n_users=301, n_items=9)
    others = np.repeat(np.arange(1, 301), 8)
    user = np.concatenate((bot.user_idx, others))
    item = np.concatenate((bot.item_idx, np.tile(np.arange(1, 9), 300)))
    time = np.concatenate((bot.time, np.full(2400, 5_000_000_000)))
    level = trend(interactions(user, item, time, n_users=301, n_items=9), DAY)
    assert level[0] < 0.15
    assert level[1:].tolist() == [1.0] * 8


def test_a_device_counts_once_for_an_item_as_of_its_last_event() -> None:
    kinds = [EventKind.PURCHASE, EventKind.PURCHASE, EventKind.VIEW, EventKind.DISLIKE, EventKind.PURCHASE]
    log = interactions([0, 0, 1, 1, 1], [0, 0, 0, 0, 1], [0, 7 * DAY, 0, 9 * DAY, 0], n_users=2, n_items=3, kind=kinds)
    once = last_events(log)
    # of device 0 the purchase on day 7; of device 1 the view, for a dislike speaks for nothing
    assert list(zip(once.user_idx, once.item_idx, once.time, strict=True)) == [(0, 0, 7 * DAY), (1, 0, 0), (1, 1, 0)]
    assert decayed_popularity(once, 7 * DAY, 7.0).tolist() == [1.5, 0.5, 0.0]
    assert last_events(log.where(log.time < 0)).n_events == 0
