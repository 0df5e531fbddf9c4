"""Real vectors to integers and back: clip each part, round at random, never above the integer bound.

Integers travel as 32-bit words (two's complement, mod 2**32). Rounding is unbiased: y becomes ⌊y⌋ or ⌊y⌋ + 1 with the
probability that makes its mean y, up to the 2**-20 conditioning of the redraw (Kairouz, Liu, Steinke 2021).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.randomness import RandomBytes, words32
from federation.private_sum.refusals import PlanRefused

CHUNK = 16_384
"""Coordinates rounded at a time."""

Words = npt.NDArray[np.uint32]


def encode(plan: SumPlan, vectors: Mapping[str, npt.ArrayLike], random: RandomBytes) -> Words:
    """Encode vectors as (plan.length,) uint32: the parts clipped, rounded and laid one after the other.

    vectors: one array of part.length numbers for each part, of any shape, finite. random: secure_bytes() on a device,
    seeded_bytes(rng) in simulation. Raises PlanRefused for missing, unknown, wrongly sized or non-finite parts.
    """
    names = {part.name for part in plan.parts}
    if set(vectors) != names:
        raise PlanRefused(f"parts={sorted(vectors)}: must be {sorted(names)}")
    words = np.empty(plan.length, dtype=np.uint32)
    for part, where in zip(plan.parts, plan.slices().values(), strict=True):
        words[where] = _round(part, _clip(part, vectors[part.name]), random).view(np.uint32)
    return words


def decode(plan: SumPlan, sums: npt.NDArray[np.int32]) -> dict[str, npt.NDArray[np.float64]]:
    """Decode each part of a sum into its own unit. sums: (plan.length,) int32, as `to_signed` gives it."""
    if sums.shape != (plan.length,):
        raise PlanRefused(f"sum has shape {sums.shape}: must be ({plan.length},)")
    scales = {part.name: part.scale for part in plan.parts}
    return {name: sums[where] / scales[name] for name, where in plan.slices().items()}


def to_signed(words: Words) -> npt.NDArray[np.int32]:
    """Read words of a finished sum as the integers they stand for: 2**32 − 1 is −1."""
    return words.astype(np.uint32, copy=False).view(np.int32)


def _clip(part: Part, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Clip the part in integer steps, not yet rounded, to its real bound; a copy."""
    x = np.array(values, dtype=np.float64).ravel()
    if len(x) != part.length:
        raise PlanRefused(f"part {part.name}: {len(x)} numbers: must be {part.length}")
    with np.errstate(over="ignore", invalid="ignore"):
        norm = math.sqrt(float(x @ x))
    if not math.isfinite(norm):
        raise PlanRefused(f"part {part.name}: norm={norm}: must be finite")
    if part.clamped:
        np.clip(x, -part.limit, part.limit, out=x)
        x *= part.scale
    else:
        x *= part.scale * (min(1.0, part.clip_norm / norm) if norm > 0 else 1.0)
    return x


def _round(part: Part, y: npt.NDArray[np.float64], random: RandomBytes) -> npt.NDArray[np.int32]:
    """Round stochastically, and redraw until the squared norm is within part.bound_squared.

    Chunk by chunk: at 100,000 coordinates fresh memory costs more than the arithmetic.
    """
    rounded = np.empty(part.length, dtype=np.int32)
    while True:
        squared_norm = 0
        for start in range(0, part.length, CHUNK):
            piece = slice(start, min(start + CHUNK, part.length))
            steps: npt.NDArray[np.float64] = words32(random, piece.stop - start) * np.float64(2.0**-32)
            np.floor(np.add(steps, y[piece], out=steps), out=steps)
            squared_norm += _squared_norm(part, steps)
            rounded[piece] = steps
        if squared_norm <= part.bound_squared:
            return rounded


def _squared_norm(part: Part, rounded: npt.NDArray[np.float64]) -> int:
    """Sum of squares of some rounded coordinates of a clipped part, exactly.

    It is at most (c + √d)² < 8·bound_squared + 8, so float64, exact up to 2**53 and faster, serves most plans, and
    int64 all.
    """
    if part.bound_squared < 2**49:
        return int(rounded @ rounded)
    whole = rounded.astype(np.int64)
    return int(whole @ whole)
