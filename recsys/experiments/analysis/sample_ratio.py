"""Sample-ratio mismatch as an always-valid test: do the arms hold as many shoppers as their weights say.

A multinomial test by a Dirichlet mixture (Lindon and Malek 2022), for exact counts; for counts with noise of privacy
its Gaussian limit. Not the chi-squared test, which alarms too often when looked at again and again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from data.errors import DataError

ALPHA = 1e-3
"""An alarm stops an experiment, and thousands run: the convention among testers is one false alarm in a thousand."""

CONCENTRATION = 1_000.0
"""Of the mixture about the weights: shares that are off by some 1.6 points (of 50) are what it looks for first."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SampleRatio:
    """A test of the counts at the last look. p_value: always valid, the least over the looks. mismatch: p ≤ alpha."""

    observed: dict[str, float]
    expected: dict[str, float]
    p_value: float
    mismatch: bool


def sample_ratio(
    counts: Sequence[dict[str, float]],
    weights: dict[str, float],
    noise: Sequence[dict[str, float]] | None = None,
    *,
    alpha: float = ALPHA,
    concentration: float = CONCENTRATION,
) -> SampleRatio:
    """Judge cumulative counts of each look, arm → shoppers, against weights, arm → positive number of any sum.

    noise: variance of each count's noise, at each look; without, counts are whole numbers.
    """
    if len(weights) < 2 or not all(math.isfinite(w) and w > 0 for w in weights.values()):
        raise DataError(f"weights={weights}: must be 2 or more, each above 0")
    if not counts or any(set(look) != set(weights) for look in counts):
        raise DataError(f"counts: must have the arms {', '.join(weights)} at 1 look or more")
    shares = np.array(list(weights.values())) / sum(weights.values())
    greatest = 0.0
    for k, look in enumerate(counts):
        seen = np.array([look[arm] for arm in weights])
        variances = np.zeros(len(seen)) if noise is None else np.array([noise[k].get(arm, 0.0) for arm in weights])
        judge = gaussian_log_e if variances.any() else dirichlet_log_e
        if seen.sum() > 0:
            greatest = max(greatest, float(judge(seen, shares, variances, concentration)))
    p_value = math.exp(-greatest)
    last = counts[-1]
    total = sum(last.values())
    return SampleRatio(
        observed={arm: float(last[arm]) for arm in weights},
        expected={arm: float(share * total) for arm, share in zip(weights, shares, strict=True)},
        p_value=p_value,
        mismatch=p_value <= alpha,
    )


def dirichlet_log_e(counts: Floats, shares: Floats, _: Floats | None = None, c: float = CONCENTRATION) -> Floats:
    """Compute ln of the Bayes factor of Dirichlet(c·shares) against shares, (...) for exact counts (..., arms)."""
    n = counts.sum(axis=-1)
    prior = c * shares
    log_e: Floats = (
        special.gammaln(c)
        - special.gammaln(c + n)
        + (special.gammaln(prior + counts) - special.gammaln(prior) - counts * np.log(shares)).sum(axis=-1)
    )
    return log_e


def gaussian_log_e(counts: Floats, shares: Floats, noise: Floats, c: float = CONCENTRATION) -> float:
    """Compute the same of noisy counts (arms,).

    d = counts − shares·Σ counts is nearly Gaussian, with independent increments.

    Mixing exp(λ·d − λ'Σλ/2) over λ ~ N(0, P): ½ d'(Σ + P⁻¹)⁻¹ d − ½ ln det(1 + ΣP), with P⁻¹ = c·(diag shares −
    shares·shares'), the Dirichlet's covariance as a drift of one shopper. The last arm follows from the others.
    """
    keep = slice(0, len(shares) - 1)
    centring = np.eye(len(shares)) - shares[:, None]
    covariance = np.diag(shares) - np.outer(shares, shares)
    spread = (max(counts.sum(), 0.0) * covariance + centring @ np.diag(noise) @ centring.T)[keep, keep]
    inverse_prior = c * covariance[keep, keep]
    d = (centring @ counts)[keep]
    fit = d @ np.linalg.solve(spread + inverse_prior, d)
    _, log_det = np.linalg.slogdet(np.eye(len(d)) + np.linalg.solve(inverse_prior, spread))
    return float(fit - log_det) / 2.0
