import json
from dataclasses import replace

import numpy as np
import pytest
import tea_tasting as tt

from data.errors import DataError
from recsys.experiments.analysis.designs import Design, LookDifference, criticals
from recsys.experiments.analysis.estimates import difference
from recsys.experiments.analysis.intervals import normal_z
from recsys.experiments.analysis.spending import LookSchedule, inflation
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.definition import Looks, Method, Spending
from recsys.experiments.rehearsal.planning import (
    Spread,
    expected_shoppers,
    minimum_effect,
    plan,
    power_by_look,
    power_of,
    shoppers_needed,
    spread,
)
from tests.recsys.experiments.analysis.test_estimates import (
    ALL,
    BUYS,
    CONTROL,
    CUPED,
    RATIO,
    RATIO_CUPED,
    SPENT,
    aggregates,
)
from tests.recsys.experiments.experiments import experiment, rows

LOG = ArmSums.from_rows(CONTROL, ALL)
FIXED = Design()
ORACLES = {
    "proportion": (BUYS, lambda **k: tt.Mean("bought", **k)),
    "mean": (SPENT, lambda **k: tt.Mean("spent", **k)),
    "cuped": (CUPED, lambda **k: tt.Mean("spent", "before", **k)),
    "ratio": (RATIO, lambda **k: tt.RatioOfMeans("spent", "visits", **k)),
    "ratio with cuped": (RATIO_CUPED, lambda **k: tt.RatioOfMeans("spent", "visits", "before", **k)),
}


@pytest.mark.parametrize("ratio", [1, 2.5])
@pytest.mark.parametrize("name", ORACLES)
def test_power_effects_and_shoppers_agree_with_tea_tasting(name, ratio):
    metric, make = ORACLES[name]
    ours = spread(metric, LOG)
    (theirs,) = make(n_obs=5000, rel_effect_size=0.1, ratio=ratio).solve_power_from_aggregates(aggregates(LOG), "power")
    assert power_of(ours, FIXED, 5000, 0.1 * ours.value, ratio) == pytest.approx(theirs.power, rel=1e-9)
    (theirs,) = make(n_obs=5000, ratio=ratio).solve_power_from_aggregates(aggregates(LOG), "effect_size")
    assert minimum_effect(ours, FIXED, 5000, ratio=ratio) == pytest.approx(theirs.effect_size, rel=1e-9)
    assert minimum_effect(ours, FIXED, 5000, ratio=ratio) / ours.value == pytest.approx(
        theirs.rel_effect_size, rel=1e-9
    )
    if ratio != 1:
        return  # their search for n starts at 3 shoppers, less than one in an arm
    (theirs,) = make(rel_effect_size=0.2, ratio=ratio).solve_power_from_aggregates(aggregates(LOG), "n_obs")
    assert int(np.ceil(shoppers_needed(ours, FIXED, 0.2 * ours.value, ratio=ratio))) == theirs.n_obs


def test_a_covariate_saves_the_shoppers_it_explains():
    with_it, without = spread(CUPED, LOG), spread(SPENT, LOG)
    assert with_it.plain == pytest.approx(without.variance, rel=1e-12)
    saved = shoppers_needed(with_it, FIXED, 1.0) / shoppers_needed(without, FIXED, 1.0)
    assert saved == pytest.approx(with_it.variance / with_it.plain, rel=1e-3)


@pytest.mark.parametrize("spending", Spending)
def test_planned_looks_need_the_inflation_factor_of_the_fixed_test(spending):
    design = Design(count=5, spending=spending)
    n = shoppers_needed(Spread(1.0, 1.0, 1.0), design, 0.02)
    fixed = shoppers_needed(Spread(1.0, 1.0, 1.0), FIXED, 0.02)
    factor = inflation(LookSchedule.planned([0.2, 0.4, 0.6, 0.8, 1.0]), spending, 0.05, 0.8)
    assert n / fixed == pytest.approx(factor, rel=1e-3)  # Student against normal
    assert expected_shoppers(Spread(1.0, 1.0, 1.0), design, n, 0.02) < 0.85 * n


