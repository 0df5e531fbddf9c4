"""How one noise is best shared among the sums of an experiment: which coordinate gets how much of the sensitivity.

One σ covers all coordinates of a private sum, so a coordinate's noise in its own unit is σ over its scale; scales are
free as long as no shopper's vector is longer than the bound. Plans noise; adds none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from data.errors import DataError
from recsys.experiments.analysis.estimates import value_and_gradient
from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.definition.metric_definitions import Metric, Pair, Role, columns, products

Key = tuple[()] | tuple[str] | Pair
"""() is Σ 1, (x,) is Σ (x − c), a sorted (x, y) is Σ (x − c)(y − d)."""

PRIMARY, OTHER = 1.0, 0.1
"""How much the width of a metric's interval matters: the primary decides, the others are watched."""

ROUNDS = 50
"""Of majorize-minimize: the shares then stand to four digits."""


def coordinates(metrics: Iterable[Metric]) -> dict[Key, float]:
    """Bound what one shopper adds to every sum of one arm and cell: the fewest sums that will do."""
    metrics = tuple(metrics)
    bound = {column.name: column.bound for column in columns(metrics)}
    bounds: dict[Key, float] = {(): 1.0}
    bounds |= {(x,): bound[x] for x in bound}
    return bounds | {(x, y): bound[x] * bound[y] for x, y in products(metrics)}


def best_shares(bounds: Mapping[Key, float], weights: Mapping[Key, float]) -> dict[Key, float]:
    """Share out the sensitivity: shares s_k, Σ s_k² = 1, which make Σ (w_k·noise_k)² least: s_k ∝ √(w_k·b_k).

    With σ the noise of a vector of length 1, noise_k = σ·b_k/s_k. The least is σ²·(Σ w_k·b_k)² (Cauchy-Schwarz); equal
    shares have σ²·K·Σ (w_k·b_k)². bounds, weights: of the same keys, above 0.
    """
    if set(bounds) != set(weights) or not all(v > 0 for v in (*bounds.values(), *weights.values())):
        raise DataError("bounds, weights: must have the same keys and be above 0")
    wanted = {key: math.sqrt(weights[key] * bounds[key]) for key in bounds}
    norm = math.sqrt(sum(share**2 for share in wanted.values()))
    return {key: share / norm for key, share in wanted.items()}


def shares_for(metrics: Iterable[Metric], expected: ArmSums, sigma: float) -> dict[Key, float]:
    """Choose the shares that make Σ importance·ln(width/width without noise) of the metrics' intervals small.

    expected: an arm as it will be at the end, by a replayed log. sigma: as in noise_of. The logarithm keeps a metric
    that no share can save from starving the others: noise costs ln(1 + x) with x its variance over sampling's, bounded
    above by its tangent and solved again until it stands (majorize-minimize, Hunter and Lange 2004).
    """
    metrics = tuple(metrics)
    bounds = coordinates(metrics)
    costs = [_costs(metric, expected, bounds) for metric in metrics]
    importance = [PRIMARY if metric.role is Role.PRIMARY else OTHER for metric in metrics]
    slopes = importance
    for _ in range(ROUNDS):
        squares = {key: sum(s * cost[key] for s, cost in zip(slopes, costs, strict=True)) for key in bounds}
        shares = best_shares(bounds, {key: math.sqrt(square) for key, square in squares.items()})
        noise = {key: (sigma * bounds[key] / shares[key]) ** 2 for key in bounds}
        added = [sum(cost[key] * noise[key] for key in bounds) for cost in costs]
        slopes = [weight / (1.0 + x) for weight, x in zip(importance, added, strict=True)]
    return shares


def _costs(metric: Metric, expected: ArmSums, bounds: Mapping[Key, float]) -> dict[Key, float]:
    """Compute by how much a unit of variance in each sum widens a metric's squared interval.

    It is relative to sampling's.

    Of a total (∂metric/∂mean)²/(n·variance); of Σ 1 through mean − centre, and at least through a tenth of a standard
    deviation, since counts are read too; of a product, the squared relative error of the standard error.
    """
    _, gradient = value_and_gradient(metric, expected)
    variance = sum(g * h * expected.cov(x, y) for x, g in gradient.items() for y, h in gradient.items())
    if metric.covariate is not None:
        linear = sum(g * expected.cov(x, metric.covariate) for x, g in gradient.items())
        gradient[metric.covariate] = -linear / expected.var(metric.covariate)
        variance += linear * gradient[metric.covariate]
    n = expected.n
    through_n = sum(g * (expected.mean(x) - expected.centre(x)) for x, g in gradient.items())
    costs = dict.fromkeys(bounds, 1e-12 / n)
    costs[()] = (through_n**2 + 0.01 * variance) / (n * variance)
    for x, g in gradient.items():
        costs[(x,)] += g**2 / (n * variance)
        for y, h in gradient.items():
            if x <= y and (x, y) in costs:
                costs[(x, y)] += ((1.0 if x == y else 2.0) * g * h / (2.0 * n * variance)) ** 2
    return costs


def noise_of(bounds: Mapping[Key, float], shares: Mapping[Key, float], sigma: float) -> SumsNoise:
    """Compute the noise's variances when a vector of length 1 gets noise of standard deviation sigma a coordinate.

    Of a private sum that is √2·z for noise multiplier z of each of the two parties, once a batch.
    """
    variance = {key: (sigma * bounds[key] / share) ** 2 for key, share in shares.items()}
    return SumsNoise(
        n=variance[()],
        totals={key[0]: value for key, value in variance.items() if len(key) == 1},
        products={(key[0], key[1]): value for key, value in variance.items() if len(key) == 2},
    )
