"""What privacy widens an interval by: the private sum as it is shipped, both parties' noise, every coordinate."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from federation.learning.experiment_sum import experiment_plan
from federation.learning.privacy_plan import least_noise
from recsys.experiments.analysis.allocation import coordinates, noise_of, shares_for
from recsys.experiments.analysis.estimates import difference
from recsys.experiments.analysis.intervals import fixed_critical, interval
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.metric_definitions import Metric, Role
from tests.benchmarks.experiments_draws import CLICKS, CONTROL, CONVERSION, REVENUE, experiment, shoppers

DELTA = 1e-6
EPSILON, SHOPPERS = 0.5, 20_000
CUPED = replace(REVENUE, covariate="spent_before", covariate_cap=1_000.0, covariate_centre=2.0)
UNCENTRED = replace(CONVERSION, centre=0.0)
SETS: dict[str, tuple[Metric, ...]] = {
    "conversion": (CONVERSION,),
    "and revenue": (CONVERSION, REVENUE),
    "and its covariate": (CONVERSION, CUPED),
    "and a ratio": (CONVERSION, CUPED, CLICKS),
}


def expected(metrics: tuple[Metric, ...], n: int) -> ArmSums:
    """An arm of n shoppers as they are on average."""
    rng = np.random.default_rng(7)
    rows = shoppers((SHOPPERS,), rng)
    rows["bought"] = (np.arange(SHOPPERS) % 25 == 0).astype(np.float64)  # exactly 4 %
    rows["spent"] = rows["bought"] * np.minimum(rng.lognormal(3.5, 1.2, SHOPPERS), 1_000.0)
    rows["spent_before"] = np.minimum(rows["spent"] * 0.5 + (rng.random(SHOPPERS) < 0.04) * 40.0, 1_000.0)
    sums = ArmSums.from_rows(rows, metrics)
    scale = n / SHOPPERS
    return replace(
        sums,
        n=sums.n * scale,
        totals={x: total * scale for x, total in sums.totals.items()},
        products={key: total * scale for key, total in sums.products.items()},
    )


def shipped_noise(made: Experiment, windows: int) -> SumsNoise:
    """Variances of an arm's noise as the shipped plan has them: σ of each party, both parties', all windows'."""
    layout = layout_of(made)
    total = np.zeros(layout.length, dtype=np.int64)
    return layout.sums(total, sigma=experiment_plan(made).sigma, windows=windows)[CONTROL][0].noise


def ratio(metrics: tuple[Metric, ...], n: int, noise: SumsNoise) -> float:
    """Width of the primary metric's 95 % interval with noise, over that without; n shoppers an arm."""
    arm = expected(metrics, n)
    primary = next(metric for metric in metrics if metric.role is Role.PRIMARY)
    widths = []
    for sums in (replace(arm, noise=noise), arm):
        bounds = interval(difference(primary, sums, sums), fixed_critical(0.05))
        widths.append(bounds.high - bounds.low)
    return widths[0] / widths[1]


def shipped(metrics: tuple[Metric, ...], *, epsilon: float = EPSILON, n: int = SHOPPERS, windows: int = 1) -> float:
    """The ratio under the shipped layout and plan."""
    return ratio(metrics, n, shipped_noise(experiment(metrics, looks=windows, epsilon=epsilon), windows))


def shared(metrics: tuple[Metric, ...], how: str, *, z: float | None = None, windows: int = 1) -> float:
    """The ratio of one batch if the sensitivity were shared equally, or as is best for these metrics."""
    bounds = coordinates(metrics)
    sigma = math.sqrt(2.0 * windows) * (least_noise(EPSILON, DELTA, 1) if z is None else z)
    shares = dict.fromkeys(bounds, len(bounds) ** -0.5)
    if how == "best":
        shares = shares_for(metrics, expected(metrics, SHOPPERS), sigma)
    return ratio(metrics, SHOPPERS, noise_of(bounds, shares, sigma))


def curves() -> dict[str, Any]:
    """Ratios against ε, shoppers, coordinates and batches, each at the others' headline values."""
    few, many = SETS["conversion"], SETS["and a ratio"]
    named = {"conversion alone": few, f"with {len(coordinates(many))} coordinates": many}
    return {
        "epsilon": {
            name: [{"x": e, "ratio": shipped(metrics, epsilon=e)} for e in (0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 4.0)]
            for name, metrics in named.items()
        },
        "shoppers_per_arm": {
            name: [{"x": n, "ratio": shipped(metrics, n=n)} for n in (5_000, 10_000, 20_000, 50_000, 100_000, 200_000)]
            for name, metrics in named.items()
        },
        "coordinates": {
            "as shipped": [_point(metrics, shipped(metrics)) for metrics in SETS.values()],
            "equal shares": [_point(metrics, shared(metrics, "equal")) for metrics in SETS.values()],
            "best shares": [_point(metrics, shared(metrics, "best")) for metrics in SETS.values()],
        },
        "batches": {
            "increments of one bound": [{"x": b, "ratio": shipped(few, windows=b)} for b in (1, 2, 5, 10, 20)],
            "each batch on its own": [
                {"x": b, "ratio": shared(few, "best", z=least_noise(EPSILON, DELTA, b), windows=b)}
                for b in (1, 2, 5, 10, 20)
            ],
        },
    }


def _point(metrics: tuple[Metric, ...], value: float) -> dict[str, float]:
    return {"x": len(coordinates(metrics)), "ratio": value}
