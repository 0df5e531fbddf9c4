from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from recsys.experiments.analysis.allocation import best_shares, coordinates, noise_of, shares_for
from recsys.experiments.analysis.estimates import difference
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.metric_definitions import Metric, MetricKind, Role

BUYS = Metric("conversion", MetricKind.PROPORTION, "bought", role=Role.PRIMARY)
SPENT = Metric("revenue", MetricKind.MEAN, "spent", covariate="before", cap=100.0, covariate_cap=100.0)


def rows(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    bought = (rng.random(n) < 0.04).astype(float)
    before = np.minimum(rng.exponential(10.0, n), 100.0)
    return {"bought": bought, "before": before, "spent": np.minimum(bought * (before + 5.0), 100.0)}


def test_a_conversion_has_two_coordinates():
    assert coordinates([BUYS]) == {(): 1.0, ("bought",): 1.0}
    assert coordinates([BUYS, SPENT])[("before", "spent")] == 1e4


@given(st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0), st.floats(0.1, 1.0)), min_size=2, max_size=6))
def test_no_other_shares_have_less_noise(drawn):
    bounds = {(f"x{i}",): b for i, (b, _, _) in enumerate(drawn)}
    weighs = {(f"x{i}",): w for i, (_, w, _) in enumerate(drawn)}
    norm = np.sqrt(sum(s**2 for *_, s in drawn))
    others = {(f"x{i}",): s / norm for i, (*_, s) in enumerate(drawn)}
    shares = best_shares(bounds, weighs)
    assert sum(s**2 for s in shares.values()) == pytest.approx(1.0)
    cost = [sum((weighs[k] * bounds[k] / made[k]) ** 2 for k in bounds) for made in (shares, others)]
    assert cost[0] <= cost[1] * (1 + 1e-12)
    assert cost[0] == pytest.approx(sum(weighs[k] * bounds[k] for k in bounds) ** 2)


def widened(metric, metrics, shares, sigma=12.0) -> float:
    """How much wider an interval of 20,000 shoppers an arm is for the noise."""
    sums = ArmSums.from_rows(rows(20_000), metrics)
    arm = replace(sums, noise=noise_of(coordinates(metrics), shares, sigma))
    made = difference(metric, arm, arm)
    return (made.variance / made.sampling_variance) ** 0.5


def test_a_conversion_of_4_percent_is_near_the_least_noise_there_is():
    """The functional X − pN has sensitivity 1 at centre 0: no shares have less than σ²/n², and ours have 4 % more."""
    sums = ArmSums.from_rows(rows(20_000), [BUYS])
    p = sums.mean("bought")
    noise = noise_of(coordinates([BUYS]), shares_for([BUYS], sums, 3.0), 3.0)
    added = (noise.totals["bought"] + p**2 * noise.n) / 20_000**2
    equal = 9.0 * 2 * (1 + p**2) / 20_000**2
    assert 1.0 < added / (9.0 / 20_000**2) < 1.15
    assert added < 0.6 * equal


def test_weighed_shares_widen_the_primary_metric_less_than_equal_ones_and_no_metric_by_more_than_it_must():
    metrics = [BUYS, SPENT]
    bounds = coordinates(metrics)
    equal = dict.fromkeys(bounds, len(bounds) ** -0.5)
    ours = shares_for(metrics, ArmSums.from_rows(rows(20_000), metrics), 12.0)
    assert 1.0 < widened(BUYS, metrics, ours) < 1.0 + 0.6 * (widened(BUYS, metrics, equal) - 1.0)
    assert widened(SPENT, metrics, ours) < 1.6 * widened(SPENT, metrics, equal)


def test_keys_must_agree_and_be_positive():
    with pytest.raises(DataError, match="same keys"):
        best_shares({(): 1.0}, {("x",): 1.0})
    with pytest.raises(DataError, match="above 0"):
        best_shares({(): 1.0}, {(): 0.0})
