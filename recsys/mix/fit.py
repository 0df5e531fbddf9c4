"""Newton steps of the mix from sums over devices; what a sum is made of is private, the steps are public.

    w ← w − (H + ρ·n·I)⁻¹ (g + ρ·n·(w − w₀))

g, H: sums of clipped gradients and mid Hessians of n devices; w₀: the prior of the recipe, ρ its ridge a device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RIDGE = 0.005
"""Ridge of one device's loss: about a two-hundredth of the curvature of a feature that matters."""

STEPS = 5
GRADIENT_CLIP, HESSIAN_CLIP = 1.0, 3.0
"""Bound on one device's Hessian, in Frobenius norm: 1 for both lost up to half of the gain, without any noise."""


@dataclass(frozen=True, eq=False, repr=False)
class StepSums:
    """The sums that one Newton step needs.

    n: devices that reported; gradient: (F,); hessian: (F, F) symmetric, and the standard deviation of the noise in it.
    """

    n: float
    gradient: Floats
    hessian: Floats
    hessian_noise: float = 0.0


SumStep = Callable[[int, Floats], StepSums]
"""The sums of step number `step` at weights (F,): in one process, or the outcome of a private sum."""


def clip_scale(gradient: Floats, hessian: Floats) -> Floats:
    """Compute the weight in (0, 1] of each device that keeps both of its parts within their clips, (n,).

    One weight for both: clipped apart, a device's Hessian shrinks more than its gradient and Newton oversteps.
    """
    norm = np.sqrt((gradient**2).sum(axis=1))
    size = np.sqrt((hessian**2).sum(axis=(1, 2)))
    at_most = np.minimum(GRADIENT_CLIP / np.maximum(norm, 1e-300), HESSIAN_CLIP / np.maximum(size, 1e-300))
    scale: Floats = np.minimum(1.0, at_most)
    return scale


def newton(sum_step: SumStep, prior: Floats, *, steps: int = STEPS, ridge: float = RIDGE) -> Floats:
    """Step from the prior to weights (F,); the prior itself where no device counted."""
    weights = prior.astype(np.float64)
    for step in range(steps):
        weights = newton_step(weights, sum_step(step, weights), prior, ridge)
    return weights


def newton_step(weights: Floats, sums: StepSums, prior: Floats, ridge: float = RIDGE) -> Floats:
    """Step the weights once.

    An eigenvalue below what noise alone would make counts as large as that.

    A symmetric matrix of independent noise s has a spectral norm of about 2·s·√F (Wigner 1955).
    """
    if sums.n < 1:
        return weights
    values, vectors = np.linalg.eigh((sums.hessian + sums.hessian.T) / 2)
    floor = 2.0 * sums.hessian_noise * np.sqrt(len(weights))
    pull = ridge * sums.n
    gradient = sums.gradient + pull * (weights - prior)
    step = vectors @ ((vectors.T @ gradient) / (np.maximum(values, floor) + pull))
    moved: Floats = weights - step
    return moved
