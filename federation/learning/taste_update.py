"""The device update: what one device adds to a round, as named parts. The obvious version, one device at a time.

Over the device's items i with summed weight w_i and mean target p_i, and its profile u (Hu, Koren, Volinsky 2008):

    rows_i = w_i·(u·v_i − p_i)·u     counts_i = w_i     second = upper triangle of u·uᵀ     first = u     one = 1

Items the device never touched need no rows: their exact gradient is α·V·Σu·uᵀ, which the server forms itself from
the second moments. federation/simulation/taste_sums.py computes the same for thousands of devices at once and is
tested against this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

METRICS = ("train_devices", "train_ndcg", "holdout_devices", "holdout_ndcg")
"""Each in [0, 1]: what a device measured on its own last basket, as a training or as a hold-out device."""


@dataclass(frozen=True)
class Clips:
    """Public L2 bound of each part of a device's update; inf leaves a part as it is.

    The parts `one` and `metrics` are bounded by construction and never scaled.
    """

    rows: float = np.inf
    counts: float = np.inf
    second: float = np.inf
    first: float = np.inf


PRIVATE_CLIPS = Clips(rows=1.0, counts=3.0, second=0.4, first=0.6)
"""About the median norms of honest devices on Online Retail: what is clipped is the loud half."""


@dataclass(frozen=True)
class Update:
    """One device's contribution to one round, in the clear: it exists on the device only.

    rows: (n_block, dim), counts: (n_block,), for the items of the device's block; second: (dim·(dim + 1) / 2,) upper
    triangle row by row; first: (dim,); one: 1, or 0 from a device that has nothing to say; metrics: (len(METRICS),).
    All float64.
    """

    rows: Vector
    counts: Vector
    second: Vector
    first: Vector
    one: float
    metrics: Vector

    def __repr__(self) -> str:
        return f"Update(n_items={len(self.counts)}, dim={len(self.first)})"


def by_item(
    item_idx: npt.NDArray[np.int32], weights: npt.NDArray[np.float32], targets: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int32], Vector, Vector]:
    """Merge events of one history by item: distinct item_idx, summed weights, weighted mean targets.

    Events of weight 0 (a kind that does not count) are dropped.
    """
    items, where = np.unique(item_idx[weights > 0], return_inverse=True)
    w = weights[weights > 0].astype(np.float64)
    total = np.bincount(where, weights=w, minlength=len(items)).astype(np.float64)
    mean = np.bincount(where, weights=w * targets[weights > 0], minlength=len(items)) / total
    return items, total, mean


def device_update(
    item_embeddings: npt.NDArray[np.float32],
    profile: npt.NDArray[np.float32],
    item_idx: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    clips: Clips,
    *,
    block: range | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Update:
    """Update of one device. item_embeddings: (n_items, dim); profile: (dim,); the rest (n,), one entry an event.

    block: item_idx of the device's block, all items by default.
    """
    n_items, dim = item_embeddings.shape
    block = range(n_items) if block is None else block
    u = profile.astype(np.float64)
    items, w, p = by_item(item_idx, weights, targets)
    rows = np.zeros((len(block), dim))
    counts = np.zeros(len(block))
    for i, w_i, p_i in zip(items.tolist(), w, p, strict=True):
        if i in block:
            rows[i - block.start] = w_i * (u @ item_embeddings[i].astype(np.float64) - p_i) * u
            counts[i - block.start] = w_i
    return Update(
        rows=clip_part(rows, clips.rows),
        counts=clip_part(counts, clips.counts),
        second=clip_part(np.outer(u, u)[np.triu_indices(dim)], clips.second),
        first=clip_part(u, clips.first),
        one=1.0 if len(items) else 0.0,
        metrics=metrics_vector(metrics or {}),
    )


def metrics_vector(metrics: Mapping[str, float]) -> Vector:
    """Order metrics into (len(METRICS),); 0 for what was not measured."""
    return np.array([metrics.get(name, 0.0) for name in METRICS])


def clip_part(part: Vector, bound: float) -> Vector:
    """Scale a part down to L2 norm ≤ bound."""
    norm = float(np.linalg.norm(part))
    return part if norm <= bound else part * (bound / norm)
