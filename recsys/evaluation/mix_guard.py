"""The guard: what is served for a list is the mix, unless something simpler ranks better on devices that never fitted.

Judged are the mix, the prior and each feature alone, by NDCG@20 on hold-out devices. A device reports its figures and
their differences to the mix, all bounded by 1, into one private sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.evaluation.metrics import ndcg, ranked_hits
from recsys.mix.features import FEATURES
from recsys.mix.pools import Pools
from recsys.mix.priors import CAUTIOUS, weights_of

Floats = npt.NDArray[np.float64]

GUARD_K = 20
STANDARD_ERRORS = 3.0
"""By how many the mix must be beaten: about what Bonferroni asks of the best of twenty at 5 %."""

GUARD_CLIP = 2.0
"""Bound on the norm of one judging device's differences of a list, 20 numbers in [−1, 1]; and of their squares."""

TIE_BREAK = 1e-3
"""Weight of the season's trend in a single signal: most of them say nothing about most items."""


def candidates(mix: Floats, prior: Floats, cautious: Floats) -> dict[str, Floats]:
    """Weights (F,) of everything that the guard judges, by name; the mix comes first.

    cautious: the trend and own items first (recsys/mix/priors.py), which no single feature is.
    """
    alone = {name: weights_of({"trend_90d": TIE_BREAK, name: 1.0}) for name in FEATURES}
    return {"mix": mix, "prior": prior, CAUTIOUS: cautious} | alone


def rank_pools(pools: Pools, weights: Floats, k: int) -> npt.NDArray[np.int32]:
    """Rank each pool: the first k item_idx, (devices, k), −1 where it ends early; equal scores by item_idx."""
    score = (pools.features @ weights.astype(np.float32)).astype(np.float32)
    device = pools.device
    order = np.lexsort((pools.item_idx, -score, device))
    place = np.arange(len(order)) - pools.offsets[device]
    listed = np.full((len(pools), k), -1, dtype=np.int32)
    first = place < k
    listed[device[first], place[first]] = pools.item_idx[order[first]]
    return listed


def pool_ndcg(
    pools: Pools,
    target_offsets: npt.NDArray[np.int64],
    target_items: npt.NDArray[np.int32],
    weights: Floats,
    k: int = GUARD_K,
) -> Floats:
    """Measure NDCG@k of each device's targets in its ranked pool, (devices,); nan without targets.

    Targets ascend within a device.

    A target outside of the pool is missed, as it would be when the list is served.
    """
    counts = np.diff(target_offsets)
    return ndcg(ranked_hits(rank_pools(pools, weights, k), target_offsets, target_items), counts, k)


@dataclass(frozen=True)
class GuardSums:
    """Sums over hold-out devices: n, and by candidate the figure's difference to the mix's and its square.

    noise: standard deviation of the noise in each of them.
    """

    n: float
    difference: Mapping[str, float]
    square: Mapping[str, float]
    noise: float = 0.0


def guard_sums(figures: Mapping[str, Floats]) -> GuardSums:
    """Sum every candidate's figures (devices,), the mix's among them, nan for a device without targets."""
    mix = figures["mix"]
    counted = ~np.isnan(mix)
    names = [name for name in figures if name != "mix"]
    apart = np.stack([figures[name][counted] - mix[counted] for name in names], axis=1)
    difference, square = (within(values, GUARD_CLIP).sum(axis=0) for values in (apart, apart**2))
    return GuardSums(
        n=float(counted.sum()),
        difference=dict(zip(names, difference.tolist(), strict=True)),
        square=dict(zip(names, square.tolist(), strict=True)),
    )


def within(values: Floats, bound: float) -> Floats:
    """Scale each row of values (devices, n) down to a norm of at most `bound`."""
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    scaled: Floats = values * np.minimum(1.0, bound / np.maximum(norms, 1e-300))
    return scaled


def choose(sums: GuardSums, errors: float = STANDARD_ERRORS) -> str:
    """Choose what is served: the candidate furthest above the mix, by more than so many standard errors.

    Without hold-out devices it is the mix. Noise counts twice: in the mean, and as a square that may have been larger.
    """
    best, margin = "mix", 0.0
    if sums.n < 2:
        return best
    for name, total in sums.difference.items():
        mean = total / sums.n
        variance = max((sums.square[name] + 2.0 * sums.noise) / sums.n - mean**2, 0.0) / (sums.n - 1)
        lead = mean - errors * float(np.sqrt(variance + (sums.noise / sums.n) ** 2))
        if lead > margin:
            best, margin = name, lead
    return best
