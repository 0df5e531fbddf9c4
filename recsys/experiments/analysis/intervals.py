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
from recsys.experiments.analysis.student_tails import normal_of_student, student_of_normal

ALPHA = 0.05
"""Two-sided level, the convention of the tools that testers come from."""
POWER = 0.8
"""The convention: an effect of the planned size is found four times of five."""


@dataclass(frozen=True)
class Interval:
    """Bounds on an effect, absolute and relative to control; the relative ones are nan where control may be 0."""

    low: float
    high: float
    relative_low: float
    relative_high: float


def interval(difference: Difference, critical: float) -> Interval:
    """Bound the effect: ± critical standard errors, and treatment/control − 1 by Fieller's theorem (1954).

    critical is of a normal statistic; Student's of the same tail stands in for it. An infinite one bounds nothing.
    Both intervals are of one test: treatment/control = ρ is within where treatment − ρ·control is no further from 0
    than critical standard errors, so the relative interval holds 0 exactly where the absolute one does.
    """
    reach = student_of_normal(critical, difference.df)
    half = reach * math.sqrt(difference.variance)
    low, high = difference.effect - half, difference.effect + half
    return Interval(low, high, *_fieller(difference, reach))


def _fieller(difference: Difference, reach: float) -> tuple[float, float]:
    """Roots of (treatment − ρ·control)² = reach²·(its variance), less 1; nan where control is within reach of 0."""
    control, treatment = difference.control, difference.treatment
    if not control > 0.0 or math.isnan(difference.control_variance):
        return math.nan, math.nan
    if math.isinf(reach):
        return -1.0, math.inf
    own = difference.control_variance
    square = control**2 - reach**2 * own
    if not square > 0.0:
        return math.nan, math.nan
    rest = treatment**2 - reach**2 * (difference.variance - own)
    root = math.sqrt(max((treatment * control) ** 2 - square * rest, 0.0))
    lowest = min(-1.0, difference.relative)  # no outcome is below 0, noise of privacy alone takes one there
    return max((treatment * control - root) / square - 1.0, lowest), (treatment * control + root) / square - 1.0


def normal_z(difference: Difference) -> float:
    """Return the effect in standard errors, as the normal value of the same tail as Student's.

    What boundaries compare.
    """
    return math.copysign(normal_of_student(abs(difference.z), difference.df), difference.effect)


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
