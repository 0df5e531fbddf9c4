"""From a difference and a critical value to an interval: one way for every design, absolute and relative.

What the critical value is (once, at planned looks, at any time) is the design's matter:
recsys/experiments/analysis/designs.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from data.errors import DataError
from recsys.experiments.analysis.estimates import Difference

ALPHA = 0.05
"""Two-sided level, the convention of the tools that testers come from."""
POWER = 0.8
"""The convention: an effect of the planned size is found four times of five."""


@dataclass(frozen=True)
class Interval:
    """Bounds on an effect, absolute and relative to control; the relative ones are nan unless both arms are above 0."""

    low: float
    high: float
    relative_low: float
    relative_high: float


def interval(difference: Difference, critical: float) -> Interval:
    """Compute effect ± critical standard errors, and treatment/control by the log of the ratio (delta method).

    critical is of a normal statistic; Student's of the same tail stands in for it. An infinite one bounds nothing.
    """
    half = student(critical, difference.df) * math.sqrt(difference.variance)
    low, high = difference.effect - half, difference.effect + half
    if math.isnan(difference.log_variance):
        return Interval(low, high, math.nan, math.nan)
    ratio = difference.treatment / difference.control
    exponent = student(critical, difference.log_df) * math.sqrt(difference.log_variance)
    spread = math.exp(exponent) if exponent < 700.0 else math.inf
    return Interval(low, high, ratio / spread - 1.0, ratio * spread - 1.0)


def student(critical: float, df: float) -> float:
    """Find the value of Student's t that is exceeded as often as critical ≥ 0 by a standard normal."""
    tail = float(special.ndtr(-critical))
    if tail < 1e-300:
        return math.inf
    return -float(special.stdtrit(df, tail))


def normal_z(difference: Difference) -> float:
    """Express the effect in standard errors, as the normal value of the same tail as Student's.

    It is what boundaries compare.
    """
    tail = float(special.stdtr(difference.df, -abs(difference.z)))
    return math.copysign(-float(special.ndtri(tail)) if tail > 0 else 38.0, difference.effect)


def fixed_critical(alpha: float) -> float:
    """Compute the normal critical value of a single two-sided look."""
    check_alpha(alpha)
    return -float(special.ndtri(alpha / 2.0))


def fixed_p(difference: Difference) -> float:
    """Compute Welch's two-sided p-value: of ONE look that was fixed before."""
    return 2.0 * float(special.stdtr(difference.df, -abs(difference.z)))


def check_alpha(alpha: float) -> None:
    """Raise DataError unless it is a level."""
    if not 0.0 < alpha < 1.0:
        raise DataError(f"alpha={alpha}: must be above 0 and below 1")
