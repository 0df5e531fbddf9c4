"""The coefficient of a covariate when sums carry noise: what is best with it, and how far to trust it. No test.

CUPED takes θ·(x̄ − pooled x̄) away from a metric (Deng, Xu, Kohavi, Walker 2013). The least variance, noise of privacy
counted, has θ = cov(means of metric and covariate) / var(mean of covariate) with noise in both, which is the usual
regression coefficient without noise. An estimate with the relative error r then keeps 1 − r² of itself, none from
r = 1 on (the positive part of James and Stein 1961): where noise hides the coefficient, the test is Welch's without
covariate. The rule reads both arms' pooled sums and what is known of their noise, never which arm does better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add

from recsys.experiments.analysis.sums import ArmSums, SumsNoise


def coefficient_of(gradient: Mapping[str, float], covariate: str, arms: Sequence[ArmSums]) -> float:
    """Compute the coefficient to use of a metric with this gradient in its columns' means.

    0 where there is none to see.
    """
    pooled = reduce(add, arms)
    joint, spread = _moments(gradient, covariate, pooled)
    if not spread > 0.0:
        return 0.0
    if pooled.exact:
        return joint / spread
    parts = sum(1.0 / arm.n for arm in arms)
    joint_noise = sum(g * arm.noise_cov(x, covariate) for arm in arms for x, g in gradient.items())
    spread_noise = sum(arm.noise_cov(covariate, covariate) for arm in arms)
    best = (joint + joint_noise / parts) / (spread + spread_noise / parts)
    return best * max(0.0, 1.0 - relative_error_squared(gradient, covariate, pooled))


def relative_error_squared(
    gradient: Mapping[str, float], covariate: str, pooled: ArmSums, noise: SumsNoise | None = None
) -> float:
    """Compute (noise's standard deviation in joint/spread, over joint/spread)².

    By the delta method; 0 without noise.

    With C = Σ g·cov(x, z), V = var(z), deviations d of the means from their centres, and D = Σ g·d_x, the ratio's
    logarithm moves by g/C a unit of Σxz, −1/V of Σz², 2·d_z/V − D/C of Σz, −g·d_z/C of Σx, and d_z·D/C − d_z²/V of Σ1,
    each over n − 1. noise: None is the sums' own; a plan has exact sums and the noise to come. Infinite where C is 0
    or V is not above 0.
    """
    noise = pooled.noise if noise is None else noise
    joint, spread = _moments(gradient, covariate, pooled)
    if joint == 0.0 or not spread > 0.0:
        return float("inf")
    off = {x: pooled.mean(x) - pooled.centre(x) for x in (*gradient, covariate)}
    drift, beyond = sum(g * off[x] for x, g in gradient.items()), off[covariate]
    moves = {x: -g * beyond / joint for x, g in gradient.items()}
    moves[covariate] = 2.0 * beyond / spread - drift / joint
    count = beyond * drift / joint - beyond**2 / spread
    if covariate in pooled.indicators:
        c = pooled.centre(covariate)
        moves[covariate] -= (1.0 - 2.0 * c) / spread
        count -= c * (1.0 - c) / spread
    total = count**2 * noise.n + sum(move**2 * noise.totals.get(x, 0.0) for x, move in moves.items())
    total += sum((g / joint) ** 2 * noise.product(x, covariate) for x, g in gradient.items())
    total += noise.product(covariate, covariate) / spread**2
    return total / (pooled.n - 1.0) ** 2


def _moments(gradient: Mapping[str, float], covariate: str, pooled: ArmSums) -> tuple[float, float]:
    """Compute two moments of one shopper.

    They are the covariance of the linearized metric with the covariate, and the covariate's variance.
    """
    joint = sum(g * pooled.cov(x, covariate) for x, g in gradient.items())
    return joint, pooled.cov(covariate, covariate)
