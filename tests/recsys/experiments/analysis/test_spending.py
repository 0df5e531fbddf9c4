import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from data.errors import DataError
from recsys.experiments.analysis import spending
from recsys.experiments.analysis.spending import (
    LookSchedule,
    Spending,
    bounds,
    error_spent,
    fixed_drift,
    inflation,
    power,
    repeated_p,
    stagewise_estimate,
)

FIVE = LookSchedule.planned([0.2, 0.4, 0.6, 0.8, 1.0])
OF, PK = Spending.OBRIEN_FLEMING, Spending.POCOCK


def test_lan_demets_bounds_are_as_published():
    """Two-sided 0.05, five equal looks: R's gsDesign (sfLDOF), and ldbounds, whose integration is coarser."""
    np.testing.assert_allclose(bounds(FIVE, OF, 0.05), [4.8769, 3.3570, 2.6803, 2.2898, 2.0310], atol=6e-5)
    np.testing.assert_allclose(bounds(FIVE, OF, 0.05), [4.8769, 3.3569, 2.6803, 2.2898, 2.0310], atol=1.5e-4)
    np.testing.assert_allclose(bounds(FIVE, PK, 0.05), [2.4380, 2.4268, 2.4101, 2.3966, 2.3859], atol=1.5e-4)


def test_spending_starts_at_nothing_and_ends_at_alpha():
    for kind in Spending:
        assert error_spent(kind, 0.05, 1e-3) < 1e-3
        assert error_spent(kind, 0.05, 1.0) == pytest.approx(0.025, rel=1e-12)


def test_an_unplanned_look_is_paid_for_and_not_free():
    planned = LookSchedule((0.5, 1.0), (0.5, 1.0))
    more = LookSchedule((0.5, 0.7, 1.0), (0.5, 0.7, 1.0))
    assert bounds(more, OF, 0.05)[0] == bounds(planned, OF, 0.05)[0]
    assert bounds(more, OF, 0.05)[-1] > bounds(planned, OF, 0.05)[-1]


def test_a_final_look_before_the_plan_is_full_spends_what_is_left():
    early = LookSchedule((0.5, 0.8), (0.5, 0.8), final=True)
    assert early.spend(OF, 0.05).sum() == pytest.approx(0.025)
    assert LookSchedule((0.5, 0.8), (0.5, 0.8)).spend(OF, 0.05).sum() < 0.02
    late = LookSchedule((0.5, 1.2, 1.3), (0.5, 1.2, 1.3))
    assert late.spend(OF, 0.05).sum() == pytest.approx(0.025)
    assert np.isinf(bounds(late, OF, 0.05)[-1])  # all was spent at 1.2


def test_inflated_plans_have_the_power_they_are_for_and_pocock_pays_more():
    for kind in Spending:
        drift = fixed_drift(0.05, 0.9) * np.sqrt(inflation(FIVE, kind, 0.05, 0.9))
        assert power(FIVE, kind, 0.05, drift)[-1] == pytest.approx(0.9, abs=1e-8)
    assert 1.0 < inflation(FIVE, OF, 0.05, 0.9) < 1.03 < 1.15 < inflation(FIVE, PK, 0.05, 0.9) < 1.25


def test_one_look_is_the_fixed_test():
    once = LookSchedule.planned([1.0])
    assert bounds(once, OF, 0.05)[0] == pytest.approx(stats.norm.isf(0.025), abs=1e-9)
    assert inflation(once, OF, 0.05, 0.8) == pytest.approx(1.0, abs=1e-8)
    made = stagewise_estimate(once, OF, 0.05, 2.5)
    assert made.p_value == pytest.approx(2 * stats.norm.sf(2.5), rel=1e-9)
    assert (made.low, made.estimate, made.high) == pytest.approx((2.5 - 1.959964, 2.5, 2.5 + 1.959964), abs=1e-6)
    assert repeated_p(once, OF, [2.5]) == pytest.approx(2 * stats.norm.sf(2.5), rel=1e-5)
    assert fixed_drift(0.05, 0.8) == pytest.approx(1.959964 + 0.841621, abs=1e-4)


