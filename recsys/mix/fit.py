"""Newton steps of the mix from sums over devices; what a sum is made of is private, the steps are public.

    w ← w − (H + ρ·n·I)⁻¹ (g + ρ·n·(w − w₀))

g, H: sums of clipped gradients and mid Hessians of n devices; w₀: the prior of the recipe, ρ its ridge a device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from recsys.mix.priors import LISTS, ListName

Floats = npt.NDArray[np.float64]

RIDGE = 0.005
"""Ridge of one device's loss: about a two-hundredth of the curvature of a feature that matters."""


@dataclass(frozen=True, eq=False, repr=False)
class StepSums:
    """The sums that one Newton step needs.

    n: devices that reported; gradient: (F,); hessian: (F, F) symmetric, and the standard deviation of the noise in it.
    """

    n: float
    gradient: Floats
    hessian: Floats
    hessian_noise: float = 0.0


@dataclass(frozen=True, eq=False, repr=False)
class FitState:
    """A fit on its way, as a bundle carries it from one live round to the next. All of it is public.

    step: of the sum that comes next, STEPS for the guard, more when it is over. weights: of each list, (F,).
    hessians: of each list, (F, F), of the first step. reports: to the first step. devices: those of them with an
    example, as the sum says. noise: standard deviation in each entry of the Hessians.
    """

    step: int
    weights: Mapping[ListName, Floats]
    hessians: Mapping[ListName, Floats] = field(default_factory=dict)
    reports: int = 0
    devices: float = 0.0
    noise: float = 0.0

    @property
    def settings(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {
            "step": self.step,
            "weights": {name: weights.tolist() for name, weights in self.weights.items()},
            "hessians": {name: hessian.tolist() for name, hessian in self.hessians.items()},
            "reports": self.reports,
            "devices": self.devices,
            "noise": self.noise,
        }


def read_fit(settings: Mapping[str, Any], n_features: int) -> FitState:
    """Read a fit of its settings. Raises ModelError, and KeyError, TypeError or ValueError, for anything else."""
    weights: dict[ListName, Floats] = {name: np.asarray(settings["weights"][name], np.float64) for name in LISTS}
    hessians: dict[ListName, Floats] = {
        name: np.asarray(settings["hessians"][name], np.float64) for name in LISTS if name in settings["hessians"]
    }
    arrays = [*weights.values(), *hessians.values()]
    shapes = [(n_features,)] * len(weights) + [(n_features, n_features)] * len(hessians)
    numbers = [float(settings["devices"]), float(settings["noise"])]
    if [array.shape for array in arrays] != shapes or not all(np.isfinite(array).all() for array in arrays):
        raise ModelError(f"mix: fit {[array.shape for array in arrays]}: must be finite and of {n_features} features")
    if not np.isfinite(numbers).all() or settings["step"] < 0:
        raise ModelError(f"mix: fit at step {settings['step']}, devices and noise {numbers}: must be finite, 0 or more")
    return FitState(int(settings["step"]), weights, hessians, int(settings["reports"]), *numbers)


SumStep = Callable[[int, Floats], StepSums]
"""The sums of step number `step` at weights (F,): in one process, or the outcome of a private sum."""


def clip_scale(gradient: Floats, hessian: Floats, gradient_clip: float, hessian_clip: float) -> Floats:
    """Compute the weight in (0, 1] of each device that keeps both of its parts within their clips, (n,).

    gradient: (n, F); hessian: (n, F, F), whose Frobenius norm is bounded.

    One weight for both: clipped apart, a device's Hessian shrinks more than its gradient and Newton oversteps.
    """
    norm = np.sqrt((gradient**2).sum(axis=1))
    size = np.sqrt((hessian**2).sum(axis=(1, 2)))
    at_most = np.minimum(gradient_clip / np.maximum(norm, 1e-300), hessian_clip / np.maximum(size, 1e-300))
    scale: Floats = np.minimum(1.0, at_most)
    return scale


def newton(sum_step: SumStep, prior: Floats, *, steps: int, ridge: float = RIDGE) -> Floats:
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
