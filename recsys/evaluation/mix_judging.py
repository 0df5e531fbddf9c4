"""How a device judges: it ranks its own pool by every candidate of the guard, and compares what it then took."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from recsys.evaluation.metrics import ndcg, ranked_hits
from recsys.evaluation.mix_guard import GuardSums
from recsys.mix.pools import Pools

Floats = npt.NDArray[np.float64]

GUARD_K = 20


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


def guard_sums(figures: Mapping[str, Floats], clip: float) -> GuardSums:
    """Sum every candidate's figures (devices,), the mix's among them, nan for a device without targets.

    clip: bound on the norm of a device's differences, and of their squares.
    """
    mix = figures["mix"]
    counted = ~np.isnan(mix)
    names = [name for name in figures if name != "mix"]
    apart = np.stack([figures[name][counted] - mix[counted] for name in names], axis=1)
    difference, square = (within(values, clip).sum(axis=0) for values in (apart, apart**2))
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