@pytest.mark.parametrize("method", Method)
def test_planned_power_is_what_experiments_have(method):
    """600 experiments of 4 looks through sums, differences and critical values: shown as often as planned."""
    design, rng = Design(method, 4), np.random.default_rng(0)
    scatter = spread(BUYS, ArmSums.from_rows({"bought": (np.arange(10_000) % 10 == 0).astype(float)}, [BUYS]))
    planned = power_by_look(scatter, design, 8000, 0.024)
    # with the treated arm's own, larger variance
    planned = power_by_look(replace(scatter, variance=(0.1 * 0.9 + 0.124 * 0.876) / 2), design, 8000, 0.024)
    shown = np.zeros(4)
    for _ in range(600):
        arms = [np.cumsum(rng.binomial(1000, rate, 4)) for rate in (0.1, 0.124)]
        seen = []
        for k in range(4):
            sums = [
                ArmSums(1000.0 * (k + 1), {"bought": float(bought[k])}, {}, indicators=frozenset({"bought"}))
                for bought in arms
            ]
            seen.append(LookDifference(k + 1, difference(replace(BUYS, centre=0.0), *sums)))
        hit = [abs(normal_z(s.difference)) >= c for s, c in zip(seen, criticals(design, seen), strict=True)]
        shown += np.maximum.accumulate(hit)
    np.testing.assert_allclose(shown / 600, planned, atol=0.06)  # ± 0.02 each


def test_noise_of_privacy_is_planned_for():
    quiet = Spread(0.04, 0.0384, 0.0384)
    noisy = replace(quiet, noise=0.0384 * 20_000)  # as much as 20,000 shoppers scatter
    assert noisy.standard_error(40_000) == pytest.approx(quiet.standard_error(40_000) * 2**0.5)
    for method in Method:
        design = Design(method, 5)
        assert minimum_effect(noisy, design, 40_000) > 1.35 * minimum_effect(quiet, design, 40_000)


def test_a_plan_is_json_with_every_metric_design_and_way():
    made = experiment(looks=Looks(count=4))
    sums = ArmSums.from_rows(rows(5000, 0.1, np.random.default_rng(1)), made.metrics)
    found = plan(made, sums, 1000.0)
    json.dumps(found, allow_nan=False)
    assert [row["metric"] for row in found["metrics"]] == ["conversion", "revenue", "load"]
    for row in found["metrics"]:
        fixed, planned, anytime = (row["designs"][k]["plain"] for k in ("fixed", "group_sequential", "always_valid"))
        assert fixed["shoppers"] < planned["shoppers"] < anytime["shoppers"]
        assert planned["expected_shoppers"] < fixed["shoppers"]
        if planned["shoppers"] < 1000:
            continue
        at = next(
            point for point in planned["curve"] if point["shoppers"] == pytest.approx(planned["shoppers"], rel=1e-3)
        )
        assert at["minimum_effect"] == pytest.approx(made.minimum_effect, rel=1e-3)
        assert planned["days"] == pytest.approx(planned["shoppers"] / 1000, rel=1e-3)


def test_tiny_effects_under_much_noise_need_many_shoppers_and_find_their_number():
    noisy = Spread(0.001, 0.000999, 0.000999, noise=999.0)
    n = shoppers_needed(noisy, Design(alpha=0.001), 1e-6)
    assert 1e9 < n < 1e12
    assert minimum_effect(noisy, Design(alpha=0.001), n) == pytest.approx(1e-6, rel=1e-6)


def test_power_is_a_number_that_rises_with_the_effect_at_strict_levels_too():
    """SciPy's lower tail of the noncentral t is nan in places, from shifts of 2.5 standard errors on."""
    for alpha in (0.05, 0.005, 1e-4, 1e-6):
        for shoppers in (20, 400, 100_000):
            found = [power_of(Spread(1.0, 4.0, 4.0), Design(alpha=alpha), shoppers, e) for e in np.linspace(0, 12, 80)]
            assert found[0] == pytest.approx(alpha, rel=1e-9)
            assert (np.diff(found) >= -1e-12).all()
            assert found[-1] <= 1.0


def test_what_cannot_be_planned_is_refused():
    one = Spread(1.0, 1.0, 1.0)
    with pytest.raises(DataError, match="effect=0"):
        shoppers_needed(one, FIXED, 0.0)
    with pytest.raises(DataError, match="no number of shoppers"):
        shoppers_needed(one, FIXED, 1e-9)
    with pytest.raises(DataError, match=r"power=0\.01"):
        minimum_effect(one, FIXED, 100, power=0.01)
    with pytest.raises(DataError, match="shoppers=1"):
        minimum_effect(one, FIXED, 1)
