"""How one noise is best shared among the sums of an experiment: which coordinate gets how much of the sensitivity.

One σ covers all coordinates of a private sum, so a coordinate's noise in its own unit is σ over its scale; scales are
free as long as no shopper's vector is longer than the bound. Plans noise; adds none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from data.errors import DataError
from recsys.experiments.estimates import value_and_gradient
from recsys.experiments.metrics import Metric, Pair, Role, columns, pair, products
from recsys.experiments.sums import ArmSums, SumsNoise

Key = tuple[()] | tuple[str] | Pair
"""() is Σ 1, (x,) is Σ (x − c), a sorted (x, y) is Σ (x − c)(y − d)."""

PRIMARY, OTHER = 1.0, 0.5
"""How much a metric's standard error matters: the primary decides, the others are watched."""


def coordinates(metrics: Iterable[Metric]) -> dict[Key, float]:
    """Every sum of one arm and cell, and the bound on what one shopper adds to it: the fewest that will do."""
    metrics = tuple(metrics)
    bound = {column.name: column.bound for column in columns(metrics)}
    made: dict[Key, float] = {(): 1.0}
    made |= {(x,): bound[x] for x in bound}
    return made | {(x, y): bound[x] * bound[y] for x, y in products(metrics)}


def best_shares(bounds: Mapping[Key, float], weights: Mapping[Key, float]) -> dict[Key, float]:
    """Shares s_k of the sensitivity, Σ s_k² = 1, which make Σ (w_k·noise_k)² least: s_k ∝ √(w_k·b_k).

    With σ the noise of a vector of length 1, noise_k = σ·b_k/s_k. The least is σ²·(Σ w_k·b_k)² (Cauchy-Schwarz); equal
    shares have σ²·K·Σ (w_k·b_k)². bounds, weights: of the same keys, above 0.
    """
    if set(bounds) != set(weights) or not all(v > 0 for v in (*bounds.values(), *weights.values())):
        raise DataError("bounds, weights: must have the same keys and be above 0")
    wanted = {key: math.sqrt(weights[key] * bounds[key]) for key in bounds}
    norm = math.sqrt(sum(share**2 for share in wanted.values()))
    return {key: share / norm for key, share in wanted.items()}


def weights(metrics: Iterable[Metric], expected: ArmSums) -> dict[Key, float]:
    """How much noise in each sum of an arm costs, for best_shares; expected: an arm as it will be at the end.

    Of a total, the standard errors of its metrics that one unit of it moves them; of Σ 1, through mean − centre, and at
    least a thousandth of a shopper's own unit; of a product, the relative change of the standard error. Both widen or
    blur an interval alike. Squared over metrics, primary before others.
    """
    metrics = tuple(metrics)
    squares = dict.fromkeys(coordinates(metrics), 0.0)
    for metric in metrics:
        importance = (PRIMARY if metric.role is Role.PRIMARY else OTHER) ** 2
        _, gradient = value_and_gradient(metric, expected)
        variance = sum(g * h * expected.cov(x, y) for x, g in gradient.items() for y, h in gradient.items())
        if metric.covariate is not None:
            linear = sum(g * expected.cov(x, metric.covariate) for x, g in gradient.items())
            gradient[metric.covariate] = -linear / expected.var(metric.covariate)
            variance += linear * gradient[metric.covariate]
        n = expected.n
        through_n = sum(g * (expected.mean(x) - expected.centre(x)) for x, g in gradient.items())
        squares[()] += importance * (through_n**2 + 1e-6 * variance) / (n * variance)
        for x, g in gradient.items():
            squares[(x,)] += importance * g**2 / (n * variance)
            for y, h in gradient.items():
                if (key := pair(x, y)) in squares and x <= y:
                    twice = 1.0 if x == y else 2.0
                    squares[key] += importance * (twice * g * h / (2.0 * n * variance)) ** 2
    least = max(squares.values()) * 1e-12
    return {key: math.sqrt(max(square, least)) for key, square in squares.items()}


def noise_of(bounds: Mapping[Key, float], shares: Mapping[Key, float], sigma: float) -> SumsNoise:
    """Variances of the noise when a vector of length 1 gets noise of standard deviation sigma a coordinate.

    Of a private sum that is √2·z for noise multiplier z of each of the two parties, once a batch.
    """
    variance = {key: (sigma * bounds[key] / share) ** 2 for key, share in shares.items()}
    return SumsNoise(
        n=variance[()],
        totals={key[0]: value for key, value in variance.items() if len(key) == 1},
        products={(key[0], key[1]): value for key, value in variance.items() if len(key) == 2},
    )
