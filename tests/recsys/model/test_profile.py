"""The profile: what events do to it, and the device's counter of its own purchases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.errors import ModelError
from data.interactions import MICROS_PER_DAY, EventKind
from recsys.model.items import ItemTable
from recsys.model.profile import (
    ProfileConfig,
    event_targets,
    event_weights,
    make_profile,
    repeat_counts,
    repeat_score,
)
from recsys.model.scoring import score

DAY = MICROS_PER_DAY
VIEW, CART, PURCHASE, LIKE, DISLIKE = (int(kind) for kind in EventKind)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def kinds(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8)


def at(*days: float) -> np.ndarray:
    return np.array([day * DAY for day in days], dtype=np.int64)


def random_table(seed: int, n_items: int = 30, dim: int = 6) -> ItemTable:
    rng = np.random.default_rng(seed)
    V = rng.normal(0, 0.5, (n_items, dim)).astype(np.float32)
    return ItemTable(V, np.zeros(n_items, np.float32), np.zeros(dim, np.float32))


# of no events


def test_an_empty_history_has_the_zero_profile():
    table = random_table(0)
    nothing = make_profile(table, np.empty(0, np.int32), kinds(), at(), DAY, ProfileConfig(), "v")
    assert nothing.vector.tolist() == [0.0] * table.dim


def test_events_of_weight_zero_are_an_empty_history():
    table = random_table(0)
    config = ProfileConfig(kind_weights=(0, 1, 1, 1, 1))
    seen = make_profile(table, np.array([1, 2], np.int32), kinds(VIEW, VIEW), at(0, 1), 2 * DAY, config, "v")
    assert seen.vector.tolist() == [0.0] * table.dim


# weights of events


def test_each_kind_has_its_own_weight():
    config = ProfileConfig(kind_weights=(0.1, 0.2, 0.3, 0.4, 0.5), half_life=float("inf"))
    found = event_weights(kinds(VIEW, CART, PURCHASE, LIKE, DISLIKE), at(0, 0, 0, 0, 0), DAY, config)
    assert found.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_only_a_dislike_has_the_target_minus_one():
    assert event_targets(kinds(VIEW, CART, PURCHASE, LIKE, DISLIKE)).tolist() == [1, 1, 1, 1, -1]


def test_an_event_one_half_life_old_has_come_half_way_to_the_floor_in_days():
    config = ProfileConfig(half_life=10.0, floor=0.2)
    # ages 20, 10, 0 days: 0.2 + 0.8·(¼, ½, 1)
    found = event_weights(kinds(PURCHASE, PURCHASE, PURCHASE), at(0, 10, 20), 20 * DAY, config)
    assert found.tolist() == pytest.approx([0.4, 0.6, 1.0])


def test_an_event_one_half_life_old_has_come_half_way_to_the_floor_in_events():
    config = ProfileConfig(half_life=2.0, half_life_unit="events", floor=0.2)
    # ages 4, 3, 2, 1, 0 events, whatever the clock says: 0.2 + 0.8·2^(−age/2)
    found = event_weights(kinds(*[PURCHASE] * 5), at(0, 0, 0, 900, 901), 2_000 * DAY, config)
    assert found.tolist() == pytest.approx([0.4, 0.2 + 0.8 * 2**-1.5, 0.6, 0.2 + 0.8 * 2**-0.5, 1.0])


def test_an_event_later_than_now_counts_as_of_now():
    config = ProfileConfig(half_life=10.0)
    assert event_weights(kinds(PURCHASE), at(50), 20 * DAY, config).tolist() == [1.0]


def test_an_infinite_half_life_weighs_all_events_alike():
    config = ProfileConfig(half_life=float("inf"), floor=0.0)
    assert event_weights(kinds(PURCHASE, PURCHASE), at(0, 900), 1_000 * DAY, config).tolist() == [1.0, 1.0]


# what an event does


def test_a_dislike_lowers_the_item_and_what_is_like_it_and_leaves_the_opposite_alone_or_higher():
    V = np.array([[1, 0], [0.9, 0.1], [0, 1], [-1, 0]], dtype=np.float32)
    table = ItemTable(V, np.zeros(4, np.float32), np.zeros(2, np.float32))
    config = ProfileConfig(trend_weight=0.0)

    def scores(items: list[int], kind: np.ndarray) -> np.ndarray:
        times = at(*range(len(items)))
        vector = make_profile(table, np.array(items, np.int32), kind, times, 9 * DAY, config, "v").vector
        return score(table, vector[None], 0.0)[0]

    before, after = scores([2], kinds(LIKE)), scores([2, 0], kinds(LIKE, DISLIKE))
    assert after[0] < before[0]
    assert after[1] < before[1]
    assert after[3] > before[3]
    assert after[0] < 0 < after[2]


def test_one_more_event_changes_the_profile_at_once():
    table = random_table(2)
    history = np.arange(20, dtype=np.int32)
    kind, time = kinds(*[PURCHASE] * 20), at(*range(20))
    config = ProfileConfig()
    before = make_profile(table, history[:19], kind[:19], time[:19], 20 * DAY, config, "v")
    after = make_profile(table, history, kind, time, 20 * DAY, config, "v")
    gained = score(table, after.vector[None], 0.0)[0] - score(table, before.vector[None], 0.0)[0]
    assert gained[19] > 0
    assert gained.argmax() == 19


def test_a_profile_reads_the_taste_columns_and_leaves_other_parts_zero():
    rng = np.random.default_rng(3)
    V = rng.normal(size=(10, 5)).astype(np.float32)
    wide = ItemTable(V, np.zeros(10, np.float32), np.zeros(5, np.float32), (("taste", 3), ("intent", 2)))
    narrow = ItemTable(np.ascontiguousarray(V[:, :3]), np.zeros(10, np.float32), np.zeros(3, np.float32))
    events = (np.array([1, 7], np.int32), kinds(PURCHASE, VIEW), at(0, 1), 3 * DAY, ProfileConfig(), "v")
    found = make_profile(wide, *events).vector
    np.testing.assert_allclose(found[:3], make_profile(narrow, *events).vector, rtol=1e-6)
    assert found[3:].tolist() == [0.0, 0.0]


def test_making_a_profile_writes_into_no_argument():
    table = random_table(4)
    arrays = (np.array([1, 2, 2], np.int32), kinds(VIEW, DISLIKE, PURCHASE), at(0, 1, 2))
    for array in arrays:
        array.flags.writeable = False
    assert np.isfinite(make_profile(table, *arrays, 3 * DAY, ProfileConfig(), "v").vector).all()


# the repeat counter


def test_the_repeat_counter_counts_own_purchases_with_decay():
    items = np.array([7, 3, 7, 7, 5], np.int32)
    kind = kinds(PURCHASE, PURCHASE, VIEW, PURCHASE, DISLIKE)
    # at day 20 with half-life 10: item 3 is 10 days old: ½; item 7 was bought 20 and 0 days ago: ¼ + 1
    found, counts = repeat_counts(items, kind, at(0, 10, 12, 20, 20), 20 * DAY, 10.0)
    assert found.tolist() == [3, 7]
    assert counts.tolist() == [0.5, 1.25]
    assert repeat_score(counts).tolist() == pytest.approx([np.log(1.5), np.log(2.25)])


def test_a_purchase_later_than_now_counts_once():
    _, counts = repeat_counts(np.array([1], np.int32), kinds(PURCHASE), at(30), 20 * DAY, 10.0)
    assert counts.tolist() == [1.0]


def test_nothing_bought_nothing_counted():
    found, counts = repeat_counts(np.array([1], np.int32), kinds(VIEW), at(0), DAY, 10.0)
    assert (len(found), len(counts)) == (0, 0)


# settings


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alpha": 0.0}, "alpha=0.0: must be > 0"),
        ({"reg": -1.0}, "reg=-1.0: must be > 0"),
        ({"reg": float("nan")}, "reg=nan: must be > 0"),
        ({"half_life": 0.0}, "half_life=0.0: must be > 0"),
        ({"repeat_half_life": 0.0}, "repeat_half_life=0.0: must be > 0"),
        ({"trend_weight": -0.1}, "trend_weight=-0.1: must be 0 or more"),
        ({"repeat_weight": float("inf")}, "repeat_weight=inf: must be 0 or more"),
        ({"floor": 1.1}, "floor=1.1: must be 0..1"),
        ({"half_life_unit": "hours"}, "half_life_unit='hours': must be 'days' or 'events'"),
        ({"kind_weights": (1.0, 1.0)}, "kind_weights="),
        ({"kind_weights": (1.0, 1.0, 1.0, 1.0, -1.0)}, "must be 5 numbers, 0 or more"),
        ({"kind_weights": (1.0, 1.0, float("nan"), 1.0, 1.0)}, "must be 5 numbers, 0 or more"),
        ({"alpha": float("inf")}, "alpha=inf"),
        ({"reg": float("inf")}, "reg=inf"),
    ],
)
def test_settings_out_of_bounds_are_refused(changed, message):
    with pytest.raises(ModelError, match=message):
        ProfileConfig(**changed)


def test_without_repeat_changes_the_repeat_weight_alone():
    config = ProfileConfig(repeat_weight=0.7, reg=0.3)
    assert config.without_repeat() == replace(config, repeat_weight=0.0)
