"""Sums of what the public tables are made of: popularity by age, statistics of the log, and which half-life foretells.

All three together cost an installation as much as one training round: each carries the round's noise multiplier over
the square root of its share.
"""

from __future__ import annotations

import math
from typing import Literal

from federation.learning.privacy_plan import noised_plan
from federation.private_sum.plan import Part, SumPlan

TableSum = Literal["popularity", "statistics", "half_life"]

SHARES: dict[TableSum, float] = {"popularity": 0.9, "statistics": 0.05, "half_life": 0.05}
"""Of the ρ of one training round. What has a few numbers needs little; they add up to 1."""

POPULARITY_CLIP = 4.0
"""Bound on the L2 norm of one device's weighed events by item and age (recsys/model/bucketed_popularity.py)."""

_STEPS = 2.0**10
"""Integer steps a clip, or a whole of a clamped number."""


def table_plan(kind: TableSum, length: int, noise_multiplier: float, *, min_reports: int, max_reports: int) -> SumPlan:
    """Plan a sum of `length` numbers a device; noise_multiplier: of a training round, 0 for none.

    popularity is bounded in norm; statistics and half_life are numbers in [0, 1], each clamped.
    """
    if kind == "popularity":
        part = Part(kind, length, POPULARITY_CLIP, _STEPS / POPULARITY_CLIP)
    else:
        part = Part(kind, length, math.sqrt(length), _STEPS, clamped=True)
    z = noise_multiplier / math.sqrt(SHARES[kind])
    return noised_plan((part,), z, min_reports=min_reports, max_reports=max_reports)


PAIR_CLIP = 1.0
"""Bound on the L2 norm of one device's pairs of items in a block: nearly every device reaches it."""


def pair_plan(cells: int, noise_multiplier: float, *, min_reports: int, max_reports: int) -> SumPlan:
    """Plan the sum of one block of a sketch of pairs: a participation of its own, at a training round's noise."""
    part = Part("pairs", cells, PAIR_CLIP, _STEPS / PAIR_CLIP)
    return noised_plan((part,), noise_multiplier, min_reports=min_reports, max_reports=max_reports)
