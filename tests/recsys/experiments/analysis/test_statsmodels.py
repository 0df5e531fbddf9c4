"""statsmodels as an oracle: tests and intervals of two arms, power of one look, and corrections for many p-values."""

import numpy as np
import pytest
from statsmodels.regression.linear_model import OLS, WLS
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower, TTestIndPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_effectsize, test_proportions_2indep
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttest_ind

from recsys.evaluation.statistics import benjamini_hochberg, holm
from recsys.experiments.analysis.designs import Design
from recsys.experiments.analysis.estimates import difference
from recsys.experiments.analysis.intervals import fixed_critical, fixed_p, interval
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.rehearsal.planning import Spread, minimum_effect, power_of, shoppers_needed
from tests.recsys.experiments.analysis.test_estimates import BUYS, CONTROL, CUPED, RATIO, SPENT, SUMS, TREATMENT

test_proportions_2indep.__test__ = False  # a function of theirs, not a test of ours


def test_a_mean_has_the_interval_p_and_degrees_of_freedom_of_welch():
    ours = difference(SPENT, *SUMS)
    statistic, p, df = ttest_ind(TREATMENT["spent"], CONTROL["spent"], usevar="unequal")
    assert (ours.z, fixed_p(ours), ours.df) == pytest.approx((statistic, p, df), rel=1e-9)
    compared = CompareMeans(*(DescrStatsW(values["spent"]) for values in (TREATMENT, CONTROL)))
    for alpha in (0.1, 0.05, 0.001):
        bounds = interval(ours, fixed_critical(alpha))
        theirs = compared.tconfint_diff(alpha=alpha, usevar="unequal")
        assert (bounds.low, bounds.high) == pytest.approx(theirs, rel=1e-9)


def test_a_proportion_is_the_two_sample_z_test_but_for_students_tail_and_the_divisor():
    """Wald's unpooled z divides a variance by n; ours by n − 1, as a mean's, and its tail is Student's."""
    counts = [(values["bought"].sum(), len(values["bought"])) for values in (TREATMENT, CONTROL)]
    wald = test_proportions_2indep(*counts[0], *counts[1], method="wald", compare="diff")
    ours = difference(BUYS, *SUMS)
    exact = sum(p * (1 - p) / (n - 1) for p, n in ((count / n, n) for count, n in counts))
    assert ours.effect == pytest.approx(wald.diff, rel=1e-9)
    assert ours.variance == pytest.approx(exact, rel=1e-9)
    assert ours.z == pytest.approx(wald.statistic, rel=1 / 900)
    assert fixed_p(ours) == pytest.approx(wald.pvalue, abs=1e-3)
    bounds = interval(ours, fixed_critical(0.05))
    theirs = confint_proportions_2indep(*counts[0], *counts[1], method="wald", compare="diff")
    assert (bounds.low, bounds.high) == pytest.approx(theirs, abs=0.002 * (bounds.high - bounds.low))
    # theirs of the log of the ratio, ours Fieller's: the same to second order in the arms' standard errors
    log_wald = confint_proportions_2indep(*counts[0], *counts[1], method="log", compare="ratio")
    assert (1 + bounds.relative_low, 1 + bounds.relative_high) == pytest.approx(log_wald, rel=1e-2)


def test_cuped_has_the_effect_of_a_regression_with_the_covariate_to_second_order():
    """Least squares on arm and covariate: its slope is within the arms, ours pooled; the rest is one formula.

    So the effects differ by the slopes' difference times the covariates', which is small squared.
    """
    before = np.concatenate([values["before"] for values in (CONTROL, TREATMENT)])
    spent = np.concatenate([values["spent"] for values in (CONTROL, TREATMENT)])
    treated = np.repeat([0.0, 1.0], [len(CONTROL["spent"]), len(TREATMENT["spent"])])
    fit = OLS(spent, np.column_stack([np.ones_like(spent), treated, before])).fit(cov_type="HC2")
    ours = difference(CUPED, *SUMS)
    apart = TREATMENT["before"].mean() - CONTROL["before"].mean()
    assert ours.effect == pytest.approx(fit.params[1] + (fit.params[2] - ours.coefficient) * apart, rel=1e-9)
    assert ours.variance == pytest.approx(fit.bse[1] ** 2, rel=0.01)


