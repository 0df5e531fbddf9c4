import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, chisquare

from federation.private_sum import noise
from federation.private_sum.noise import discrete_gaussian
from federation.private_sum.randomness import secure_bytes, seeded_bytes

ALPHA = 1e-6
"""False alarms of each test below; against 2/3 σ and 3/2 σ each has a power of practically one."""


def probabilities(sigma: float, values: np.ndarray) -> np.ndarray:
    support = np.arange(-20 * math.ceil(sigma), 20 * math.ceil(sigma) + 1)
    return np.exp(-(values**2) / (2 * sigma**2)) / np.exp(-(support**2) / (2 * sigma**2)).sum()


def chi2_p(draws: np.ndarray, sigma: float) -> float:
    """P-value of draws against the discrete Gaussian of scale sigma, each value within ±2.5 sigma a cell of its own."""
    reach = math.ceil(2.5 * sigma)
    inner = np.arange(-reach, reach + 1)
    p = probabilities(sigma, inner)
    inside = draws[np.abs(draws) <= reach] + reach
    observed = np.append(np.bincount(inside, minlength=len(inner)), len(draws) - len(inside))
    return float(chisquare(observed, len(draws) * np.append(p, 1 - p.sum())).pvalue)


def variance_p(draws: np.ndarray, sigma: float) -> float:
    """Two-sided p-value of the sum of squares, for sigma where the discrete Gaussian is normal to 1e-9 and more."""
    tail = chi2.cdf(float((draws.astype(float) ** 2).sum()) / sigma**2, df=len(draws))
    return 2 * min(tail, 1 - tail)


@pytest.mark.parametrize("sigma", [1, 2, 3, 10])
def test_every_value_is_as_frequent_as_the_definition_says(sigma):
    draws = discrete_gaussian(sigma, 200_000, secure_bytes())
    assert chi2_p(draws, sigma) > ALPHA
    assert chi2_p(draws, sigma * 2 / 3) < ALPHA
    assert chi2_p(draws, sigma * 3 / 2) < ALPHA


@pytest.mark.parametrize("sigma", [30, 65_536, 10**8])
def test_variance_is_that_of_sigma_and_not_of_two_thirds_or_three_halves(sigma):
    draws = discrete_gaussian(sigma, 50_000, secure_bytes())
    assert variance_p(draws, sigma) > ALPHA
    assert variance_p(draws, sigma * 2 / 3) < ALPHA
    assert variance_p(draws, sigma * 3 / 2) < ALPHA
    assert abs(draws.mean()) < 6 * sigma / math.sqrt(len(draws))


def test_tails_are_as_heavy_as_they_should_be():
    # P(|X| > 3σ) = .0027: 540 of 200,000, standard deviation 23.
    draws = discrete_gaussian(1000, 200_000, secure_bytes())
    beyond = int((np.abs(draws) > 3000).sum())
    assert abs(beyond - 0.0026998 * 200_000) < 6 * 23.2


@settings(max_examples=30, deadline=None)
@given(sigma=st.integers(1, 2**28), seed=st.integers(0, 2**32), doubt=st.sampled_from([1e-3, 1e-2, 0.3, 1.0]))
def test_exact_decisions_agree_with_those_taken_from_floats(sigma, seed, doubt):
    """The decimal path re-decides from the same first 53 bits: another answer would show a float error."""
    fast = discrete_gaussian(sigma, 40, seeded_bytes(np.random.default_rng(seed)))
    exact = discrete_gaussian(sigma, 40, seeded_bytes(np.random.default_rng(seed)), doubt=doubt)
    np.testing.assert_array_equal(fast, exact)


@pytest.mark.parametrize("first", [b"\0" * 8, b"\xff" * 8])
def test_the_ends_of_the_unit_interval_are_settled_by_further_bits(first):
    """U below 2**-53 or above 1 − 2**-53 leaves ⌊−t·ln U⌋ open; the draw goes on and ends."""
    rest = seeded_bytes(np.random.default_rng(0))
    started = []

    def stream(n: int) -> bytes:
        data = rest(n)
        if not started:
            started.append(True)
            data = first + data[8:]
        return data

    draws = discrete_gaussian(5, 100, stream)
    assert len(draws) == 100
    assert np.abs(draws).max() < 50


def test_sigma_zero_is_no_noise_and_a_negative_one_is_refused():
    assert discrete_gaussian(0, 3, secure_bytes()).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="must be 0 or more"):
        discrete_gaussian(-1, 3, secure_bytes())


def test_draws_are_fresh():
    one, other = (discrete_gaussian(1000, 100, secure_bytes()) for _ in range(2))
    assert (one != other).any()


@pytest.mark.parametrize("gamma", [Fraction(1, 3), Fraction(7, 2), Fraction(20)])
@pytest.mark.parametrize(("further", "below"), [(b"\0" * 8, True), (b"\xff" * 8, False)])
def test_where_the_first_bits_leave_a_decision_open_the_next_ones_settle_it(gamma, further, below):
    """U shares its first 53 bits with exp(−γ): with zeros behind it lies below, with ones above."""
    with localcontext() as context:
        context.prec = 60
        power = (-Decimal(gamma.numerator) / Decimal(gamma.denominator)).exp()
        top = int(power * 2**53)
        assert Fraction(top, 2**53) < Fraction(power) < Fraction(top + 1, 2**53)
    drawn = []

    def stream(n: int) -> bytes:
        drawn.append(n)
        return further[:n]

    assert noise._below_exp(top, gamma, stream) is below
    assert drawn == [8]
    for near, answer in ((top - 1, True), (top + 1, False)):  # decided by the first bits alone
        assert noise._below_exp(near, gamma, lambda n: pytest.fail("no further bits are needed")) is answer


def test_the_error_granted_to_floats_is_more_than_they_make():
    rng = np.random.default_rng(0)
    gamma = rng.gamma(1.0, 2.0, 2_000)
    made = np.exp(-gamma)
    with localcontext() as context:
        context.prec = 40
        exact = [(-Decimal(float(value))).exp() for value in gamma]
        off = max(abs(Decimal(float(got)) - true) for got, true in zip(made, exact, strict=True))
    assert 0 < off < Decimal(noise.ULPS)
    assert noise.ULPS < 1e-13  # and no more than a decision in 10¹² is settled slowly for it
