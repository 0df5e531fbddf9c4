import math

import numpy as np
import pytest
from scipy import integrate, stats

from data.errors import DataError
from recsys.experiments.analysis.always_valid import anytime_critical, anytime_p, e_value, mixture_scale


def test_the_interval_is_that_of_the_paper():
    """μ̂ ± σ̂·√(2(tρ² + 1)/(t²ρ²)·ln(√(tρ² + 1)/α)), Waudby-Smith et al. 2024, theorem 2.2, at t = 100, ρ = .5."""
    published = math.sqrt(2 * (100 * 0.25 + 1) / (100**2 * 0.25) * math.log(math.sqrt(100 * 0.25 + 1) / 0.05))
    assert anytime_critical(0.05, 100.0, 0.25) / math.sqrt(100.0) == pytest.approx(published, rel=1e-12)


def test_the_e_value_is_a_mixture_of_likelihood_ratios():
    """∫ exp(λS − λ²t/2) dN(λ; 0, ρ²) with S = z·√t."""
    z, t, scale = 2.3, 50.0, 0.04

    def weighted(slope: float) -> float:
        return math.exp(slope * z * math.sqrt(t) - slope**2 * t / 2) * stats.norm.pdf(slope, scale=0.2)

    mixed = integrate.quad(weighted, -3, 3, epsabs=1e-12, points=[0.0, 0.3])[0]
    assert e_value(z, t, scale) == pytest.approx(mixed, rel=1e-9)


def test_the_e_value_reaches_one_over_alpha_where_the_interval_leaves_zero():
    for clock in (10.0, 1e3, 1e6):
        critical = anytime_critical(0.01, clock, 1e-3)
        assert e_value(critical, clock, 1e-3) == pytest.approx(100.0, rel=1e-9)
    assert e_value(1e3, 1e6, 1e-3) > 1e300


def test_the_scale_makes_intervals_nearly_narrowest_at_the_planned_time():
    best = anytime_critical(0.05, 1e4, mixture_scale(0.05, 1e4))
    others = [anytime_critical(0.05, 1e4, scale) for scale in mixture_scale(0.05, 1e4) * np.geomspace(0.1, 10, 41)]
    assert best < 1.001 * min(others)
    assert 2.9 < best < 3.1


def test_walks_without_drift_leave_the_sequence_in_less_than_5_of_100():
    rng = np.random.default_rng(0)
    walks = np.cumsum(rng.normal(size=(2000, 1000)), axis=1)
    t = np.arange(1, 1001)
    bound = np.array([anytime_critical(0.05, at, mixture_scale(0.05, 200)) for at in t])
    left = float((np.abs(walks) / np.sqrt(t) > bound).any(axis=1).mean())
    assert 0.005 < left < 0.05


def test_p_values_never_rise_again():
    assert anytime_p([]) == 1.0
    assert anytime_p([0.5]) == 1.0
    assert anytime_p([0.5, 40.0, 3.0]) == 1 / 40


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="shoppers=0"):
        mixture_scale(0.05, 0)
    with pytest.raises(DataError, match="alpha=1"):
        anytime_critical(1.0, 5.0, 1.0)
    with pytest.raises(DataError, match="clock=0"):
        anytime_critical(0.05, 0.0, 1.0)
