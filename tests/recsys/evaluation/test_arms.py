from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.interactions import MICROS_PER_DAY, EventKind, Interactions, interactions
from recsys.evaluation.arms import GlobalProfile, Personalized, arm, own_purchases
from recsys.model.items import ItemTable
from recsys.model.log_profiles import closed_form
from recsys.model.profile import ProfileConfig, make_profile, repeat_counts, repeat_score
from recsys.model.scoring import score, score_without_profile

NOW = 60 * MICROS_PER_DAY
CONFIG = ProfileConfig(trend_weight=0.3, repeat_weight=0.5, repeat_half_life=20.0, half_life=10.0)


def random_table(seed: int, n_items: int = 25, dim: int = 6) -> ItemTable:
    rng = np.random.default_rng(seed)
    V = rng.normal(0, 0.5, (n_items, dim)).astype(np.float32)
    return ItemTable(V, rng.random(n_items).astype(np.float32), rng.normal(0, 0.2, dim).astype(np.float32))


def random_log(seed: int, n_users: int = 9, n_items: int = 25, n_events: int = 120) -> Interactions:
    """The last user has no events."""
    rng = np.random.default_rng(seed)
    return interactions(
        rng.integers(0, n_users - 1, n_events),
        rng.zipf(1.4, n_events) % n_items,
        rng.integers(0, NOW, n_events),
        n_users=n_users,
        n_items=n_items,
        kind=rng.integers(0, len(EventKind), n_events),
    )


def on_the_device(table: ItemTable, log: Interactions, user: int, config: ProfileConfig) -> np.ndarray:
    """What one device does: its profile, the score, and its repeat counter."""
    own = (log.item_idx[log.of(user)], log.kind[log.of(user)], log.time[log.of(user)])
    if not len(own[0]):
        return score_without_profile(table)
    vector = make_profile(table, *own, NOW, config, "v").vector
    scores = score(table, vector[None], config.trend_weight)[0]
    items, counts = repeat_counts(*own, NOW, config.repeat_half_life)
    scores[items] += config.repeat_weight * repeat_score(counts)
    return scores


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["days", "events"]))
def test_the_personalized_arm_scores_as_each_device_does(seed, unit):
    table, log, config = random_table(seed), random_log(seed), replace(CONFIG, half_life_unit=unit)
    users = np.array([8, 3, 0, 3])
    found = Personalized("personalized", table, config).scores(log, users, NOW)
    assert (found.shape, found.dtype) == ((4, table.n_items), np.float32)
    for row, user in zip(found, users, strict=True):
        np.testing.assert_allclose(row, on_the_device(table, log, int(user), config), atol=5e-5)


def test_the_list_of_an_empty_history_is_the_trend():
    table, log = random_table(0), random_log(0)
    found = Personalized("personalized", table, CONFIG).scores(log, np.array([8]), NOW)
    np.testing.assert_array_equal(found[0], table.trend)


def test_the_list_of_an_empty_history_is_the_trend_whatever_its_weight():
    """Without it, cold shoppers of a recipe whose scores have no trend would get items 0, 1, 2, …"""
    table, log, untrended = random_table(0), random_log(0), replace(CONFIG, trend_weight=0.0)
    found = Personalized("personalized", table, untrended).scores(log, np.array([8]), NOW)
    np.testing.assert_array_equal(found[0], score_without_profile(table))
    weightless = replace(untrended, kind_weights=(0.0,) * 5, repeat_weight=0.0)
    found = Personalized("personalized", table, weightless).scores(log, np.array([0]), NOW)
    np.testing.assert_array_equal(found[0], score_without_profile(table))


def test_without_repeat_is_the_same_arm_by_another_name_without_the_counter():
    table, log, users = random_table(1), random_log(1), np.arange(9)
    with_counter = Personalized("personalized", table, CONFIG)
    plain = arm("personalized_no_repeat", table, CONFIG)
    assert isinstance(plain, Personalized)
    assert (plain.name, plain.config) == ("personalized_no_repeat", CONFIG.without_repeat())
    gained = with_counter.scores(log, users, NOW) - plain.scores(log, users, NOW)
    for user in users:
        own = log.of(int(user))
        bought = set(log.item_idx[own][log.kind[own] == EventKind.PURCHASE].tolist())
        assert set(np.flatnonzero(gained[user] > 1e-4).tolist()) == bought
        assert np.abs(np.delete(gained[user], list(bought))).max() < 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(1.0, 200.0))
def test_the_batched_repeat_counter_is_the_devices_own(seed, half_life):
    log = random_log(seed)
    every = own_purchases(log, NOW, half_life)
    for user in range(log.n_users):
        own, mine = log.of(user), slice(every.offsets[user], every.offsets[user + 1])
        items, counts = repeat_counts(log.item_idx[own], log.kind[own], log.time[own], NOW, half_life)
        assert every.item_idx[mine].tolist() == items.tolist()
        np.testing.assert_allclose(every.weight[mine], counts, rtol=1e-6)


def test_the_global_profile_is_the_same_list_for_all_and_by_the_mean_profile():
    table, log = random_table(2), random_log(2)
    found = GlobalProfile(table, CONFIG).scores(log, np.array([4, 8]), NOW)
    by_hand = table.item_embeddings @ table.mean_profile + np.float32(0.3) * table.trend
    np.testing.assert_allclose(found, np.stack([by_hand, by_hand]), atol=1e-6)


def test_scoring_writes_neither_into_the_log_nor_into_the_table():
    table, log = random_table(3), random_log(3)
    for array in (log.item_idx, log.kind, log.time, log.offsets):
        array.flags.writeable = False
    before = table.item_embeddings.copy(), table.trend.copy()
    first = Personalized("personalized", table, CONFIG).scores(log, np.arange(9), NOW)
    first[:] = 0.0
    GlobalProfile(table, CONFIG).scores(log, np.arange(9), NOW)[:] = 0.0
    np.testing.assert_array_equal(table.item_embeddings, before[0])
    np.testing.assert_array_equal(table.trend, before[1])


def test_the_solver_of_a_table_has_the_settings_of_the_profile():
    solver = closed_form(random_table(4), CONFIG)
    assert (solver.alpha, solver.reg, solver.dim, solver.n_items) == (CONFIG.alpha, CONFIG.reg, 6, 25)


@pytest.mark.parametrize("users", [[], [8]])
def test_users_without_events_make_no_trouble(users):
    found = Personalized("personalized", random_table(5), CONFIG).scores(
        random_log(5), np.array(users, dtype=np.int64), NOW
    )
    assert found.shape == (len(users), 25)
