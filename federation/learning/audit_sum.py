"""An audit as a private sum: the plan that its layout and (ε, δ) make. Of no single device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from federation.learning.privacy_plan import least_noise, least_sigma
from federation.private_sum.plan import Part, SumPlan
from recsys.fairness.audit_layout import AuditLayout

PART = "audit"
SCALE = 1024.0
"""Integer steps of one: rounding is far below any noise."""
ROOM = 1.0 + 2.0**-40
"""A device's vector is within the bound exactly; clipping must not scale it by a float's last bit."""


def audit_plan(
    layout: AuditLayout, *, epsilon: float | None, delta: float, min_reports: int, max_reports: int
) -> SumPlan:
    """Plan the sum: one party's σ is for the whole audit's (ε, δ) of a device; no noise without ε.

    Raises PlanRefused.
    """
    part = Part(PART, layout.length, layout.bound * ROOM, SCALE)
    quiet = SumPlan((part,), min_reports, max_reports, sigma=0)
    if epsilon is None:
        return quiet
    return replace(quiet, sigma=least_sigma(least_noise(epsilon, delta, 1), quiet.sensitivity_squared))


def noise_variance(plan: SumPlan) -> float:
    """Compute the variance of the noise of both parties in each sum, in the figures' own unit squared."""
    return 2.0 * plan.sigma**2 / SCALE**2


def sums_of(words: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Read a sum's words in the figures' own unit."""
    return words.astype(np.float64) / SCALE
