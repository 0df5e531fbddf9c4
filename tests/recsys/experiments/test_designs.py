from dataclasses import replace

import numpy as np
import pytest

from data.errors import DataError
from recsys.experiments.definition import Looks, Method
from recsys.experiments.designs import Design, Seen, criticals, p_value, timing
from recsys.experiments.estimates import Difference
from recsys.experiments.intervals import fixed_critical
from tests.recsys.experiments.experiments import experiment


def seen(number: int, effect: float = 0.0, *, noise: float = 1.0) -> Seen:
    variance = 1.0 / number
    return Seen(
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


def test_a_clock_that_stands_still_is_pushed_on():
    design = Design(count=3)
    still = [seen(1), replace(seen(2), difference=seen(1).difference), seen(3)]
    clocks = timing(design, still).information
    assert clocks[0] < clocks[1] < clocks[2]
    assert np.isfinite(criticals(design, still)[1:]).all()


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
