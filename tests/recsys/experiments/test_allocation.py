import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from recsys.experiments.allocation import best_shares, coordinates, noise_of, weights
from recsys.experiments.estimates import difference
from recsys.experiments.metrics import Metric, MetricKind, Role
from recsys.experiments.sums import ArmSums

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


def test_a_conversion_of_4_percent_spends_on_its_count_of_buyers():
    """Weights 1 : p give a variance of σ²(1 + p)²/n², by hand; equal shares have 2σ²(1 + p²)/n²."""
    sums = ArmSums.from_rows(rows(20_000), [BUYS])
    p = sums.mean("bought")
    bounds = coordinates([BUYS])
    noise = noise_of(bounds, best_shares(bounds, weights([BUYS], sums)), 3.0)
    added = (noise.totals["bought"] + p**2 * noise.n) / 20_000**2
    assert added == pytest.approx(9.0 * (1 + p) ** 2 / 20_000**2, rel=1e-3)


def test_weighed_shares_widen_the_primary_metric_less_than_equal_ones():
    metrics = [BUYS, SPENT]
    sums = ArmSums.from_rows(rows(20_000), metrics)
    bounds = coordinates(metrics)
    equal = dict.fromkeys(bounds, len(bounds) ** -0.5)
    widened = []
    for shares in (best_shares(bounds, weights(metrics, sums)), equal):
        noise = noise_of(bounds, shares, 12.0)
        arms = [ArmSums(sums.n, sums.totals, sums.products, noise, sums.centres, sums.indicators)] * 2
        made = difference(BUYS, *arms)
        widened.append(made.variance / made.sampling_variance - 1)
    assert 0 < widened[0] < 0.7 * widened[1]


def test_keys_must_agree_and_be_positive():
    with pytest.raises(DataError, match="same keys"):
        best_shares({(): 1.0}, {("x",): 1.0})
    with pytest.raises(DataError, match="above 0"):
        best_shares({(): 1.0}, {(): 0.0})
