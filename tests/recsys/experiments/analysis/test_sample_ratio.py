import math

import numpy as np
import pytest
from scipy import integrate, stats

from data.errors import DataError
from recsys.experiments.analysis.sample_ratio import dirichlet_log_e, gaussian_log_e, sample_ratio

HALF = np.array([0.5, 0.5])


def test_the_bayes_factor_is_the_integral_over_the_mixture():
    """Two arms, 30 and 20 of 50, Beta(5, 5): ∫ (q/.5)³⁰((1 − q)/.5)²⁰ dBeta(q)."""

    def weighted(q: float) -> float:
        return (q / 0.5) ** 30 * ((1 - q) / 0.5) ** 20 * stats.beta.pdf(q, 5, 5)

    mixed = integrate.quad(weighted, 0, 1)[0]
    assert dirichlet_log_e(np.array([30.0, 20.0]), HALF, c=10.0) == pytest.approx(math.log(mixed), rel=1e-9)


def test_a_fair_split_is_not_reported_however_often_it_is_looked_at():
    """2,000 experiments of 20,000 shoppers looked at 200 times: at most one in a thousand alarms (χ² about 2 %)."""
    rng = np.random.default_rng(1)
    first = np.cumsum(rng.binomial(100, 0.5, (2000, 200)), axis=1)
    total = 100 * np.arange(1, 201)
    alarms = (dirichlet_log_e(np.stack([first, total - first], axis=-1), HALF) >= math.log(1000)).any(axis=1)
    assert alarms.mean() <= 0.001


def test_52_of_100_is_found_by_20000_shoppers_in_nine_of_ten():
    rng = np.random.default_rng(2)
    first = np.cumsum(rng.binomial(1000, 0.52, (2000, 20)), axis=1)
    total = 1000 * np.arange(1, 21)
    found = (dirichlet_log_e(np.stack([first, total - first], axis=-1), HALF) >= math.log(1000)).any(axis=1)
    assert found.mean() >= 0.90


def test_noisy_counts_agree_with_exact_ones_when_there_is_little_noise():
    for counts, shares in (([5200.0, 4800.0], HALF), ([3000.0, 3100.0, 4200.0], np.array([0.3, 0.3, 0.4]))):
        exact = dirichlet_log_e(np.array(counts), shares)
        assert gaussian_log_e(np.array(counts), shares, np.full(len(counts), 1e-6)) == pytest.approx(exact, rel=0.02)


def test_noise_is_not_taken_for_a_mismatch():
    rng = np.random.default_rng(3)
    shares, sigma = np.array([0.2, 0.3, 0.5]), 300.0
    steps = rng.multinomial(2000, shares, (400, 10)) + rng.normal(0, sigma, (400, 10, 3))
    counts = np.cumsum(steps, axis=1)
    alarms = deaf = 0
    for walk in counts:
        looks = [dict(zip("abc", map(float, row), strict=True)) for row in walk]
        noise = [dict.fromkeys("abc", sigma**2 * (k + 1)) for k in range(10)]
        alarms += sample_ratio(looks, {"a": 2, "b": 3, "c": 5}, noise).mismatch
        deaf += gaussian_log_e(walk[-1], shares, np.zeros(3)) > math.log(1000)
    assert alarms == 0
    assert deaf > 40  # the same counts taken for exact: noise would be reported


def test_an_alarm_stays_and_says_what_was_expected():
    looks = [{"a": 700.0, "b": 300.0}, {"a": 1000.0, "b": 1000.0}]
    made = sample_ratio(looks, {"a": 1, "b": 1})
    assert made.mismatch
    assert made.p_value < 1e-6
    assert made.expected == {"a": 1000.0, "b": 1000.0}
    assert not sample_ratio(looks[1:], {"a": 1, "b": 1}).mismatch
    assert sample_ratio([{"a": 0.0, "b": 0.0}], {"a": 1, "b": 1}).p_value == 1.0


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="must be 2 or more"):
        sample_ratio([{"a": 1.0}], {"a": 1.0})
    with pytest.raises(DataError, match="must have the arms a, b"):
        sample_ratio([{"a": 1.0}], {"a": 1.0, "b": 1.0})
