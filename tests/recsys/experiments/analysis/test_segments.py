import numpy as np
import pytest
from scipy import stats

from recsys.experiments.analysis.designs import Design, LookDifference
from recsys.experiments.analysis.estimates import Difference
from recsys.experiments.analysis.segments import heterogeneity, interaction_p
from recsys.experiments.definition.definition import Method


def level(effect: float, variance: float, shoppers: float = 1000.0) -> Difference:
    return Difference(1.0, 1.0 + effect, variance, variance, 1e9, 1.0, 1e9, 0.0, 0.0, shoppers)


def test_of_two_levels_it_is_the_z_test_of_their_difference():
    q, df = heterogeneity([level(0.3, 0.01), level(0.1, 0.02)])
    assert q == pytest.approx(0.2**2 / 0.03)
    assert df == 1
    p = interaction_p(Design(), [[LookDifference(1, level(0.3, 0.01)), LookDifference(1, level(0.1, 0.02))]])
    assert p == pytest.approx(2 * stats.norm.sf(0.2 / np.sqrt(0.03)), rel=1e-9)


def test_equal_effects_do_not_differ_however_large_they_are():
    levels = [LookDifference(1, level(9.0, 0.01 * k)) for k in (1, 2, 3)]
    assert interaction_p(Design(), [levels]) == pytest.approx(1.0)
    assert interaction_p(Design(Method.ALWAYS_VALID), [levels]) == 1.0


@pytest.mark.parametrize(("method", "least"), [(Method.GROUP_SEQUENTIAL, 0.005), (Method.ALWAYS_VALID, 0.001)])
def test_ten_looks_at_levels_without_any_effect_alarm_at_most_5_times_in_100(method, least):
    """4 levels, independent increments, 1,000 experiments; sharing alpha out over looks is strict."""
    design, n, rng = Design(method, 10), 1000, np.random.default_rng(0)
    walks = np.cumsum(rng.normal(size=(n, 10, 4)), axis=1)
    counts = np.arange(1, 11)
    alarms = 0
    for walk in walks:
        looks = [
            [LookDifference(k, level(s / k, 1.0 / k, 500.0 * k)) for s in row]
            for k, row in zip(counts, walk, strict=True)
        ]
        alarms += interaction_p(design, looks) <= 0.05
    assert least < alarms / n < 0.06


def test_levels_that_differ_are_found():
    rng = np.random.default_rng(1)
    for method in Method:
        design = Design(method, 5)
        steps = rng.normal(size=(5, 3)) + np.array([2.5, 0.0, -2.5])
        looks = [
            [LookDifference(k + 1, level(s / (k + 1), 1.0 / (k + 1), 500.0 * (k + 1))) for s in row]
            for k, row in enumerate(np.cumsum(steps, axis=0))
        ]
        assert interaction_p(design, looks) < 0.001
