from dataclasses import replace

import numpy as np
import pytest

from recsys.experiments.analysis.covariate import coefficient_of, relative_error_squared
from recsys.experiments.analysis.estimates import difference
from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.definition.metric_definitions import Metric, MetricKind
from recsys.experiments.rehearsal.planning import spread
from tests.benchmarks.experiments_draws import drawn_noise

CUPED = Metric("m", MetricKind.MEAN, "x", cap=1e3, covariate="z", covariate_cap=1e3)
PLAIN = replace(CUPED, covariate=None)
CENTRED = replace(CUPED, centre=5.0, covariate_centre=4.0)


def sums_of(n: int, seed: int, metric: Metric = CUPED) -> ArmSums:
    rng = np.random.default_rng(seed)
    z = rng.gamma(2.0, 2.0, n)
    return ArmSums.from_rows({"z": z, "x": 0.8 * z + rng.gamma(2.0, 1.0, n)}, [metric])


def noise_of(total: float, product: float) -> SumsNoise:
    keys = ("x", "x"), ("x", "z"), ("z", "z")
    return SumsNoise(total, {"x": total, "z": total}, dict.fromkeys(keys, product))


def test_the_relative_error_by_hand():
    """1,001 shoppers, means at their centres 0, cov = 2, var = 4; noise of 500 in Σxz and of 1,000 in Σz².

    The coefficient's logarithm moves by 500/1000/2 and by 1000/1000/4: a quarter each, r² = 1/16 + 1/16.
    """
    sums = ArmSums(
        n=1_001.0,
        totals={"x": 0.0, "z": 0.0},
        products={("x", "x"): 9_000.0, ("x", "z"): 2_000.0, ("z", "z"): 4_000.0},
        noise=SumsNoise(0.0, {}, {("x", "z"): 500.0**2, ("z", "z"): 1_000.0**2}),
    )
    assert relative_error_squared({"x": 1.0}, "z", sums) == pytest.approx(1 / 8)
    assert relative_error_squared({"x": 7.0}, "z", sums) == pytest.approx(
        1 / 8
    )  # of the coefficient, whatever its unit
    halves = [replace(sums, n=500.5, products={k: v / 2 for k, v in sums.products.items()}, noise=SumsNoise(
        0.0, {}, {k: v / 2 for k, v in sums.noise.products.items()})) for _ in range(2)]  # fmt: skip
    assert coefficient_of({"x": 1.0}, "z", halves) == pytest.approx(0.5 * 7 / 8)
    assert relative_error_squared({"x": 1.0}, "z", replace(sums, noise=SumsNoise())) == 0.0


def test_noise_in_the_covariates_mean_shrinks_the_coefficient_by_hand():
    """Per arm var(z)/n = 4/500 and noise of z̄ of 2,000/500² = 4/500: half the coefficient has the least variance."""
    arm = ArmSums(
        n=500.0,
        totals={"x": 0.0, "z": 0.0},
        products={("x", "x"): 9 * 499.5, ("x", "z"): 2 * 499.5, ("z", "z"): 4 * 499.5},
        noise=SumsNoise(0.0, {"z": 2_000.0}),
    )
    pooled = 2 * 499.5 / 999 * 2, (4 * 2 * 499.5 + 4_000 / 1_000) / 999  # noise out of the square of Σz
    assert coefficient_of({"x": 1.0}, "z", [arm, arm]) == pytest.approx(2 / (pooled[1] + 4.0), rel=1e-6)


@pytest.mark.parametrize("metric", [CUPED, CENTRED])
def test_the_relative_error_is_that_of_many_draws_of_noise(metric):
    exact, rng = sums_of(2_000, 1, metric), np.random.default_rng(0)
    noise = noise_of(30.0**2, 400.0**2)

    def ratio(sums):
        return sums.cov("x", "z") / sums.cov("z", "z")

    drawn = [ratio(drawn_noise(exact, noise, rng)) for _ in range(4_000)]
    expected = relative_error_squared({"x": 1.0}, "z", replace(exact, noise=noise))
    assert np.var(drawn) / ratio(exact) ** 2 == pytest.approx(expected, rel=0.1)
    assert 0.001 < expected < 0.02


def test_where_noise_hides_the_coefficient_the_test_is_welchs_without_covariate():
    rng, noise = np.random.default_rng(1), noise_of(10.0**2, 20_000.0**2)
    hidden = 0
    for seed in range(20):
        arms = [drawn_noise(sums_of(500, 2 * seed + k), noise, rng) for k in range(2)]
        if min(arm.cov("x", "x") for arm in arms) <= 0:
            continue
        gradient = {"x": 1.0}
        if (
            arms[0].cov("z", "z") + arms[1].cov("z", "z") > 0
            and relative_error_squared(gradient, "z", arms[0] + arms[1]) < 1
        ):
            continue
        with_it, without = difference(CUPED, *arms), difference(PLAIN, *arms)
        assert (with_it.effect, with_it.variance, with_it.coefficient) == (without.effect, without.variance, 0.0)
        hidden += 1
    assert hidden > 5


@pytest.mark.parametrize("total", [10.0, 100.0, 300.0])
def test_a_covariate_never_costs_more_than_it_gains_and_gains_what_was_planned(total):
    """Scatter of the effect over draws of noise and of shoppers, with the covariate and without."""
    rng, noise = np.random.default_rng(2), replace(noise_of(total**2, 200.0**2), n=100.0)
    effects, widths = [], []
    for seed in range(300):
        arms = [drawn_noise(sums_of(1_000, 1_000 + 2 * seed + k, CENTRED), noise, rng) for k in range(2)]
        both = difference(CENTRED, *arms), difference(replace(CENTRED, covariate=None), *arms)
        effects.append([one.effect for one in both])
        widths.append([one.variance for one in both])
    with_it, without = np.mean(widths, axis=0)
    assert with_it < 1.01 * without
    assert np.var(effects, axis=0) == pytest.approx([with_it, without], rel=0.3)  # of 300 draws: ± 0.08 each
    planned = spread(CENTRED, sums_of(20_000, 0, CENTRED), noise)
    assert planned.standard_error(2_000) ** 2 == pytest.approx(with_it, rel=0.08)
    assert planned.without_covariate().standard_error(2_000) ** 2 == pytest.approx(without, rel=0.08)


def test_a_covariate_is_planned_for_as_its_regression_without_noise():
    log = sums_of(5_000, 3)
    made = spread(CUPED, log)
    assert made.covariate is not None
    assert made.standard_error(1_000) ** 2 == pytest.approx(4 * made.variance / 1_000)
    assert made.covariate.relative_error(10) == 0.0
    noisy = spread(CUPED, log, noise_of(0.0, 1e6)).covariate
    assert noisy is not None
    assert noisy.relative_error(2_000) == pytest.approx(2 * noisy.relative_error(4_000))


def test_a_covariate_that_leaves_no_variance_is_left_out():
    """Noise made Σx² too small for the coefficient: without it there is variance still, so Welch's test stands."""
    arm = ArmSums(
        n=1_000.0,
        totals={"x": 0.0, "z": 0.0},
        products={("x", "x"): 900.0, ("x", "z"): 2_000.0, ("z", "z"): 4_000.0},
        noise=SumsNoise(0.0, {}, {("x", "x"): 200.0**2}),
    )
    made = difference(CUPED, arm, arm)
    assert (made.coefficient, made.variance) == (0.0, difference(PLAIN, arm, arm).variance)
