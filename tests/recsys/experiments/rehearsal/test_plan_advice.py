from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.definition.metric_definitions import Metric, MetricKind, Role
from recsys.experiments.rehearsal.plan_advice import (
    hidden_variance,
    linearized,
    size_without_effect,
    skew_warning,
    skewness,
    with_centres,
)
from tests.recsys.experiments.experiments import experiment, rows

REVENUE = Metric("revenue", MetricKind.MEAN, "spent", cap=1e5, role=Role.PRIMARY)
RATIO = Metric("per_list", MetricKind.RATIO, "clicks", cap=40.0, denominator="lists", denominator_cap=40.0, centre=2.0)


def revenue(n=20_000, seed=1):
    rng = np.random.default_rng(seed)
    return {"spent": (rng.random(n) < 0.05) * rng.lognormal(3.0, 1.6, n)}


def test_skewness_is_scipys_and_that_of_a_ratio_is_of_its_linear_part():
    values = revenue()
    assert skewness(values["spent"]) == pytest.approx(stats.skew(values["spent"]), rel=1e-9)
    assert skewness(np.ones(9)) == 0.0
    pair = {"clicks": np.array([1.0, 2.0, 6.0]), "lists": np.array([1.0, 2.0, 3.0])}
    # 9/6 = 1.5 clicks a list, mean list 2: (1 − 1.5)/2, (2 − 3)/2, (6 − 4.5)/2
    one = linearized(RATIO, pair, ArmSums.from_rows(pair, [RATIO]))
    assert one - one.mean() == pytest.approx([-0.25, -0.5, 0.75])


def test_unequal_small_skewed_arms_are_warned_of_with_the_logs_own_figure():
    """1,800 against 200 of outcomes as skewed as money: far more false alarms than 5 %."""
    values = revenue()
    sums = ArmSums.from_rows(values, [REVENUE])
    on_progress = skew_warning(REVENUE, values, sums, (1_800, 200), 0.05)
    assert on_progress["size"] > 0.1
    assert on_progress["shoppers"] == int(np.ceil(355 * skewness(values["spent"]) ** 2))
    equal = size_without_effect(values["spent"], (1_000, 1_000), 0.05)[0]
    assert equal < on_progress["size"]
    many = on_progress["shoppers"] + 1
    assert skew_warning(REVENUE, values, sums, (9 * many, many), 0.05) is None


def test_the_cap_that_is_offered_is_one_that_helps():
    rng = np.random.default_rng(4)
    values = {"spent": (rng.random(20_000) < 0.5) * rng.lognormal(3.0, 1.6, 20_000)}
    sums = ArmSums.from_rows(values, [REVENUE])
    on_progress = skew_warning(REVENUE, values, sums, (9_000, 1_000), 0.05)
    assert on_progress["cap"] is not None
    assert on_progress["cap"] < values["spent"].max()
    capped = {"spent": np.minimum(values["spent"], on_progress["cap"])}
    assert size_without_effect(capped["spent"], (9_000, 1_000), 0.05, seed=7)[0] < 0.075 < on_progress["size"]


def test_the_drawn_size_of_a_normal_outcome_is_the_level():
    values = np.random.default_rng(0).normal(size=50_000)
    size, draws = size_without_effect(values, (300, 100), 0.05)
    assert draws == 4_000
    assert size == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / draws) ** 0.5)


@pytest.mark.parametrize("metric", [RATIO, replace(REVENUE, cap=500.0)], ids=["ratio", "mean"])
def test_the_chance_that_noise_hides_a_variance_is_how_often_it_does(metric):
    rng = np.random.default_rng(2)
    lists = 1.0 + rng.poisson(3.0, 4_000)
    found = {
        "lists": lists,
        "clicks": rng.binomial(lists.astype(int), 0.5).astype(float),
        "spent": rng.gamma(1, 9, 4_000),
    }
    sums = ArmSums.from_rows({name: found[name] for name in {p.name for p in metric.parts}}, [metric])
    scale = 2e3 if metric is RATIO else 3e5
    noise = SumsNoise(4.0, dict.fromkeys(sums.totals, 25.0), dict.fromkeys(sums.products, scale**2))
    on_progress = hidden_variance(metric, sums, noise, sums.n)
    hidden = 0
    for _ in range(2_000):
        drawn = replace(
            sums,
            totals={x: t + rng.normal(0, 5.0) for x, t in sums.totals.items()},
            products={p: t + rng.normal(0, scale) for p, t in sums.products.items()},
        )
        ratio = drawn.mean(metric.numerator) / drawn.mean("lists") if metric is RATIO else 0.0
        variance = drawn.cov(metric.numerator, metric.numerator)
        if metric is RATIO:
            variance += ratio**2 * drawn.cov("lists", "lists") - 2 * ratio * drawn.cov("clicks", "lists")
        hidden += variance <= 0
    assert 0.02 < on_progress < 0.5
    assert on_progress == pytest.approx(hidden / 2_000, abs=0.04)
    assert hidden_variance(metric, sums, SumsNoise(), sums.n) == 0.0


def test_centres_are_the_logs_means_where_none_are_declared():
    made = experiment()
    sums = ArmSums.from_rows(rows(5_000, 0.1, np.random.default_rng(1)), made.metrics)
    centred, put = with_centres(made, sums)
    assert set(put) == {"bought", "spent", "seconds"}
    assert put["seconds"] == float(f"{sums.mean('seconds'):.2g}")
    assert [metric.centre for metric in centred.metrics] == [put["bought"], put["spent"], put["seconds"]]
    assert with_centres(centred, ArmSums.from_rows(rows(9, 0.5, np.random.default_rng(1)), centred.metrics))[1] == {}
