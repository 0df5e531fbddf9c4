"""How sure a mean over users is: studentized bootstrap intervals, paired comparisons, corrections for several.

The unit of resampling is the user, never the event or the impression (Efron and Tibshirani 1993). Columns resampled
with the same seed and the same users share their resamples. Not live experiments: looking at these while data come in
is peeking.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.errors import DataError

Floats = npt.NDArray[np.float64]

RESAMPLES = 1000
LEVEL = 0.95
LEAST_SPREAD = 0.2
"""A resample of few users may hold none of the rare hits: it counts as at least so much of the spread of all users."""
CELLS_AT_ONCE = 2_000_000
"""Resampled users held in memory at a time: 16 MB per array."""


@dataclass(frozen=True)
class PairedDifference:
    """Mean of a − b over the same users, its interval, and the two-sided p-value of no difference."""

    difference: float
    low: float
    high: float
    p_value: float
    users: int


def bootstrap_means(values: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Resample users and average: (resamples, m) for values (n_users, m) without nan.

    A resample draws n_users users with replacement; all columns of a row stay together.
    """
    if len(values) == 0:
        raise DataError("values: 0 users, must be at least 1 to resample")
    rng = np.random.default_rng(seed)
    return np.concatenate([counts @ values for counts in _draws(len(values), resamples, rng)]) / len(values)


def studentized_means(values: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Resample where the true mean may be: mean − spread · t.

    Returns (resamples, m) for values (n_users, m) without nan.

    t is how far a resample's mean is from the mean in units of the resample's own spread (bootstrap-t, Efron and
    Tibshirani 1993, chapter 12). Percentiles of `bootstrap_means` fall short where most users have 0 and few have
    much, as ndcg has. Resamples are those of `bootstrap_means`.
    """
    if len(values) == 0:
        raise DataError("values: 0 users, must be at least 1 to resample")
    mean, spread = values.mean(axis=0), values.std(axis=0)
    spread = np.where(spread > 1e-12 * np.abs(values).max(axis=0), spread, 0.0)  # all alike but for rounding
    centred = values - mean
    both = np.concatenate([centred, np.square(centred)], axis=1)
    rng = np.random.default_rng(seed)
    moments = np.concatenate([counts @ both for counts in _draws(len(values), resamples, rng)]) / len(values)
    off, square = np.split(moments, 2, axis=1)
    deviation = np.sqrt(np.maximum(square - np.square(off), np.square(LEAST_SPREAD * spread)))
    t = np.divide(off, deviation, out=np.zeros_like(off), where=deviation > 0)
    return np.asarray(mean - spread * t)


def _draws(n: int, resamples: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Draw how often each of n users is drawn, (chunk, n) float64 at a time."""
    chunk = max(1, CELLS_AT_ONCE // n)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def mean_intervals(
    values: Floats,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Floats:
    """Compute the studentized interval of the mean of each column: (m, 2) for values (n_users, m).

    nan users are left out.

    within: what a value can be at all; of few users an interval would reach beyond. A column of nan alone has the
    interval (nan, nan).
    """
    present = ~np.isnan(values)
    intervals = np.full((values.shape[1], 2), np.nan)
    for pattern in np.unique(present, axis=1).T:
        if not pattern.any():
            continue
        columns = np.flatnonzero((present == pattern[:, None]).all(axis=0))
        means = studentized_means(values[np.ix_(pattern, columns)], resamples=resamples, seed=seed)
        intervals[columns] = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0).T
    clipped: Floats = np.clip(intervals, *within)
    return clipped


def paired_difference(
    a: Floats, b: Floats, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> PairedDifference:
    """Bootstrap mean(a − b) over users with both values, paired; a, b: (n_users,).

    p is twice the smaller tail of resampled differences beyond 0, counted as (1 + n) / (1 + resamples), so it is
    never 0 and agrees with whether the interval covers 0. Percentiles of means, not studentized: differences of equal
    models are symmetric, and were told apart at .05 in 5.3 % of comparisons, studentized in 6.0 %.
    """
    if a.shape != b.shape:
        raise DataError(f"a has {len(a)} users, b has {len(b)}: must be the same users")
    both = ~(np.isnan(a) | np.isnan(b))
    difference = a[both] - b[both]
    if not len(difference):
        raise DataError("a, b: no user has both values")
    means = bootstrap_means(difference[:, None], resamples=resamples, seed=seed)[:, 0]
    return difference_of_means(float(difference.mean()), means, users=len(difference), level=level)


def difference_of_means(observed: float, resampled: Floats, *, users: int, level: float = LEVEL) -> PairedDifference:
    """Summarise a difference and its resamples (resamples,) as paired_difference does: interval and p-value."""
    tail = min(int((resampled <= 0).sum()), int((resampled >= 0).sum()))
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return PairedDifference(
        difference=observed,
        low=float(low),
        high=float(high),
        p_value=min(1.0, 2 * (1 + tail) / (1 + len(resampled))),
        users=users,
    )


def holm(p_values: npt.ArrayLike) -> Floats:
    """Adjust p-values for their number (Holm 1979), in the order given; reject where ≤ the family's level.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if np.isnan(p).any() or (p < 0).any() or (p > 1).any():
        raise DataError(f"p_values={p.tolist()}: must be in 0..1")
    order = np.argsort(p, kind="stable")
    steps = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def benjamini_hochberg(p_values: npt.ArrayLike) -> Floats:
    """Adjust p-values for the false discovery rate (Benjamini and Hochberg 1995), in the order given.

    Rejecting where ≤ q, the expected share of false ones among the rejected is at most q for independent or positively
    dependent p-values.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(6).tolist()
    [0.03, 0.04, 0.04]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if np.isnan(p).any() or (p < 0).any() or (p > 1).any():
        raise DataError(f"p_values={p.tolist()}: must be in 0..1")
    order = np.argsort(-p, kind="stable")
    steps = p[order] * len(p) / np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(steps), 1.0) if len(p) else steps
    return adjusted