def test_a_ratio_is_the_regression_through_the_origin_with_robust_errors():
    """Σ y/Σ x is least squares of y on x with weights 1/x; its HC1 error is the delta method's."""
    fits = [WLS(v["spent"], v["visits"], weights=1 / v["visits"]).fit(cov_type="HC1") for v in (CONTROL, TREATMENT)]
    ours = difference(RATIO, *SUMS)
    assert (ours.control, ours.treatment) == pytest.approx(tuple(float(fit.params[0]) for fit in fits), rel=1e-9)
    assert ours.variance == pytest.approx(sum(float(fit.bse[0]) ** 2 for fit in fits), rel=1e-9)


@pytest.mark.parametrize("ratio", [1.0, 2.5])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
def test_power_effect_and_shoppers_of_one_look_are_the_t_tests(ratio, alpha):
    """Equal variances: theirs are pooled. Welch's degrees of freedom are theirs where the arms are as large.

    Of unequal arms they are fewer, which costs a share of power that falls as 1/shoppers.
    """
    one, design, theirs = Spread(1.0, 4.0, 4.0), Design(alpha=alpha), TTestIndPower()
    for shoppers, effect in ((400, 0.5), (4000, 0.2)):
        control, tolerance = shoppers / (1 + ratio), 1e-7 if ratio == 1.0 else 6 / shoppers
        power = theirs.power(effect / 2.0, control, alpha, ratio=ratio)
        assert power_of(one, design, shoppers, effect, ratio) == pytest.approx(power, rel=tolerance)
        least = minimum_effect(one, design, shoppers, power=0.9, ratio=ratio)
        assert theirs.power(least / 2.0, control, alpha, ratio=ratio) == pytest.approx(0.9, rel=tolerance)
    needed = shoppers_needed(one, design, 0.2, ratio=ratio)
    power = theirs.power(0.1, needed / (1 + ratio), alpha, ratio=ratio)
    assert power == pytest.approx(0.8, rel=1e-7 if ratio == 1.0 else 1e-3)


def test_the_shoppers_a_conversion_needs_are_those_of_the_normal_test():
    """4 % → 4.4 %: theirs stabilizes the variance by the arcsine (Cohen 1988), ours takes the log's own variance."""
    cohen = proportion_effectsize(0.044, 0.04)
    needed = NormalIndPower().solve_power(effect_size=cohen, alpha=0.05, power=0.8) * 2
    between = Spread(0.04, (0.04 * 0.96 + 0.044 * 0.956) / 2, 0.0)
    assert shoppers_needed(between, Design(), 0.004) == pytest.approx(needed, rel=1e-3)
    normal = NormalIndPower().solve_power(effect_size=0.02, alpha=0.05, power=0.8) * 2
    assert shoppers_needed(Spread(0.0, 1.0, 1.0), Design(), 0.02) == pytest.approx(normal, rel=1e-4)


def test_corrections_for_many_p_values_agree_ties_and_ones_too():
    rng = np.random.default_rng(0)
    for p in (rng.random(9) ** 3, np.array([0.01, 0.01, 1.0, 0.04, 0.04, 0.0])):
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12)
        np.testing.assert_allclose(benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1], rtol=1e-12)


def test_sums_are_what_descriptive_statistics_have_of_the_rows():
    made = ArmSums.from_rows(CONTROL, [CUPED])
    theirs = DescrStatsW(np.column_stack([CONTROL["spent"], CONTROL["before"]]))
    assert (made.mean("spent"), made.mean("before")) == pytest.approx(tuple(theirs.mean), rel=1e-12)
    assert made.cov("spent", "before") == pytest.approx(theirs.cov[0, 1] * made.n / (made.n - 1), rel=1e-9)
