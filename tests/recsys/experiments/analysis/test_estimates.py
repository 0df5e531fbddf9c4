import math
from dataclasses import replace

import numpy as np
import pytest
import tea_tasting as tt
from scipy import stats
from tea_tasting.aggr import Aggregates

from data.errors import SumsTooSmall
from recsys.experiments.analysis.estimates import Difference, difference
from recsys.experiments.analysis.intervals import fixed_critical, fixed_p, interval
from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.definition.metric_definitions import Metric, MetricKind

BUYS = Metric("conversion", MetricKind.PROPORTION, "bought", centre=0.1)
SPENT = Metric("revenue", MetricKind.MEAN, "spent", cap=1e4, centre=3.0)
CUPED = replace(SPENT, covariate="before", covariate_cap=1e4, covariate_centre=1.0)
RATIO = Metric("per_visit", MetricKind.RATIO, "spent", denominator="visits", cap=1e4, centre=3.0, denominator_cap=1e3)
RATIO_CUPED = replace(RATIO, covariate="before", covariate_cap=1e4, covariate_centre=1.0)
ALL = (BUYS, CUPED, RATIO_CUPED)


def rows(n: int, lift: float, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    before = rng.gamma(0.5, 20.0, n)
    visits = 1.0 + rng.poisson(2.0, n)
    bought = (rng.random(n) < 0.2).astype(float)
    return {"before": before, "visits": visits, "bought": bought, "spent": bought * before * lift + rng.gamma(1, 2, n)}


CONTROL, TREATMENT = rows(900, 1.0, 1), rows(1100, 1.2, 2)
SUMS = [ArmSums.from_rows(values, ALL) for values in (CONTROL, TREATMENT)]


def aggregates(sums: ArmSums) -> Aggregates:
    """The same sums as tea-tasting has them."""
    names = ["before", "spent", "visits"]
    pairs = [(x, y) for x, y in sums.products if x != y]
    return Aggregates(
        int(sums.n),
        {x: sums.mean(x) for x in [*names, "bought"]},
        {x: sums.var(x) for x in [*names, "bought"]},
        {p: sums.cov(*p) for p in pairs},
    )


@pytest.mark.parametrize(
    ("metric", "theirs"),
    [
        (BUYS, tt.Mean("bought")),
        (SPENT, tt.Mean("spent")),
        (CUPED, tt.Mean("spent", "before")),
        (RATIO, tt.RatioOfMeans("spent", "visits")),
        (RATIO_CUPED, tt.RatioOfMeans("spent", "visits", "before")),
    ],
    ids=["proportion", "mean", "cuped", "ratio", "ratio with cuped"],
)
def test_effect_interval_and_p_agree_with_tea_tasting_from_the_same_sums(metric, theirs):
    ours = difference(metric, *SUMS)
    bounds = interval(ours, fixed_critical(0.05))
    oracle = theirs.analyze_aggregates(*(aggregates(sums) for sums in SUMS))
    assert ours.control == pytest.approx(oracle.control, rel=1e-9)
    assert ours.treatment == pytest.approx(oracle.treatment, rel=1e-9)
    assert ours.effect == pytest.approx(oracle.effect_size, rel=1e-9)
    assert ours.relative == pytest.approx(oracle.rel_effect_size, rel=1e-9)
    assert (bounds.low, bounds.high) == pytest.approx(
        (oracle.effect_size_ci_lower, oracle.effect_size_ci_upper), rel=1e-9
    )
    assert ours.z == pytest.approx(oracle.statistic, rel=1e-9)
    assert fixed_p(ours) == pytest.approx(oracle.pvalue, rel=1e-9)


def test_a_mean_is_welchs_test_of_the_rows():
    oracle = stats.ttest_ind(TREATMENT["spent"], CONTROL["spent"], equal_var=False)
    ours = difference(SPENT, *SUMS)
    assert ours.df == pytest.approx(oracle.df, rel=1e-9)
    assert fixed_p(ours) == pytest.approx(oracle.pvalue, rel=1e-9)
    low, high = oracle.confidence_interval(0.9)
    assert interval(ours, fixed_critical(0.1)).low == pytest.approx(low, rel=1e-9)
    assert interval(ours, fixed_critical(0.1)).high == pytest.approx(high, rel=1e-9)


def test_cuped_is_the_regression_on_the_covariate():
    """The adjusted effect is the difference of residuals of one regression over both arms (Deng et al. 2013)."""
    before = np.concatenate([CONTROL["before"], TREATMENT["before"]])
    spent = np.concatenate([CONTROL["spent"], TREATMENT["spent"]])
    slope = stats.linregress(before, spent).slope
    ours = difference(CUPED, *SUMS)
    assert ours.coefficient == pytest.approx(slope, rel=1e-9)
    residuals = [values["spent"] - slope * values["before"] for values in (CONTROL, TREATMENT)]
    assert ours.effect == pytest.approx(residuals[1].mean() - residuals[0].mean(), rel=1e-9)
    assert ours.variance == pytest.approx(sum(r.var(ddof=1) / len(r) for r in residuals), rel=1e-9)
    assert 0.1 < ours.reduction < 0.6


def test_noise_widens_the_variance_as_it_scatters_the_effect():
    """2,000 draws of noise on the same sums: the scatter of the effect is what the variance says noise added."""
    rng = np.random.default_rng(3)
    sigma = 60.0
    for metric in (BUYS, SPENT, RATIO):
        exact = [ArmSums.from_rows(values, [metric]) for values in (CONTROL, TREATMENT)]
        drawn = [difference(metric, *(noised(sums, sigma / 4, rng) for sums in exact)) for _ in range(2000)]
        added = [d.variance - d.sampling_variance for d in drawn]
        # a variance of 2,000 draws is known to ± 3.2 %
        assert np.mean(added) == pytest.approx(np.var([d.effect for d in drawn]), rel=0.13)
        assert np.mean([d.effect for d in drawn]) == pytest.approx(
            difference(metric, *exact).effect, abs=4 * math.sqrt(np.mean(added) / 2000) + 1e-3
        )


def noised(sums: ArmSums, sigma: float, rng: np.random.Generator) -> ArmSums:
    """Noise of one scale on n and totals, of 3 scales on the products."""
    return replace(
        sums,
        n=sums.n + rng.normal(0, sigma),
        totals={x: t + rng.normal(0, sigma) for x, t in sums.totals.items()},
        products={p: t + rng.normal(0, 3 * sigma) for p, t in sums.products.items()},
        noise=SumsNoise(sigma**2, dict.fromkeys(sums.totals, sigma**2), dict.fromkeys(sums.products, 9 * sigma**2)),
    )


def test_scatter_is_the_variance_of_the_sums_by_shopper():
    made = Difference(1.0, 2.0, 3e-4, 2e-4, 1e-4, 99.0, 0.0, 0.0, 1000.0, denominator=2.0)
    assert made.scatter == pytest.approx(1000 * 3e-4 * 4)
    assert difference(RATIO, *SUMS).denominator == pytest.approx(
        np.concatenate([CONTROL["visits"], TREATMENT["visits"]]).mean()
    )
    assert difference(SPENT, *SUMS).denominator == 1.0


def test_a_covariate_without_variance_is_not_used():
    flat = [values | {"before": np.full(len(values["spent"]), 2.0)} for values in (CONTROL, TREATMENT)]
    sums = [ArmSums.from_rows(values, [CUPED]) for values in flat]
    plain = [ArmSums.from_rows(values, [SPENT]) for values in flat]
    ours = difference(CUPED, *sums)
    assert ours.coefficient == 0.0
    assert ours.reduction == 0.0
    assert ours.effect == pytest.approx(difference(SPENT, *plain).effect)


@pytest.mark.parametrize("metric", [SPENT, RATIO, BUYS], ids=["mean", "ratio", "proportion"])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_relative_bounds_are_fiellers_of_the_same_test(metric, alpha):
    """At each bound the difference treatment − ρ·control is exactly the critical value from 0."""
    ours = difference(metric, *SUMS)
    bounds = interval(ours, fixed_critical(alpha))
    reach = stats.t.isf(alpha / 2, ours.df)
    for bound in (bounds.relative_low, bounds.relative_high):
        rho = 1.0 + bound
        error = math.sqrt(ours.variance - ours.control_variance + rho**2 * ours.control_variance)
        assert abs(ours.treatment - rho * ours.control) == pytest.approx(reach * error, rel=1e-9)
    assert bounds.relative_low < ours.relative < bounds.relative_high
    assert (bounds.low > 0) == (bounds.relative_low > 0)


def test_the_relative_interval_of_two_proportions_is_that_of_their_counts():
    """By hand: 40 of 100 against 30 of 100, reach 1.96 and n − 1 = 99 in both variances."""
    arms = [ArmSums.from_rows({"bought": np.repeat([1.0, 0.0], [k, 100 - k])}, [BUYS]) for k in (30, 40)]
    ours = replace(difference(BUYS, *arms), df=1e12)
    v_c, v_t = 0.3 * 0.7 / 99, 0.4 * 0.6 / 99
    a, b, c = 0.09 - 3.8416 * v_c, 0.12, 0.16 - 3.8416 * v_t
    root = math.sqrt(b * b - a * c)
    bounds = interval(ours, 1.96)
    assert bounds.relative_low == pytest.approx((b - root) / a - 1, rel=1e-6)
    assert bounds.relative_high == pytest.approx((b + root) / a - 1, rel=1e-6)


def test_shoppers_of_one_value_say_nothing_in_both_arms_and_something_in_one():
    flat, spread = (np.zeros(3000), np.arange(3000.0))
    nobody = ArmSums.from_rows({"spent": flat}, [SPENT])
    with pytest.raises(SumsTooSmall, match="all shoppers have one value"):
        difference(SPENT, nobody, nobody)
    made = difference(SPENT, ArmSums.from_rows({"spent": spread}, [SPENT]), nobody)
    # nobody of 3,000 may be 1 in 1,000, each at the cap: Bhatia and Davis's bound, by hand
    assert made.variance - made.control_variance == pytest.approx(10.0 * (1e4 - 10.0) / 3000, rel=1e-9)
    assert made.z < -10


def test_a_proportion_at_its_edge_scatters_as_three_of_n_would():
    edge = ArmSums.from_rows({"bought": np.zeros(3000)}, [BUYS])
    some = ArmSums.from_rows({"bought": np.repeat([1.0, 0.0], [60, 2940])}, [BUYS])
    everybody = ArmSums.from_rows({"bought": np.ones(3000)}, [BUYS])
    for arm in (edge, everybody):
        made = difference(BUYS, some, arm)
        assert made.variance - made.control_variance == pytest.approx(0.001 * 0.999 / 3000, rel=1e-9)


@pytest.mark.parametrize(("buyers", "p"), [(4, 0.125), (5, 0.0625), (6, 0.03125), (7, 0.015625), (9, 0.00390625)])
def test_few_buyers_against_none_are_no_more_than_fishers_exact_test_says(buyers, p):
    """Of k buyers all in one of two equal arms the exact p is 2^(1 − k)."""
    none = ArmSums.from_rows({"bought": np.zeros(20_000)}, [BUYS])
    some = ArmSums.from_rows({"bought": np.repeat([1.0, 0.0], [buyers, 20_000 - buyers])}, [BUYS])
    assert (fixed_p(difference(BUYS, none, some)) <= 0.05) == (p <= 0.05)


def test_noise_that_hides_a_variance_leaves_the_largest_that_the_caps_allow():
    sums = [ArmSums.from_rows(values, [SPENT]) for values in (CONTROL, TREATMENT)]
    hidden = [
        replace(
            one,
            products={("spent", "spent"): -1e6},
            noise=SumsNoise(4.0, {"spent": 100.0**2}, {("spent", "spent"): 1e14}),
        )
        for one in sums
    ]
    made = difference(SPENT, *hidden)
    assert made.sampling_variance > difference(SPENT, *sums).sampling_variance
    assert made.variance > made.sampling_variance


def test_relative_bounds_are_nan_when_control_is_not_above_zero():
    sums = [None, ArmSums.from_rows({"spent": np.arange(3.0)}, [SPENT])]
    below = [replace(sums[1], totals={"spent": -20.0}, products={("spent", "spent"): 200.0}), sums[1]]
    made = interval(difference(SPENT, *below), 1.96)
    assert math.isnan(made.relative_low)
    assert made.low < made.high


def test_an_infinite_critical_value_bounds_nothing():
    bounds = interval(difference(SPENT, *SUMS), math.inf)
    assert (bounds.low, bounds.high, bounds.relative_low, bounds.relative_high) == (-math.inf, math.inf, -1.0, math.inf)


def variances(metric: Metric, control: dict[str, np.ndarray], treatment: dict[str, np.ndarray]) -> float:
    return difference(metric, *(ArmSums.from_rows(values, (metric,)) for values in (control, treatment))).variance


def test_an_arm_of_one_value_has_the_largest_variance_that_its_mean_and_cap_allow():
    """1,000 shoppers all have 4 of at most 10: the mean moves by 10·3/1,000 towards 5, and (10 − m)(m − 0) is left.

    With m = 4.03 that is 5² − .97² = 24.0591 a shopper.
    """
    metric = Metric("revenue", MetricKind.MEAN, "spent", cap=10.0)
    varied = np.tile([2.0, 8.0], 500)
    own = float(np.var(varied, ddof=1)) / 1_000
    found = variances(metric, {"spent": varied}, {"spent": np.full(1_000, 4.0)})
    assert found == pytest.approx(own + 24.0591 / 1_000, rel=1e-9)


def test_a_ratio_of_constants_has_that_of_its_parts():
    """Numerators all 4 of at most 10 and denominators all 2 of at most 3: 10·(4.03/2)·3/2² a shopper."""
    metric = Metric("per", MetricKind.RATIO, "spent", denominator="visits", cap=10.0, denominator_cap=3.0)
    rng = np.random.default_rng(4)
    varied = {"spent": rng.random(1_000) * 8, "visits": 1.0 + rng.random(1_000)}
    constant = {"spent": np.full(1_000, 4.0), "visits": np.full(1_000, 2.0)}
    linear = varied["spent"] / varied["visits"].mean()
    linear = linear - varied["spent"].mean() / varied["visits"].mean() ** 2 * varied["visits"]
    own = float(np.var(linear, ddof=1)) / 1_000
    assert variances(metric, varied, constant) == pytest.approx(own + 10 * (4.03 / 2) * 3 / 4 / 1_000, rel=1e-9)


def test_a_rare_proportion_scatters_at_least_as_one_of_three_in_n():
    """One buyer of 10,000 says no more than that the rate is below 3/10,000: its own p(1 − p)/n would be a third."""
    metric = Metric("conversion", MetricKind.PROPORTION, "bought")
    rare, usual = np.zeros(10_000), np.zeros(10_000)
    rare[0], usual[:500] = 1.0, 1.0
    least = 3e-4 * (1 - 3e-4) / 10_000
    found = variances(metric, {"bought": usual}, {"bought": rare})
    assert found == pytest.approx(float(np.var(usual, ddof=1)) / 10_000 + least, rel=1e-9)
