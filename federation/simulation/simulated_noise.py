"""The noise that both parties would have added, for a simulation of a private round."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from federation.learning.item_step import RoundSums
from federation.learning.training_sum import round_sums
from federation.private_sum.noise import discrete_gaussian
from federation.private_sum.plan import SumPlan
from federation.private_sum.randomness import seeded_bytes


def add_noise(
    sums: RoundSums,
    plan: SumPlan,
    rng: np.random.Generator,
    *,
    n_block: int,
    blocks: Collection[int] | None = None,
) -> RoundSums:
    """Add noise to a round's sums as they would be published.

    Each block's sum carries √2·sigma, σ of either party.

    plan: of one block of n_block items, `PrivacyPlan.sum_plan(n_block, dim)`. blocks: those that were summed, all by
    default. The sums are returned as they are when the plan has no noise.
    """
    if not plan.private:
        return sums
    n_items, dim = sums.rows.shape
    summed = range(-(-n_items // n_block)) if blocks is None else blocks
    noise = {block: both_parties_noise(plan, rng) for block in summed}
    return sums + round_sums(plan, noise, n_items=n_items, n_block=n_block, dim=dim)


def both_parties_noise(plan: SumPlan, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Draw two independent discrete Gaussians of scale sigma and sum them, (plan.length,) int32.

    Seeded: protects nothing.
    """
    random = seeded_bytes(rng)
    service, custodian = (discrete_gaussian(plan.sigma, plan.length, random) for _ in range(2))
    return (service + custodian).astype(np.int32)
