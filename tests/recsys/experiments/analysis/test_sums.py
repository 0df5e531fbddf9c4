import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError, SumsTooSmall
from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.definition.metric_definitions import Metric, MetricKind

METRICS = (
    Metric("conversion", MetricKind.PROPORTION, "bought", centre=0.1),
    Metric("revenue", MetricKind.MEAN, "spent", covariate="before", cap=9.0, covariate_cap=9.0, covariate_centre=2.0),
)


def rows(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    bought = (rng.random(n) < 0.3).astype(float)
    before = rng.random(n) * 9
    return {"bought": bought, "spent": bought * before, "before": before}


def test_estimates_agree_with_numpy_whatever_the_centres():
    values = rows(50)
    sums = ArmSums.from_rows(values, METRICS)
    for x, column in values.items():
        assert sums.mean(x) == pytest.approx(column.mean(), abs=1e-14)
        assert sums.var(x) == pytest.approx(column.var(ddof=1), rel=1e-12)
    assert sums.cov("before", "spent") == pytest.approx(np.cov(values["before"], values["spent"])[0, 1], rel=1e-12)
    assert sums.cov("spent", "before") == sums.cov("before", "spent")
    assert sums.mean_cov("spent", "spent") == pytest.approx(values["spent"].var(ddof=1) / 50, rel=1e-12)


def test_a_hand_computed_indicator_needs_no_square():
    sums = ArmSums(n=10.0, totals={"x": 4.0}, products={}, indicators=frozenset({"x"}))
    assert sums.mean("x") == 0.4
    assert sums.var("x") == pytest.approx(0.4 * 0.6 * 10 / 9)  # p(1 − p)·n/(n − 1)


@given(st.lists(st.integers(1, 39), max_size=4), st.permutations(range(40)))
def test_sums_are_the_same_in_any_order_and_any_batches(cuts, order):
    values = rows(40)
    whole = ArmSums.from_rows(values, METRICS)
    batches = np.split(np.array(order), sorted(cuts))
    total = ArmSums.zero(METRICS)
    for batch in batches:
        total = total + ArmSums.from_rows({x: column[batch] for x, column in values.items()}, METRICS)
    assert total.n == whole.n
    assert total.totals == pytest.approx(whole.totals, abs=1e-9)
    assert total.products == pytest.approx(whole.products, abs=1e-9)


def noisy(sums: ArmSums, sigma: float, rng: np.random.Generator) -> ArmSums:
    """Sums with Gaussian noise of one σ on each."""
    return replace(
        sums,
        n=sums.n + rng.normal(0, sigma),
        totals={x: t + rng.normal(0, sigma) for x, t in sums.totals.items()},
        products={p: t + rng.normal(0, sigma) for p, t in sums.products.items()},
        noise=SumsNoise(sigma**2, dict.fromkeys(sums.totals, sigma**2), dict.fromkeys(sums.products, sigma**2)),
    )


def test_estimates_of_noisy_sums_are_unbiased_and_their_variance_is_as_stated():
    exact = ArmSums.from_rows(rows(400), METRICS)
    rng = np.random.default_rng(5)
    drawn = [noisy(exact, 12.0, rng) for _ in range(4000)]
    for x in exact.totals:
        means = np.array([sums.mean(x) for sums in drawn])
        stated = np.array([sums.mean_cov(x, x) - sums.cov(x, x) / sums.n for sums in drawn])
        assert abs(means.mean() - exact.mean(x)) < 4 * means.std() / np.sqrt(4000)
        assert stated.mean() == pytest.approx(means.var(), rel=0.08)  # a variance of 4,000 draws: ± 2.2 %
    products = [("before", "before"), ("before", "spent"), ("spent", "spent"), ("bought", "bought")]
    for x, y in products:
        estimates = np.array([sums.cov(x, y) for sums in drawn])
        assert abs(estimates.mean() - exact.cov(x, y)) < 4.5 * estimates.std() / np.sqrt(4000)


def test_a_centre_near_the_mean_takes_the_noise_of_n_out_of_the_mean():
    values = rows(400)
    far = Metric("m", MetricKind.MEAN, "before", cap=9.0)
    near = replace(far, centre=4.5)
    noise = SumsNoise(n=100.0)
    added = [
        replace(sums, noise=noise).mean_cov("before", "before") - sums.mean_cov("before", "before")
        for sums in (ArmSums.from_rows(values, [far]), ArmSums.from_rows(values, [near]))
    ]
    assert added[0] > 100 * added[1] >= 0


def test_adding_sums_adds_their_noise():
    sums = replace(ArmSums.from_rows(rows(9), METRICS), noise=SumsNoise(2.0, {"spent": 3.0}))
    total = sums + sums + ArmSums.zero(METRICS)
    assert total.noise.n == 4.0
    assert total.noise.totals["spent"] == 6.0
    assert not total.exact
    assert ArmSums.from_rows(rows(9), METRICS).exact


def test_sums_are_their_dict_through_json():
    sums = noisy(ArmSums.from_rows(rows(9), METRICS), 1.0, np.random.default_rng(0))
    assert ArmSums.from_dict(json.loads(json.dumps(sums.to_dict()))) == sums


def test_what_says_nothing_is_told_so():
    one = ArmSums.from_rows(rows(1), METRICS)
    with pytest.raises(SumsTooSmall, match="n=1: must be 2 or more"):
        one.mean("spent")
    few = replace(ArmSums.from_rows(rows(40), METRICS), noise=SumsNoise(n=100.0))
    with pytest.raises(SumsTooSmall, match="n=40: must be 50 or more"):
        few.mean("spent")
    same = ArmSums.from_rows({x: np.ones(5) for x in ("bought", "spent", "before")}, METRICS)
    with pytest.raises(SumsTooSmall, match="all shoppers have one value"):
        same.var("bought")
    drowned = ArmSums(60.0, {"x": 9.0}, {("x", "x"): -3.0}, SumsNoise(products={("x", "x"): 9.0}))
    with pytest.raises(SumsTooSmall, match="noise is larger than the signal"):
        drowned.var("x")


def test_sums_that_cannot_be_are_refused():
    with pytest.raises(DataError, match="must be finite"):
        ArmSums(float("nan"), {}, {})
    with pytest.raises(DataError, match="sorted pair of columns"):
        ArmSums(2.0, {"a": 1.0, "b": 1.0}, {("b", "a"): 1.0})
    with pytest.raises(DataError, match="noise must be of sums that there are"):
        ArmSums(2.0, {"a": 1.0}, {}, SumsNoise(totals={"b": 1.0}))
    with pytest.raises(DataError, match="same columns"):
        _ = ArmSums.zero(METRICS) + ArmSums.zero(METRICS[:1])
    with pytest.raises(DataError, match="same indicators and centres"):
        _ = ArmSums(1.0, {"a": 1.0}, {}) + ArmSums(1.0, {"a": 1.0}, {}, centres={"a": 0.5})
    with pytest.raises(DataError, match="did not ask for it"):
        ArmSums.from_rows(rows(9), METRICS).cov("bought", "spent")


def test_rows_of_columns_of_different_lengths_are_refused():
    with pytest.raises(DataError, match=r"columns have lengths \[5, 6\], must have the same"):
        ArmSums.from_rows(rows(6) | {"bought": np.ones(5)}, METRICS)
