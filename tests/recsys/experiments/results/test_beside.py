"""Beside the verdict: the posterior is the estimate and its error, and the power that is left is the plan's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recsys.experiments.analysis.designs import Design
from recsys.experiments.analysis.estimates import difference
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.definition import Looks, Method
from recsys.experiments.definition.metric_definitions import Direction, Metric, MetricKind, Role
from recsys.experiments.rehearsal.planning import Spread, minimum_effect
from recsys.experiments.results.posterior import posterior
from recsys.experiments.results.remaining_power import remaining_power
from recsys.experiments.results.results import results
from tests.recsys.experiments.experiments import experiment, looks

SPENT = Metric("revenue", MetricKind.MEAN, "spent", cap=1_000.0, role=Role.PRIMARY)


def arms(lift: float, n: int = 2_000, seed: int = 0) -> list[ArmSums]:
    rng = np.random.default_rng(seed)
    return [ArmSums.from_rows({"spent": np.minimum(more * rng.gamma(2.0, 20.0, n), 1_000.0)}, (SPENT,))
            for more in (1.0, lift)]  # fmt: skip


@pytest.mark.parametrize("lift", [1.0, 1.05, 0.9])
def test_the_losses_are_those_of_a_million_draws(lift: float) -> None:
    found = difference(SPENT, *arms(lift))
    made = posterior(SPENT, found)
    drawn = np.random.default_rng(1).normal(found.effect, math.sqrt(found.variance), 1_000_000)
    assert made.chance_better == pytest.approx((drawn > 0).mean(), abs=0.003)
    assert made.loss_if_chosen == pytest.approx(np.maximum(-drawn, 0).mean(), abs=0.004)
    assert made.loss_if_left == pytest.approx(np.maximum(drawn, 0).mean(), abs=0.004)
    down = posterior(Metric("cost", MetricKind.MEAN, "spent", cap=1_000.0, direction=Direction.DOWN), found)
    assert down.chance_better == pytest.approx(1.0 - made.chance_better)
    assert (down.loss_if_chosen, down.loss_if_left) == pytest.approx((made.loss_if_left, made.loss_if_chosen))


@pytest.mark.parametrize("method", list(Method))
def test_the_least_effect_is_that_of_a_plan_with_the_same_variance(method: Method) -> None:
    found = difference(SPENT, *arms(1.0))
    design = Design(method, 5)
    left = remaining_power(found, design, 2, 0.8, 0.05)
    assert left.shoppers == 10_000
    spread = Spread(found.control, found.variance * 1_000, found.variance * 1_000)  # both arms: var/n + var/n
    assert left.least_effect == pytest.approx(minimum_effect(spread, design, 10_000.0), rel=1e-6)
    assert left.least_relative == pytest.approx(left.least_effect / found.control)


def test_the_chance_at_the_last_look_is_that_of_experiments_that_go_on() -> None:
    """z = 1.2 at half time, a drift of 2 at the end: of 400,000 Brownian motions so many end beyond the bound."""
    found = difference(SPENT, *arms(1.02, seed=3))
    design = Design(count=2)
    left = remaining_power(found, design, 1, 0.8, 0.05)
    t, error = 0.5, math.sqrt(found.variance / 2)
    start = found.effect / math.sqrt(found.variance) * math.sqrt(t)
    drift = math.copysign(0.05 * found.control / error, start)
    end = start + drift * 0.5 + np.random.default_rng(2).normal(0.0, math.sqrt(0.5), 400_000)
    assert left.chance == pytest.approx((np.abs(end) >= 1.9688).mean(), abs=0.004)


def test_results_have_both_beside_the_verdicts_and_nothing_of_hidden_arms() -> None:
    made = experiment(looks=Looks(count=5))
    rates = {"global_list": [0.04], "personal": [0.05]}
    data = looks(made, rates, count=2)
    told = results(made, data)
    assert {(row["metric"], row["arm"]) for row in told["beside"]} == {
        (name, "personal") for name in ("conversion", "revenue", "load")
    }
    assert all(0 <= row["posterior"]["chance_better"] <= 1 and row["remaining"]["shoppers"] for row in told["beside"])
    done = results(made, looks(made, rates))
    assert not any("remaining" in row for row in done["beside"])
    few = results(made, looks(made, rates, per_look=20, count=1))
    assert few["beside"] == []
    assert results(made, [])["beside"] == []
