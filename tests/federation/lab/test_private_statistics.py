"""Under a plan a log is known through noise alone: what each device adds is bounded, and the sums say what a log is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.interactions import MICROS_PER_DAY, EventKind, interactions
from data.log_statistics import measure_log
from federation.lab.defaults import fitted, settle, with_private_half_life
from federation.lab.private_statistics import device_statistics, private_half_life, private_statistics
from federation.lab.recipes import (
    MIX_PARTICIPATIONS,
    PAIR_DEVICES,
    PAIR_PARTICIPATIONS,
    PRIVATE_ROUNDS,
    RECIPES,
    TABLE_PARTICIPATIONS,
    private_participations,
    privately,
    statistics_noise,
)
from federation.learning.privacy_plan import least_noise
from recsys.model.trend import HALF_LIFE_DAYS
from tests.recsys.logs import tastes_log

LOG = tastes_log(0, n_users=400)


def test_each_device_adds_eleven_numbers_from_0_to_1():
    """Five shares of kinds; a device, with two events, back after a day, late, of those known; its distinct items."""
    day = MICROS_PER_DAY
    log = interactions(
        [0, 0, 0, 2], [1, 1, 2, 3], [0, 0, 9 * day, 9 * day], n_users=3, n_items=5,
        kind=[EventKind.VIEW, EventKind.PURCHASE, EventKind.PURCHASE, EventKind.LIKE],
    )  # fmt: skip
    rows = device_statistics(log)
    assert rows[0] == pytest.approx([1 / 3, 0, 2 / 3, 0, 0, 1, 1, 1, 1, 1, 0.02])
    assert rows[1].tolist() == [0.0] * 11
    assert rows[2].tolist() == [0, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0.01]
    assert ((device_statistics(LOG) >= 0) & (device_statistics(LOG) <= 1)).all()


def test_next_to_no_noise_says_what_the_log_is_and_more_noise_says_it_less_well():
    exact, close = measure_log(LOG), private_statistics(LOG, 1e-4, seed=0)
    for name in ("devices", "returning_devices", "history_length", "return_share", "known_share", "purchase_share"):
        assert getattr(close, name) == pytest.approx(getattr(exact, name), rel=0.02, abs=0.01)
    assert close.kind_shares == pytest.approx(exact.kind_shares, abs=0.01)
    far = [private_statistics(LOG, 3.0, seed=seed).devices for seed in range(30)]
    # √2·3/√.05·√11 = 63 devices
    assert 40 < np.std(far) < 95
    drowned = private_statistics(LOG, 1e4, seed=0)
    assert 0.0 <= drowned.return_share <= 1.0
    assert drowned.history_length > 0
    assert drowned.devices >= 1


def test_a_recipe_is_chosen_through_noise_without_a_validation():
    bought = replace(LOG, kind=np.full(LOG.n_events, EventKind.PURCHASE, dtype=np.uint8))
    found = settle(bought, noise=1.0)
    assert found.participations == 0
    assert found.name in RECIPES
    assert found.recipe.train.trend_half_life == HALF_LIFE_DAYS  # chosen once the plan is known
    assert fitted("purchases", bought, noise=1.0)[0].train.trend_half_life == HALF_LIFE_DAYS


def test_the_half_life_is_that_of_what_new_devices_take():
    """Items change every two days, or never: a short half-life foretells the one, a long one the other."""
    rng = np.random.default_rng(0)
    n_users, day = 1_500, MICROS_PER_DAY
    start = np.sort(rng.integers(0, 60, n_users))
    user = np.repeat(np.arange(n_users), 4)
    time = start[user] * day + rng.integers(0, day // 4, len(user))
    fast = interactions(
        user, (start[user] // 2 * 7 + rng.integers(0, 3, len(user))) % 100, time, n_users=n_users, n_items=100
    )
    now = 61 * day
    assert private_half_life(fast, now, 0.01, seed=0) <= 1.0
    assert private_half_life(fast, now, 1e4, seed=0) == HALF_LIFE_DAYS  # nobody can tell
    few = fast.users(np.arange(80))
    assert private_half_life(few, now, 0.01, seed=0) == HALF_LIFE_DAYS


def test_a_plan_pays_for_popularity_statistics_and_half_life():
    base = RECIPES["purchases"]
    assert private_participations(base, 400) == PRIVATE_ROUNDS + TABLE_PARTICIPATIONS + MIX_PARTICIPATIONS
    assert private_participations(base, PAIR_DEVICES) == private_participations(base, 400) + PAIR_PARTICIPATIONS
    private = privately(base, epsilon=8.0, delta=1e-6, n_devices=400)
    assert private.train.privacy is not None
    assert private.train.privacy.max_participations == private_participations(base, 400)
    assert statistics_noise(8.0, 1e-6) >= private.train.privacy.noise_multiplier
    assert statistics_noise(8.0, 1e-6) == least_noise(
        8.0, 1e-6, private_participations(RECIPES["sessions"], PAIR_DEVICES)
    )
    chosen = with_private_half_life(private, LOG, int(LOG.time.max()) + 1, seed=0)
    assert replace(chosen.train, trend_half_life=HALF_LIFE_DAYS) == private.train
    assert with_private_half_life(base, LOG, int(LOG.time.max()) + 1, seed=0) is base
