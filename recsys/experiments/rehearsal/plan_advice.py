"""What a plan warns of and suggests, from a log's own values: skewed outcomes, hidden variances, centres and caps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from recsys.experiments.analysis.estimates import value_and_gradient
from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.metric_definitions import Metric, MetricKind, columns

Floats = npt.NDArray[np.float64]

NORMAL_FROM = 355.0
"""Shoppers an arm, times the squared skewness, from which a mean's tails are near a normal's (Kohavi et al. 2014)."""

OVERSIZED = 1.2
"""Times the level that false alarms may be before a warning."""

DRAWS, DRAWN_SHOPPERS = 4_000, 40_000_000
"""A/A experiments that are drawn, fewer where they are large."""

CAP_QUANTILES = (0.999, 0.995, 0.99, 0.98, 0.95, 0.9, 0.8)


def linearized(metric: Metric, values: Mapping[str, Floats], sums: ArmSums) -> Floats:
    """Return the metric's part of each shopper of the log, (n,): of a ratio N/D it is (N − (N/D)·D)/mean D."""
    _, gradient = value_and_gradient(metric, sums)
    parts = [g * values[x] for x, g in gradient.items()]
    return np.asarray(np.sum(parts, axis=0), dtype=np.float64)


def skewness(values: Floats) -> float:
    """Return the third standardized moment; 0 of values that are all alike."""
    off = values - values.mean()
    spread = float((off**2).mean())
    return float((off**3).mean()) / spread**1.5 if spread > 0.0 else 0.0


def size_without_effect(values: Floats, arms: tuple[int, int], alpha: float, seed: int = 0) -> tuple[float, int]:
    """Return how often Welch's test of two arms drawn from values shows an effect, and of how many draws."""
    draws = max(400, min(DRAWS, DRAWN_SHOPPERS // sum(arms)))
    rng, hits = np.random.default_rng(seed), 0
    for _ in range(draws):
        means, variances = [], []
        for n in arms:
            drawn = values[rng.integers(0, len(values), n)]
            means.append(float(drawn.mean()))
            variances.append(float(drawn.var(ddof=1)) / n)
        total = sum(variances)
        if total > 0.0:
            df = total**2 / sum(v**2 / (n - 1.0) for v, n in zip(variances, arms, strict=True))
            hits += 2.0 * float(special.stdtr(df, -abs(means[1] - means[0]) / math.sqrt(total))) <= alpha
    return hits / draws, draws


def skew_warning(
    metric: Metric, values: Mapping[str, Floats], sums: ArmSums, arms: tuple[int, int], alpha: float
) -> dict[str, Any] | None:
    """Return what skewness does to the test of arms of so many shoppers; None where it does no harm.

    size: false alarms of A/A experiments drawn from the log. shoppers: of the smaller arm, for a skewness as it is.
    cap: of the numerator, the largest of a few quantiles at which it does no harm; None where none is.
    """
    one = linearized(metric, values, sums)
    skew, least = skewness(one), min(arms)
    if least < 2 or NORMAL_FROM * skew**2 <= least:
        return None
    size, draws = size_without_effect(one, arms, alpha)
    if _harmless(size, draws, alpha):
        return None
    cap = None
    if metric.kind not in (MetricKind.PROPORTION, MetricKind.QUANTILE):
        top = values[metric.numerator]
        for quantile in CAP_QUANTILES:
            tried = float(np.quantile(top[top > 0.0], quantile))
            capped = {**values, metric.numerator: np.minimum(top, tried)}
            again = linearized(metric, capped, ArmSums.from_rows(capped, [metric]))
            if _harmless(*size_without_effect(again, arms, alpha), alpha):
                cap = tried
                break
    return {
        "skewness": skew,
        "arms": list(arms),
        "size": size,
        "alpha": alpha,
        "shoppers": math.ceil(NORMAL_FROM * skew**2),
        "cap": cap,
    }


def _harmless(size: float, draws: int, alpha: float) -> bool:
    """Whether so many false alarms are the level's, as far as so many draws tell."""
    return size - 2.0 * math.sqrt(alpha * (1.0 - alpha) / draws) <= OVERSIZED * alpha


def hidden_variance(metric: Metric, sums: ArmSums, noise: SumsNoise, shoppers: float) -> float:
    """Return the chance that noise leaves an arm of so many shoppers no variance of the metric above 0.

    By the delta method: with gradient g and deviations d of the means from their centres, the variance of one shopper
    moves by g_x·g_y/n a unit of Σxy, twice that for x ≠ y, and by −2·g_x·(Σ g·d)/n a unit of Σx. Then an interval falls
    back on the largest variance that caps allow, and is wide.
    """
    _, gradient = value_and_gradient(metric, sums)
    drift = sum(g * (sums.mean(x) - sums.centre(x)) for x, g in gradient.items())
    moved, names = 0.0, sorted(gradient)
    for at, x in enumerate(names):
        linear = -2.0 * gradient[x] * drift
        if x in sums.indicators:
            linear += gradient[x] ** 2 * (1.0 - 2.0 * sums.centre(x))
        moved += linear**2 * noise.totals.get(x, 0.0)
        for y in names[at:]:
            weight = gradient[x] * gradient[y] * (1.0 if x == y else 2.0)
            moved += weight**2 * noise.product(x, y)
    variance = sum(g * h * sums.cov(x, y) for x, g in gradient.items() for y, h in gradient.items())
    return float(special.ndtr(-variance * shoppers / math.sqrt(moved))) if moved > 0.0 else 0.0


def with_centres(experiment: Experiment, sums: ArmSums) -> tuple[Experiment, dict[str, float]]:
    """Return the experiment with the log's means as centres of columns that have none, and those it put there."""
    named = {column.name: column for column in columns(experiment.metrics)}
    thresholds = {name for metric in experiment.metrics for name in metric.thresholds}
    found = {}
    for name, column in named.items():
        guess = min(float(f"{max(sums.mean(name), 0.0):.2g}"), column.cap)
        if not column.centre and column.between is None and guess > 0.0 and name not in thresholds:
            found[name] = guess
    metrics = tuple(_centred(metric, found) for metric in experiment.metrics)
    return replace(experiment, metrics=metrics), found


def _centred(metric: Metric, centres: Mapping[str, float]) -> Metric:
    fields = {
        "centre": metric.numerator,
        "denominator_centre": metric.denominator,
        "covariate_centre": metric.covariate,
    }
    changes: dict[str, Any] = {
        field: centres[name] for field, name in fields.items() if name is not None and name in centres
    }
    return replace(metric, **changes)
