"""The gradient is the loss's own; the mid Hessian is a covariance; Newton finds the minimum and keeps to the prior."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.learning.mix_sum import GRADIENT_CLIP, HESSIAN_CLIP, STEPS
from recsys.mix.features import FEATURES, N_FEATURES
from recsys.mix.fit import StepSums, clip_scale, newton, newton_step
from recsys.mix.loss import loss_parts
from recsys.mix.pools import Pools


def random_pools(seed: int, n: int = 5, size: int = 9) -> tuple[Pools, np.ndarray]:
    rng = np.random.default_rng(seed)
    offsets = np.arange(n + 1) * size
    features = rng.normal(0, 1, (n * size, N_FEATURES)).astype(np.float32)
    positive = rng.random(n * size) < 0.3
    return Pools(offsets, np.tile(np.arange(size, dtype=np.int32), n), features), positive


def loss_by_hand(X: np.ndarray, positive: np.ndarray, w: np.ndarray) -> float:
    """−1/|P| Σ_p log(e^(w·x_p) / (e^(w·x_p) + Σ_n e^(w·x_n))), in plain words."""
    height = np.exp(X @ w)
    others = height[~positive].sum()
    return float(np.mean([-np.log(height[p] / (height[p] + others)) for p in np.flatnonzero(positive)]))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_loss_and_gradient_are_those_of_the_formula(seed):
    pools, positive = random_pools(seed)
    w = np.random.default_rng(seed + 1).normal(0, 0.5, N_FEATURES)
    parts = loss_parts(pools, positive, w)
    for device in range(len(pools)):
        inside = slice(pools.offsets[device], pools.offsets[device + 1])
        X, mine = pools.features[inside].astype(np.float64), positive[inside]
        if not mine.any() or mine.all():
            assert not parts.counted[device]
            assert not parts.gradient[device].any()
            continue
        assert parts.loss[device] == pytest.approx(loss_by_hand(X, mine, w))
        for column in range(0, N_FEATURES, 5):
            step = np.zeros(N_FEATURES)
            step[column] = 1e-5
            slope = (loss_by_hand(X, mine, w + step) - loss_by_hand(X, mine, w - step)) / 2e-5
            assert parts.gradient[device][column] == pytest.approx(slope, abs=1e-6)
        assert np.linalg.eigvalsh(parts.hessian[device]).min() > -1e-9


def test_two_items_by_hand():
    """x = 1 for the positive, 0 for the other, w = 0: q = ½ each, so loss log 2, gradient ½ − 1 = −½.

    mid = (½ + 1)/2 = ¾ on the positive: variance ¾·¼ = 3/16.
    """
    features = np.zeros((2, N_FEATURES), dtype=np.float32)
    features[0, 0] = 1.0
    pools = Pools(np.array([0, 2]), np.array([0, 1], dtype=np.int32), features)
    parts = loss_parts(pools, np.array([True, False]), np.zeros(N_FEATURES))
    assert parts.loss[0] == pytest.approx(np.log(2))
    assert parts.gradient[0][0] == pytest.approx(-0.5)
    assert parts.hessian[0][0, 0] == pytest.approx(3 / 16)


def test_newton_finds_the_minimum():
    pools, positive = random_pools(2, n=400)
    prior = np.zeros(N_FEATURES)

    def sums(step, w):
        parts = loss_parts(pools, positive, w)
        return StepSums(len(pools), parts.gradient.sum(axis=0), parts.hessian.sum(axis=0))

    w = newton(sums, prior, steps=40)
    left = loss_parts(pools, positive, w).gradient.sum(axis=0) + 0.005 * len(pools) * w
    assert np.abs(left).max() < 1e-4
    five = newton(sums, prior, steps=STEPS)
    assert loss_parts(pools, positive, five).loss.mean() < loss_parts(pools, positive, prior).loss.mean()


def test_what_no_device_says_anything_of_stays_at_the_prior():
    prior = np.arange(N_FEATURES, dtype=np.float64)
    quiet = StepSums(50.0, np.zeros(N_FEATURES), np.zeros((N_FEATURES, N_FEATURES)))
    np.testing.assert_allclose(newton(lambda *_: quiet, prior, steps=STEPS), prior)
    nobody = StepSums(0.0, np.ones(N_FEATURES), np.eye(N_FEATURES))
    np.testing.assert_array_equal(newton_step(prior, nobody, prior), prior)


def test_noise_in_the_hessian_cannot_make_a_step_large():
    """With eigenvalues floored at 2·s·√F a step is at most |gradient| / floor, whatever the noise made of them."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 10.0, (N_FEATURES, N_FEATURES))
    gradient = rng.normal(0, 10.0, N_FEATURES)
    sums = StepSums(100.0, gradient, (noise + noise.T) / 2, hessian_noise=10.0)
    step = newton_step(np.zeros(N_FEATURES), sums, np.zeros(N_FEATURES))
    assert np.linalg.norm(step) <= np.linalg.norm(gradient) / (2 * 10.0 * np.sqrt(N_FEATURES))
    wild = newton_step(np.zeros(N_FEATURES), StepSums(100.0, gradient, sums.hessian), np.zeros(N_FEATURES))
    assert np.linalg.norm(wild) > 5 * np.linalg.norm(step)


def test_one_weight_keeps_both_parts_of_a_device_within_their_clips():
    pools, positive = random_pools(4, n=50, size=40)
    pools = Pools(pools.offsets, pools.item_idx, pools.features * np.float32(3))
    parts = loss_parts(pools, positive, np.zeros(N_FEATURES))
    scale = clip_scale(parts.gradient, parts.hessian, GRADIENT_CLIP, HESSIAN_CLIP)
    assert (np.linalg.norm(parts.gradient, axis=1) * scale <= GRADIENT_CLIP + 1e-9).all()
    assert (np.linalg.norm(parts.hessian, axis=(1, 2)) * scale <= HESSIAN_CLIP + 1e-9).all()
    assert (scale < 1).any()


def test_every_feature_belongs_to_one_signal():
    from recsys.mix.features import SIGNALS

    assert sorted(name for features in SIGNALS.values() for name in features) == sorted(FEATURES)
