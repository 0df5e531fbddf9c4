import numpy as np
import pytest
from scipy import stats

from data.errors import DataError
from recsys.evaluation import statistics
from recsys.evaluation.statistics import benjamini_hochberg, bootstrap_means, holm, mean_intervals, paired_difference


def test_interval_agrees_with_a_studentized_bootstrap_of_scipys_resamples():
    values = np.random.default_rng(0).exponential(size=400)
    low, high = mean_intervals(values[:, None], resamples=4000, seed=1)[0]

    def t(sample, axis):
        spread = sample.std(axis=axis)
        return (sample.mean(axis=axis) - values.mean()) / np.where(spread > 0, spread, 1.0)

    oracle = stats.bootstrap((values,), t, n_resamples=4000, method="percentile", rng=2).bootstrap_distribution
    bounds = values.mean() - values.std() * np.quantile(oracle, [0.975, 0.025])
    width = bounds[1] - bounds[0]  # both ends are themselves known to a few percent of the width
    assert abs(low - bounds[0]) < 0.08 * width
    assert abs(high - bounds[1]) < 0.08 * width


def test_few_users_most_with_nothing_are_covered_as_often_as_promised():
    # 400 data sets of 60 users, 85 % of them 0, the others in 0.2..1: percentiles of means miss 8-10 %
    rng = np.random.default_rng(16)
    values = np.where(rng.random((60, 400)) < 0.15, rng.uniform(0.2, 1.0, (60, 400)), 0.0)
    bounds = mean_intervals(values, resamples=1000, seed=0)
    truth = 0.15 * 0.6
    missed = int(((bounds[:, 0] > truth) | (bounds[:, 1] < truth)).sum())
    assert 8 <= missed <= 32  # 20 ± 4.4


def test_95_percent_intervals_cover_the_true_mean_about_95_times_in_100():
    # 400 columns of 300 users with true mean 0.3: misses are binomial(400, ~.05), 20 ± 4.4
    values = (np.random.default_rng(3).random((300, 400)) < 0.3).astype(float)
    bounds = mean_intervals(values, resamples=1000, seed=0)
    missed = int(((bounds[:, 0] > 0.3) | (bounds[:, 1] < 0.3)).sum())
    assert 5 <= missed <= 40


def test_users_without_a_value_are_left_out_of_their_column_only():
    rng = np.random.default_rng(4)
    full = rng.random((50, 2))
    holed = full.copy()
    holed[10:, 1] = np.nan
    bounds = mean_intervals(holed, seed=5)
    np.testing.assert_array_equal(bounds[0], mean_intervals(full[:, :1], seed=5)[0])
    np.testing.assert_array_equal(bounds[1], mean_intervals(full[:10, 1:], seed=5)[0])


def test_an_interval_does_not_reach_beyond_what_a_value_can_be():
    values = np.array([[0.0], [0.0], [1.0]])
    low, high = mean_intervals(values)[0]
    assert low < 0 or high > 1
    assert mean_intervals(values, within=(0, 1))[0] == pytest.approx([max(low, 0), min(high, 1)])


def test_a_column_of_nan_has_no_interval():
    bounds = mean_intervals(np.array([[1.0, np.nan], [2.0, np.nan]]))
    assert np.isfinite(bounds[0]).all()
    assert np.isnan(bounds[1]).all()


def test_same_seed_same_interval_and_another_seed_another():
    values = np.random.default_rng(6).random((80, 1))
    assert (mean_intervals(values, seed=1) == mean_intervals(values, seed=1)).all()
    assert (mean_intervals(values, seed=1) != mean_intervals(values, seed=2)).any()


def test_columns_share_their_resamples():
    values = np.random.default_rng(7).random(60)
    means = bootstrap_means(np.stack([values, 2 * values], axis=1), seed=8)
    np.testing.assert_allclose(means[:, 1], 2 * means[:, 0], rtol=1e-12)


def test_resampled_means_have_the_standard_error_of_the_mean(monkeypatch):
    monkeypatch.setattr(statistics, "CELLS_AT_ONCE", 900)  # several chunks
    values = np.random.default_rng(9).normal(size=200)
    spread = bootstrap_means(values[:, None], resamples=3000, seed=0).std()
    assert spread == pytest.approx(values.std() / np.sqrt(200), rel=0.06)


def test_resamples_without_any_of_the_rare_hits_do_not_make_intervals_endless():
    one_hit = np.zeros((30, 1))
    one_hit[0] = 1.0
    low, high = mean_intervals(one_hit, seed=0)[0]
    assert -0.2 < low < 1 / 30 < high < 0.5


def test_p_values_of_a_against_a_are_uniform():
    rng = np.random.default_rng(10)
    found = [
        paired_difference(rng.normal(size=150), rng.normal(size=150), resamples=400, seed=s).p_value for s in range(300)
    ]
    assert stats.kstest(found, "uniform").pvalue > 0.001
    assert 2 <= sum(p < 0.05 for p in found) <= 30  # 15 ± 3.8


def test_a_real_difference_is_found_and_its_interval_excludes_zero():
    rng = np.random.default_rng(11)
    base = rng.random(500)
    found = paired_difference(base + 0.05 + rng.normal(0, 0.1, 500), base, seed=0)
    assert found.p_value < 0.01
    assert 0 < found.low < found.difference < found.high
    assert found.users == 500


def test_pairing_removes_what_users_have_in_common():
    rng = np.random.default_rng(12)
    base = rng.normal(0, 10, 400)
    found = paired_difference(base + 0.1, base, seed=0)
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)


def test_equal_models_have_p_one():
    same = np.random.default_rng(13).random(40)
    found = paired_difference(same, same)
    assert (found.difference, found.p_value) == (0.0, 1.0)


def test_swapping_the_models_mirrors_the_comparison():
    rng = np.random.default_rng(14)
    a, b = rng.random(90), rng.random(90)
    ab, ba = paired_difference(a, b, seed=3), paired_difference(b, a, seed=3)
    assert ab.difference == -ba.difference
    assert ab.p_value == ba.p_value
    assert ab.low == pytest.approx(-ba.high)


def test_only_users_with_both_values_are_paired():
    found = paired_difference(np.array([1.0, np.nan, 3.0]), np.array([0.0, 5.0, np.nan]))
    assert (found.users, found.difference) == (1, 1.0)


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04, then the running maximum: .04 .06 .06 .06
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([]).tolist() == []


def test_holm_keeps_the_family_error_at_its_level():
    # 8 true null hypotheses, 2000 families: any rejection at .05 in at most about 5 % of them (sd .5 %)
    p = np.random.default_rng(15).random((2000, 8))
    share = np.mean([holm(row).min() <= 0.05 for row in p])
    assert 0.03 < share < 0.065


def test_unusable_values_are_errors():
    with pytest.raises(DataError, match="must be the same users"):
        paired_difference(np.zeros(2), np.zeros(3))
    with pytest.raises(DataError, match="no user has both"):
        paired_difference(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(DataError, match="0 users"):
        bootstrap_means(np.empty((0, 1)))
    with pytest.raises(DataError, match=r"must be in 0\.\.1"):
        holm([0.5, np.nan])


def test_benjamini_hochberg_agrees_with_scipy():
    for seed in range(20):
        p = np.random.default_rng(seed).random(7) ** 3
        np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), rtol=1e-12)
    assert benjamini_hochberg([]).tolist() == []
    with pytest.raises(DataError, match=r"must be in 0\.\.1"):
        benjamini_hochberg([0.2, np.nan])
