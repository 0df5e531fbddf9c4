"""The same sum without parties: what a simulation uses when it does not study the protocol itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from data.errors import BatchTooSmall
from federation.private_sum.fixed_point import encode, to_signed
from federation.private_sum.plan import SumPlan
from federation.private_sum.randomness import seeded_bytes
from federation.private_sum.refusals import BatchRefused


def sum_in_process(
    plan: SumPlan, vectors: Iterable[Mapping[str, npt.ArrayLike]], rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    """Sum the devices' clipped and rounded vectors without noise: (plan.length,) int32.

    Bit-equal to shares, custodian and service with sigma=0 when devices round with the same rng, one after the other.
    Raises BatchTooSmall below min_reports, BatchRefused above max_reports.
    """
    random, total, n = seeded_bytes(rng), np.zeros(plan.length, dtype=np.uint32), 0
    for vector in vectors:
        total += encode(plan, vector, random)
        n += 1
    if n < plan.min_reports:
        raise BatchTooSmall(f"reports={n}: must be at least min_reports={plan.min_reports}")
    if n > plan.max_reports:
        raise BatchRefused(f"reports={n}: must be at most max_reports={plan.max_reports}")
    return to_signed(total)
