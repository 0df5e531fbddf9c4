"""The popularity that a plan publishes: exact without noise and clip, bounded a device, and no look ahead."""

from __future__ import annotations

import numpy as np
import pytest

from data.interactions import MICROS_PER_DAY, interactions
from federation.learning.table_sum import POPULARITY_CLIP, SHARES, table_plan
from federation.private_sum.accounting import rho_of
from federation.simulation.table_sums import earlier_moment, sum_popularity
from recsys.model.bucketed_popularity import AGES, EDGES, WEIGHTS, bucketed, buckets_of
from tests.recsys.logs import tastes_log

LOG = tastes_log(1, n_users=300)
NOW = int(LOG.time.max()) + 1


def test_all_three_sums_together_cost_one_round():
    z = 2.0
    plans = [table_plan(kind, 50, z, min_reports=1, max_reports=1_000) for kind in SHARES]
    assert sum(map(rho_of, plans)) == pytest.approx(1 / (2 * z**2), rel=1e-2)
    assert sum(map(rho_of, plans)) <= 1 / (2 * z**2) * (1 + 1e-9)
    assert sum(SHARES.values()) == pytest.approx(1.0)


def test_buckets_by_hand():
    """Two events an hour old, one of ten days, all after the moment; one of a year before it."""
    day = MICROS_PER_DAY
    now, moment = 1_000 * day, 900 * day
    times = [now - day // 24, now - day // 24, now - 10 * day, moment - 365 * day]
    log = interactions([0, 0, 0, 0], [1, 1, 2, 1], times, n_users=1, n_items=3)
    user, cell, value = buckets_of(log, moment, now)
    assert user.tolist() == [0, 0, 0]
    assert cell.tolist() == [4 * 3 + 1, 5 * 3 + 1, (5 + 2) * 3 + 2]
    assert value == pytest.approx([WEIGHTS[4], WEIGHTS[0] * 2**0.5, WEIGHTS[2]])
    table = bucketed(np.bincount(cell, value, 30), 3, moment, now)
    expected = 2**0.5 * 2 ** (-AGES[0] / 7) + 2 ** (-(AGES[4] + 100) / 7)
    assert table.decayed(7.0)[1] == pytest.approx(expected)
    assert table.decayed(7.0, earlier=True).tolist() == pytest.approx([0.0, 2 ** (-AGES[4] / 7), 0.0])
    assert len(EDGES) + 1 == len(AGES) == len(WEIGHTS)


def test_no_device_adds_more_than_the_clip_and_the_earlier_trend_sees_nothing_of_later_events():
    moment = earlier_moment(LOG)
    everyone = sum_popularity(LOG, NOW, 0.0, seed=0)
    for user in range(5):
        alone = LOG.users(np.setdiff1d(np.arange(LOG.n_users), [user]))
        left = [(a * np.array(WEIGHTS)[:, None]) for a in (everyone.before, everyone.after)]
        user_, cell, value = buckets_of(alone, moment, NOW)
        norm = np.sqrt(np.bincount(user_, value**2, alone.n_users))
        scale = np.minimum(1.0, POPULARITY_CLIP / np.maximum(norm, 1e-12))
        rest = np.bincount(cell, value * scale[user_], 10 * LOG.n_items).reshape(2, 5, -1)
        apart = np.concatenate([left[0] - rest[0], left[1] - rest[1]])
        assert np.linalg.norm(apart) <= POPULARITY_CLIP + 1e-9
    early = LOG.where(LOG.time < moment)
    known = sum_popularity(LOG, NOW, 0.0, seed=0).decayed(7.0, earlier=True)
    user_, cell, _ = buckets_of(early, moment, NOW)
    assert set(np.flatnonzero(known)) <= set((cell % LOG.n_items).tolist())


def test_noise_is_both_parties_and_the_same_seed_is_the_same_release():
    exact = sum_popularity(LOG, NOW, 0.0, seed=0)
    ours, again, other = (sum_popularity(LOG, NOW, 1.5, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(ours.after, again.after)
    assert (ours.after != other.after).any()
    drawn = (ours.after - exact.after) * np.array(WEIGHTS)[:, None]
    expected = np.sqrt(2) * 1.5 / np.sqrt(SHARES["popularity"]) * POPULARITY_CLIP
    assert drawn.std() == pytest.approx(expected, rel=0.1)
    assert (ours.decayed(7.0) >= 0).all()
