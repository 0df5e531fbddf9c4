"""What a device adds to the sums from which the mix is learned, and the plans of those sums. Maths only, no I/O.

A device sends, of its own last example, the gradient of each list's loss and once its Hessian: a few hundred numbers
that do not grow with the catalogue. Its pool, its features and what it took stay where they are. Devices that judge
(the guard) send figures instead, and never gradients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from data.errors import FederationError
from federation.learning.privacy_plan import least_sigma
from federation.private_sum.plan import Part, SumPlan
from recsys.evaluation.mix_guard import GUARD_CLIP
from recsys.mix.examples import Examples
from recsys.mix.features import FEATURES, N_FEATURES
from recsys.mix.fit import GRADIENT_CLIP, HESSIAN_CLIP, STEPS, StepSums, clip_scale
from recsys.mix.loss import loss_parts
from recsys.mix.priors import LISTS, ListName

Floats = npt.NDArray[np.float64]

TRIANGLE = np.triu_indices(N_FEATURES)
JUDGED = 2 + len(FEATURES)
"""Candidates of the guard beside the mix: the prior, the cautious weights and every feature alone."""

NOISE_OF_MIX = math.sqrt(STEPS)
"""Noise multiplier of these sums in units of a training round's: all STEPS together then cost as much as one round."""

_STEPS_PER_CLIP = 2.0**12
"""Integer steps a clip: rounding is far below any noise."""


@dataclass(frozen=True, eq=False)
class MixUpdate:
    """All that a device ever says for the weights of the mix; gradients (F,), Hessians as upper triangles.

    hessian_*: None after the first step.
    """

    gradient_all: Floats
    gradient_new: Floats
    hessian_all: Floats | None
    hessian_new: Floats | None

    def __repr__(self) -> str:
        return "MixUpdate(…)"

    @property
    def parts(self) -> dict[str, Floats]:
        """By the name of the part in the sum."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def mix_update(examples: Mapping[ListName, Examples], weights: Mapping[ListName, Floats], step: int) -> MixUpdate:
    """Compute the update of ONE device, or the sum of those of several, each within its clips.

    examples: of the lists "all" and "new". weights: of both, (F,). step: 0 is the one that sends Hessians.
    """
    sums: dict[ListName, tuple[Floats, Floats]] = {}
    for name in LISTS:
        parts = loss_parts(examples[name].pools, examples[name].positive, weights[name])
        scale = clip_scale(parts.gradient, parts.hessian)
        sums[name] = scale @ parts.gradient, np.tensordot(scale, parts.hessian, axes=1)[TRIANGLE]
    return MixUpdate(
        gradient_all=sums["all"][0],
        gradient_new=sums["new"][0],
        hessian_all=sums["all"][1] if step == 0 else None,
        hessian_new=sums["new"][1] if step == 0 else None,
    )


def symmetric(triangle: Floats) -> Floats:
    """Rebuild the matrix (F, F) of an upper triangle."""
    matrix = np.zeros((N_FEATURES, N_FEATURES))
    matrix[TRIANGLE] = triangle
    whole: Floats = matrix + np.triu(matrix, 1).T
    return whole


def step_plan(step: int, noise_multiplier: float, *, min_reports: int, max_reports: int) -> SumPlan:
    """Plan one Newton step's sum: one report is 1/(2·noise_multiplier²)-zCDP."""
    lengths = {"gradient_all": (N_FEATURES, GRADIENT_CLIP), "gradient_new": (N_FEATURES, GRADIENT_CLIP)}
    if step == 0:
        lengths |= {name: (len(TRIANGLE[0]), HESSIAN_CLIP) for name in ("hessian_all", "hessian_new")}
    return _plan(lengths, noise_multiplier, min_reports, max_reports)


def guard_plan(noise_multiplier: float, *, min_reports: int, max_reports: int) -> SumPlan:
    """Plan the judging devices' sum: differences to the mix and their squares, of both lists."""
    lengths = {f"{what}_{name}": (JUDGED, GUARD_CLIP) for name in LISTS for what in ("apart", "square")}
    return _plan(lengths, noise_multiplier, min_reports, max_reports)


def _plan(lengths: Mapping[str, tuple[int, float]], z: float, min_reports: int, max_reports: int) -> SumPlan:
    parts = tuple(Part(name, length, clip, _STEPS_PER_CLIP / clip) for name, (length, clip) in lengths.items())
    quiet = SumPlan(parts, min_reports, max_reports, sigma=0)
    return SumPlan(parts, min_reports, max_reports, least_sigma(z, quiet.sensitivity_squared))


def step_sums(
    parts: Mapping[str, Floats], listed: str, reports: float, hessian: Floats | None, noise: float
) -> StepSums:
    """Read what a Newton step of one list needs, from a sum's parts.

    hessian: (F, F) of the first step, for later ones.
    """
    if hessian is None:
        triangle = parts.get(f"hessian_{listed}")
        if triangle is None:
            raise FederationError(f"hessian_{listed}: missing; the first step's sum has it")
        hessian = symmetric(triangle)
    return StepSums(reports, parts[f"gradient_{listed}"], hessian, noise)
