"""The sums from which the weights of the mix are learned: their parts, and which of them a plan is. No model is loaded.

The weights take STEPS Newton steps, the first of which brings Hessians too, and then devices that judge. Each is a
private sum of its own, over the one block 0..0: no length depends on the catalogue.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Literal

from federation.private_sum.plan import Part

MixSum = Literal["first_step", "step", "guard"]

STEPS = 5
GRADIENT_CLIP, HESSIAN_CLIP = 1.0, 3.0
"""Of one device, the Hessian in Frobenius norm: 1 for both lost up to half of the gain, without any noise."""

GUARD_CLIP = 2.0
"""Bound on the norm of one judging device's differences of a list, numbers in [−1, 1]; and of their squares."""

NOISE_OF_MIX = math.sqrt(STEPS)
"""Noise multiplier of these sums in units of a training round's: all STEPS together then cost as much as one round."""

SHARE_OF_ROUND = 1.0 / STEPS
"""What one of these sums costs a device, in participations in training rounds."""

_LISTS = ("all", "new")
_GRADIENTS = tuple(f"gradient_{name}" for name in _LISTS)
_HESSIANS = tuple(f"hessian_{name}" for name in _LISTS)
_JUDGED = tuple(f"{figure}_{name}" for name in _LISTS for figure in ("apart", "square"))
_NAMES: Mapping[MixSum, tuple[str, ...]] = {
    "first_step": (*_GRADIENTS, *_HESSIANS, "one"),
    "step": (*_GRADIENTS, "one"),
    "guard": (*_JUDGED, "one"),
}
_CLIPS = {"gradient": GRADIENT_CLIP, "hessian": HESSIAN_CLIP, "apart": GUARD_CLIP, "square": GUARD_CLIP}

_STEPS_PER_CLIP = 2.0**12
"""Integer steps a clip: rounding is far below any noise."""

_ONE_SHARE = 0.25
"""Sensitivity of the number of devices, in units of that of another part."""


def judged_of(n_features: int) -> int:
    """Count the candidates of the guard beside the mix: the prior, the cautious weights and every feature alone."""
    return 2 + n_features


def mix_parts(kind: MixSum, n_features: int) -> tuple[Part, ...]:
    """List the parts of a sum, of gradients (n_features,), Hessians as upper triangles, figures, and of devices."""
    lengths = {
        "gradient": n_features,
        "hessian": n_features * (n_features + 1) // 2,
        "apart": judged_of(n_features),
        "square": judged_of(n_features),
    }
    parts = []
    for name in _NAMES[kind]:
        of = name.partition("_")[0]
        if name == "one":
            parts.append(Part("one", 1, 1.0, _ONE_SHARE * _STEPS_PER_CLIP, clamped=True))
        else:
            parts.append(Part(name, lengths[of], _CLIPS[of], _STEPS_PER_CLIP / _CLIPS[of]))
    return tuple(parts)


def mix_sum_of(names: Collection[str]) -> MixSum | None:
    """Tell which sum of the mix has parts of these names; None for any other sum."""
    return next((kind for kind, of_kind in _NAMES.items() if set(of_kind) == set(names)), None)


def n_features_of(parts: Collection[Part]) -> int:
    """Read how many features the parts of a sum of the mix are about."""
    lengths = {part.name: part.length for part in parts}
    return lengths.get(_GRADIENTS[0], lengths.get(_JUDGED[0], judged_of(0)) - judged_of(0))


def sum_at(step: int) -> MixSum | None:
    """Tell which sum comes at a step of the fit; None after the last, which is the guard."""
    if step > STEPS:
        return None
    return "guard" if step == STEPS else "step" if step else "first_step"