def walks(drift: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Z at FIVE's looks, (n, 5)."""
    steps = rng.normal(0.2 * drift, np.sqrt(0.2), (n, 5))
    return np.cumsum(steps, axis=1) / np.sqrt(FIVE.times)


def test_power_is_that_of_simulated_walks():
    z = walks(2.8, 20_000, np.random.default_rng(0))
    crossed = np.maximum.accumulate(np.abs(z) >= bounds(FIVE, PK, 0.05), axis=1)
    np.testing.assert_allclose(power(FIVE, PK, 0.05, 2.8), crossed.mean(axis=0), atol=0.015)  # ± 0.0035 each


def test_the_repeated_p_value_is_below_alpha_exactly_where_a_bound_was_crossed():
    rng = np.random.default_rng(1)
    for z in walks(2.0, 30, rng):
        for alpha in (0.05, 0.2):
            assert (repeated_p(FIVE, OF, z) <= alpha) == bool((np.abs(z) >= bounds(FIVE, OF, alpha)).any())
    assert repeated_p(FIVE, OF, [0.0] * 5) == 1.0
    assert repeated_p(FIVE, OF, [0, 0, 0, 0, 30.0]) == spending.LEAST_P


def test_stagewise_intervals_cover_the_effect_95_times_in_100_where_naive_ones_do_not():
    drift, n = 2.5, 400
    root = np.sqrt(FIVE.times)
    covered = naive = above = 0
    for z in walks(drift, n, np.random.default_rng(2)):
        crossed = np.abs(z) >= bounds(FIVE, PK, 0.05)
        k = int(np.argmax(crossed)) if crossed.any() else 4
        made = stagewise_estimate(LookSchedule(FIVE.times[: k + 1], FIVE.times[: k + 1]), PK, 0.05, z[k])
        covered += made.low <= drift * root[k] <= made.high
        naive += abs(z[k] - drift * root[k]) <= 1.96
        above += made.estimate > drift * root[k]
    assert 0.92 <= covered / n <= 0.98  # ± 0.011
    assert naive < covered
    assert 0.43 <= above / n <= 0.57  # median-unbiased, ± 0.025


def test_stagewise_p_values_reject_as_the_bounds_do():
    first = LookSchedule(FIVE.times[:2], FIVE.times[:2])
    at = bounds(first, OF, 0.05)[-1]
    assert stagewise_estimate(first, OF, 0.05, at).p_value == pytest.approx(2 * error_spent(OF, 0.05, 0.4), rel=1e-6)
    last = bounds(FIVE, OF, 0.05)[-1]
    made = stagewise_estimate(FIVE, OF, 0.05, last)
    assert made.p_value == pytest.approx(0.05, rel=1e-6)
    assert made.low == pytest.approx(0.0, abs=1e-6)


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="must be above 0 and grow"):
        LookSchedule((0.5, 0.2), (0.2, 0.5))
    with pytest.raises(DataError, match="must be as many"):
        LookSchedule((0.5,), (0.2, 0.5))
    with pytest.raises(DataError, match=r"time=1\.5"):
        error_spent(OF, 0.05, 1.5)
    with pytest.raises(DataError, match="must be one each"):
        repeated_p(FIVE, OF, [1.0])
    with pytest.raises(DataError, match=r"power=0\.01"):
        inflation(FIVE, OF, 0.05, 0.01)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)), min_size=1, max_size=6),
    st.floats(-38.0, 38.0),
    st.sampled_from(Spending),
)
def test_whatever_was_seen_at_whatever_looks_has_an_interval_and_p_values(gaps, z, kind):
    times, information = np.cumsum(gaps, axis=0).T.tolist()
    looks = LookSchedule(tuple(time / max(1.0, times[-1]) for time in times), tuple(information), final=True)
    made = stagewise_estimate(looks, kind, 0.05, z)
    assert made.low < made.estimate < made.high
    assert 0.0 <= made.p_value <= 1.0
    assert 0.0 < repeated_p(looks, kind, [0.0] * (len(gaps) - 1) + [z]) <= 1.0


def test_power_no_larger_than_alpha_has_no_plan():
    for wanted in (0.05, 0.01, 1.0):
        with pytest.raises(DataError, match=r"must be above alpha=0\.05 and below 1"):
            inflation(FIVE, OF, 0.05, wanted)


def test_the_p_value_of_a_stopped_experiment_is_that_of_its_mirror_image():
    for z in (0.3, 2.4):
        above, below = (stagewise_estimate(FIVE, OF, 0.05, value) for value in (z, -z))
        assert below.p_value == pytest.approx(above.p_value, rel=1e-9)
        assert (below.low, below.estimate, below.high) == pytest.approx((-above.high, -above.estimate, -above.low))


def test_the_least_p_value_is_told_where_z_is_just_beyond_its_bound():
    once = LookSchedule.planned([1.0])
    edge = stats.norm.isf(spending.LEAST_P / 2.0)
    assert repeated_p(once, OF, [edge + 0.3]) == spending.LEAST_P
    assert repeated_p(once, OF, [edge - 0.01]) == pytest.approx(2 * stats.norm.sf(edge - 0.01), rel=1e-3)
