from dataclasses import replace

import numpy as np
import pytest

from data.errors import DataError
from recsys.experiments.analysis.designs import Design, LookDifference, clocks, criticals, p_value
from recsys.experiments.analysis.estimates import Difference
from recsys.experiments.analysis.intervals import fixed_critical, normal_z
from recsys.experiments.definition.definition import Looks, Method
from tests.recsys.experiments.experiments import experiment


def seen(number: int, effect: float = 0.0, *, noise: float = 1.0) -> LookDifference:
    variance = 1.0 / number
    return LookDifference(
        number, Difference(1.0, 1.0 + effect, variance * noise, variance, 1e9, 1.0, 1e9, 0.0, 0.0, 100.0 * number)
    )


def test_the_design_of_an_experiment_is_its_looks():
    made = experiment(looks=Looks(Method.ALWAYS_VALID, 7), alpha=0.1)
    assert Design.of(made) == Design(Method.ALWAYS_VALID, 7, made.looks.spending, 0.1)


def test_one_planned_look_has_the_fixed_critical_value():
    assert criticals(Design(), [seen(1)]) == pytest.approx([fixed_critical(0.05)], abs=1e-9)


def test_a_missed_look_is_spent_later():
    design = Design(count=4)
    all_of_them = criticals(design, [seen(k) for k in (1, 2, 3, 4)])
    missed = criticals(design, [seen(k) for k in (2, 4)])
    assert missed[0] <= all_of_them[1]
    assert missed[-1] < all_of_them[-1]


def test_the_clock_is_the_shoppers_when_each_has_one_outcome_and_never_stands_still():
    assert clocks([seen(k) for k in (1, 2, 3)]) == pytest.approx([100 * k * 100 for k in (1, 2, 3)])
    still = [seen(1), replace(seen(2), difference=seen(1).difference), seen(3)]
    times = clocks(still)
    assert times[0] < times[1] < times[2]
    assert np.isfinite(criticals(Design(count=3), still)[1:]).all()


def test_outcomes_that_grow_without_new_shoppers_are_time_that_passes():
    """1,000 shoppers from the first look on, with independent outcomes at each of 10: any-look alarms ≤ alpha.

    Taking their number for time would call the looks nearly one and alarm far too often.
    """
    rng, n = np.random.default_rng(0), 1500
    alarms = dict.fromkeys(Method, 0)
    for walk in np.cumsum(rng.normal(size=(n, 10)), axis=1):
        looks = [
            LookDifference(
                k, Difference(1.0, 1.0 + s / 500, 4 * k / 1000, 4 * k / 1000, 1e9, 1.0, 1e9, 0.0, 0.0, 1000.0)
            )
            for k, s in enumerate(walk * 500 * (4 / 1000) ** 0.5, start=1)
        ]
        for method in Method:
            limits = criticals(Design(method, 10), looks)
            alarms[method] += any(abs(normal_z(s.difference)) >= c for s, c in zip(looks, limits, strict=True))
    assert 0.03 < alarms[Method.GROUP_SEQUENTIAL] / n < 0.068  # ± 0.56 points
    assert alarms[Method.ALWAYS_VALID] / n < 0.05


def test_constant_noise_a_look_changes_no_bound_and_growing_noise_does():
    design = Design(count=3)
    plain = criticals(design, [seen(k) for k in (1, 2, 3)])
    same = criticals(design, [seen(k, noise=2.0) for k in (1, 2, 3)])
    grown = criticals(design, [seen(k, noise=1.0 + k) for k in (1, 2, 3)])
    assert same == pytest.approx(plain, rel=1e-9)
    assert grown[-1] > plain[-1]  # less correlated looks


def test_p_falls_with_the_effect_and_an_alpha_must_be_one():
    for method in Method:
        design = Design(method, 3)
        p = [p_value(design, [seen(1), seen(2), seen(3, effect)]) for effect in (0.0, 1.0, 2.0, 4.0)]
        assert p == sorted(p, reverse=True)
        assert p[0] == 1.0 or p[0] > 0.5
    with pytest.raises(DataError, match="alpha=0"):
        Design(alpha=0.0)
    with pytest.raises(DataError, match="count=0"):
        Design(count=0)
