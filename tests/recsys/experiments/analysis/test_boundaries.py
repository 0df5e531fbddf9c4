import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from data.errors import DataError
from recsys.experiments.analysis.boundaries import critical_values, crossing, stagewise

# Jennison and Turnbull (2000), tables 2.1 and 2.3: constants of two-sided tests of K equal steps, alpha = 0.05.
POCOCK = {
    1: 1.960,
    2: 2.178,
    3: 2.289,
    4: 2.361,
    5: 2.413,
    6: 2.453,
    7: 2.485,
    8: 2.512,
    9: 2.535,
    10: 2.555,
    20: 2.672,
}
OBRIEN_FLEMING = {
    1: 1.960, 2: 1.977, 3: 2.004, 4: 2.024, 5: 2.040, 6: 2.053, 7: 2.063, 8: 2.072, 9: 2.080, 10: 2.087, 20: 2.126,
}  # fmt: skip


def constant(looks: int, shape: float, alpha: float = 0.05) -> float:
    """The c for which c·(K/k)^shape are crossed with probability alpha: 0 is Pocock, 1/2 O'Brien-Fleming."""
    times = np.arange(1, looks + 1) / looks

    def excess(c: float) -> float:
        return float(np.sum(crossing(times, c * times**-shape))) - alpha

    return optimize.brentq(excess, 1.5, 4.0, xtol=1e-9)


@pytest.mark.parametrize(("looks", "published"), POCOCK.items())
def test_pocock_constants_are_as_published(looks, published):
    assert constant(looks, 0.0) == pytest.approx(published, abs=5.1e-4)


@pytest.mark.parametrize(("looks", "published"), OBRIEN_FLEMING.items())
def test_obrien_fleming_constants_are_as_published(looks, published):
    assert constant(looks, 0.5) == pytest.approx(published, abs=5.1e-4)


@pytest.mark.parametrize(
    ("looks", "shape", "published"),
    # Jennison and Turnbull (2000), tables 2.2 and 2.4: most shoppers over those of a fixed test, alpha 0.05, power 0.8
    [(2, 0.0, 1.110), (5, 0.0, 1.229), (10, 0.0, 1.301), (2, 0.5, 1.008), (5, 0.5, 1.028), (10, 0.5, 1.040)],
)
def test_power_inflates_as_published(looks, shape, published):
    times = np.arange(1, looks + 1) / looks
    bounds = constant(looks, shape) * times**-shape
    drift = optimize.brentq(lambda tried: np.sum(crossing(times, bounds, tried)[0]) - 0.8, 2.0, 5.0)
    assert (drift / (stats.norm.isf(0.025) + stats.norm.isf(0.2))) ** 2 == pytest.approx(published, abs=6e-4)


def test_two_looks_agree_with_the_bivariate_normal():
    """An independent way for K = 2, unequal information and drift."""
    information, bounds, drift = [0.3, 1.0], [2.5, 2.0], 1.1
    rho = np.sqrt(0.3)
    mean = drift * np.sqrt(information)
    joint = stats.multivariate_normal(mean, [[1, rho], [rho, 1]])
    strip = joint.cdf([2.5, 40]) - joint.cdf([-2.5, 40])  # |Z_1| < 2.5
    below_two = joint.cdf([2.5, 2.0]) - joint.cdf([-2.5, 2.0])
    above, below = crossing(information, bounds, drift)
    assert above[0] == pytest.approx(stats.norm.sf(2.5 - mean[0]), rel=1e-12)
    assert below[0] == pytest.approx(stats.norm.cdf(-2.5 - mean[0]), rel=1e-12)
    assert above[1] == pytest.approx(strip - below_two, abs=1e-6)
    assert stagewise(information, bounds[:1], 2.0, drift) == pytest.approx(above.sum(), rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.004, 1.0), min_size=1, max_size=8), st.floats(0.001, 0.2))
def test_bounds_spend_exactly_what_they_may(gaps, alpha):
    information = np.cumsum(gaps)
    spend = np.full(len(gaps), alpha / 2 / len(gaps))
    above, below = crossing(information, critical_values(information, spend))
    np.testing.assert_allclose(above, spend, rtol=1e-8)
    np.testing.assert_allclose(below, spend, rtol=1e-8)


@given(st.floats(0.01, 100.0))
@settings(max_examples=10, deadline=None)
def test_the_unit_of_information_does_not_matter(unit):
    information, spend = np.array([0.2, 0.5, 1.0]), [0.001, 0.004, 0.02]
    np.testing.assert_allclose(
        critical_values(information * unit, spend), critical_values(information, spend), rtol=1e-9
    )


def test_all_mass_goes_somewhere():
    """Leaving within a last look without inside, above or below, has probability 1."""
    above, below = crossing([0.1, 0.4, 0.45, 1.0], [3.0, 2.5, 2.2, 0.0], 0.7)
    assert above.sum() + below.sum() == pytest.approx(1.0, abs=1e-12)


def test_a_look_that_may_spend_nothing_cannot_reject():
    bounds = critical_values([0.1, 1.0], [0.0, 0.025])
    assert np.isinf(bounds[0])
    assert bounds[1] == pytest.approx(stats.norm.isf(0.025), abs=1e-10)


def test_information_that_does_not_grow_is_refused():
    for information in ([0.5, 0.5], [0.5, 0.4], [0.0, 1.0], [0.5, 0.50001]):
        with pytest.raises(DataError, match=r"must grow by 0.1% or more a look"):
            critical_values(information, [0.01, 0.01])
