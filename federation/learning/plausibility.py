"""Could a batch's sum have come from honest reports? What no set of clipped reports can add up to is discarded.

Nobody can check one share's clip, so one device that posts random words ruins a batch: this finds that out, and the
round is lost instead of the table. It cannot find a lie that stays within the sum of all reports' bounds, which is much
more room than one report has: docs/poisoning.md says what that buys an attacker.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.refusals import PlanRefused

TAILS = 7.0
"""Standard deviations of both parties' noise granted to a coordinate or a norm: passed once in 10¹¹ times."""

NEVER_NEGATIVE = ("counts", "one", "metrics")
"""Parts of which every honest coordinate is 0 or more."""


def plausible(sums: npt.NDArray[np.int32], plan: SumPlan, reports: int | None = None) -> bool:
    """Check that at most `reports` honest reports and the plan's noise can add up to one block's sums.

    sums: (plan.length,) int32 as published. reports: of the batch, public; plan.max_reports by default. An honest batch
    is called implausible less than once in 10⁹ times.
    """
    return not implausible_parts(sums, plan, reports)


def implausible_parts(sums: npt.NDArray[np.int32], plan: SumPlan, reports: int | None = None) -> tuple[str, ...]:
    """Name the parts that no honest batch has, for a log line; it says nothing about any report.

    Per part: the norm is at most reports × bound, and noise; counters are not negative and at most reports × their
    limit; the second moment, where a plan has one, has no negative eigenvalue beyond what noise makes.
    """
    n = plan.max_reports if reports is None else reports
    if not 0 <= n <= plan.max_reports:
        raise PlanRefused(f"reports={n}: must be 0..max_reports={plan.max_reports}")
    if sums.shape != (plan.length,):
        raise PlanRefused(f"sum has shape {sums.shape}: must be ({plan.length},)")
    noise = math.sqrt(2.0) * plan.sigma
    wrong = []
    for part, where in zip(plan.parts, plan.slices().values(), strict=True):
        x = sums[where].astype(np.float64)
        fits = _norm_fits(x, part, n, noise) and _signs_fit(x, part, n, noise)
        if part.name == "second":
            fits = fits and _is_moment(x, noise, n)
        if not fits:
            wrong.append(part.name)
    return tuple(wrong)


def _norm_fits(x: npt.NDArray[np.float64], part: Part, n: int, noise: float) -> bool:
    largest = n * math.sqrt(part.bound_squared) + noise * (math.sqrt(part.length) + TAILS)
    return float(np.linalg.norm(x)) <= largest * (1 + 1e-9)


def _signs_fit(x: npt.NDArray[np.float64], part: Part, n: int, noise: float) -> bool:
    """Check that counters lie between 0 and what n reports can add; rounding never leaves [⌊0⌋, ⌈limit⌉]."""
    slack = noise * (TAILS + math.sqrt(2 * math.log(part.length + 1)))
    low = -slack if part.name in NEVER_NEGATIVE else -math.inf
    return bool(x.min() >= low and float(np.abs(x).max()) <= n * part.coordinate_bound + slack)


def _is_moment(triangle: npt.NDArray[np.float64], noise: float, n: int) -> bool:
    """Check that a sum can be of u·uᵀ, from its upper triangle in steps.

    Rounding adds at most 1 a coordinate and report.
    """
    dim = round((math.sqrt(8 * len(triangle) + 1) - 1) / 2)
    if dim * (dim + 1) // 2 != len(triangle):
        return True
    full = np.zeros((dim, dim))
    full[np.triu_indices(dim)] = triangle
    full += np.triu(full, 1).T
    spectral = noise * (2 * math.sqrt(dim) + TAILS) + 2 * math.sqrt(dim * n) + TAILS * math.sqrt(n)
    return bool(np.linalg.eigvalsh(full)[0] >= -spectral)
