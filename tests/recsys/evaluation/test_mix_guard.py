"""The guard serves the mix, and not one that diverged; what it reads of a device is bounded."""

from __future__ import annotations

import numpy as np
import pytest

from federation.learning.mix_sum import GUARD_CLIP
from recsys.evaluation.mix_guard import GuardSums, candidates, choose
from recsys.evaluation.mix_judging import guard_sums, pool_ndcg, rank_pools
from recsys.mix.examples import Examples
from recsys.mix.features import FEATURES, N_FEATURES
from recsys.mix.pools import Pools
from recsys.mix.priors import cautious_weights, weights_of


def planted(seed: int, n: int = 200, size: int = 60) -> Examples:
    """Devices that take the item of the largest taste, half of the time."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 1, (n * size, N_FEATURES)).astype(np.float32)
    taste = features[:, 0].reshape(n, size)
    best = np.where(rng.random(n) < 0.5, taste.argmax(axis=1), rng.integers(0, size, n))
    positive = np.zeros((n, size), dtype=bool)
    positive[np.arange(n), best] = True
    pools = Pools(np.arange(n + 1) * size, np.tile(np.arange(size, dtype=np.int32), n), features)
    return Examples(pools, positive.ravel(), np.arange(n + 1), best.astype(np.int32))


def judged(examples: Examples, mix: np.ndarray, prior: np.ndarray) -> str:
    figures = {
        name: pool_ndcg(examples.pools, examples.offsets, examples.items, w)
        for name, w in candidates(mix, prior, cautious_weights("sessions", "new")).items()
    }
    return choose(guard_sums(figures, GUARD_CLIP))


def test_a_good_fit_is_served_and_a_diverged_one_is_not():
    examples, prior = planted(0), weights_of({"trend_7d": 1.0})
    assert judged(examples, weights_of({"taste": 1.0}), prior) == "mix"
    diverged = weights_of({"taste": -1e6, "trend_6h": 3e7})
    assert judged(examples, diverged, prior) == "taste"


def test_the_mix_stays_where_nothing_is_clearly_better():
    """10 devices, differences of mean .1 and standard deviation .3: 1.05 standard errors, 3 are asked."""
    difference = np.full(10, 0.1) + np.tile([0.3, -0.3], 5)
    sums = GuardSums(10.0, {"taste": difference.sum()}, {"taste": (difference**2).sum()})
    assert choose(sums) == "mix"
    many = GuardSums(1_000.0, {"taste": 100.0}, {"taste": 100.0})
    assert choose(many) == "taste"
    assert choose(GuardSums(1_000.0, {"taste": 100.0}, {"taste": 100.0}, noise=40.0)) == "mix"  # .1 of noise .04
    assert choose(GuardSums(0.0, {"taste": 0.0}, {"taste": 0.0})) == "mix"


def test_ranked_pools_by_hand():
    features = np.zeros((5, N_FEATURES), dtype=np.float32)
    features[:, FEATURES.index("taste")] = [1, 3, 3, 5, 4]
    pools = Pools(np.array([0, 3, 5]), np.array([4, 7, 2, 1, 0], dtype=np.int32), features)
    pools = Pools(pools.offsets, np.array([2, 4, 7, 0, 1], dtype=np.int32), features)
    listed = rank_pools(pools, weights_of({"taste": 1.0}), 4)
    assert listed.tolist() == [[4, 7, 2, -1], [0, 1, -1, -1]]
    figures = pool_ndcg(pools, np.array([0, 1, 1]), np.array([7], dtype=np.int32), weights_of({"taste": 1.0}), 4)
    assert figures[0] == pytest.approx(1 / np.log2(3))
    assert np.isnan(figures[1])
