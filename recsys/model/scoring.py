"""The one score of the whole tree: s_i = u·v_i + trend_weight·t_i, and the one order of a list.

An item with the higher score comes first; of equal scores, the lower item_idx.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from recsys.model.items import ItemTable


def columns(dim: int) -> int:
    """Compute the width of keys and queries.

    It is dim, the trend, at least one spare column, up to a multiple of 8.

    FAISS scans half-precision rows 15 × slower when their width is no multiple of 8. The spare columns are zero in
    keys and queries alike; the first of them is what an index may use for itself.
    """
    return (dim + 2 + 7) // 8 * 8


def queries(profiles: npt.NDArray[np.float32], trend_weight: float) -> npt.NDArray[np.float32]:
    """Extend profiles (batch, dim) by the trend's weight and zeros: (batch, columns(dim)) float32."""
    batch, dim = profiles.shape
    padded = np.zeros((batch, columns(dim)), dtype=np.float32)
    padded[:, :dim] = profiles
    padded[:, dim] = trend_weight
    return padded


def keys(table: ItemTable, rows: slice = slice(None)) -> npt.NDArray[np.float32]:
    """Extend some rows' embeddings by the trend and zeros: (len(rows), columns(dim)) float32."""
    embeddings = table.item_embeddings[rows]
    padded = np.zeros((len(embeddings), columns(table.dim)), dtype=np.float32)
    padded[:, : table.dim] = embeddings
    padded[:, table.dim] = table.trend[rows]
    return padded


def score(table: ItemTable, profiles: npt.NDArray[np.float32], trend_weight: float) -> npt.NDArray[np.float32]:
    """Score all items for profiles (batch, dim): (batch, n_items) float32."""
    if profiles.ndim != 2 or profiles.shape[1] != table.dim:
        raise ModelError(f"profiles: shape {profiles.shape}, must be (batch, {table.dim})")
    return profiles @ table.item_embeddings.T + np.float32(trend_weight) * table.trend


def score_without_profile(table: ItemTable) -> npt.NDArray[np.float32]:
    """Score all items for a shopper of whom nothing is known, (n_items,) float32: the trend, whatever its weight.

    Every list without a profile is ordered by it: on a device, in the service, in evaluations and in replays.
    """
    return table.trend


def top_k(
    scores: npt.NDArray[np.float32], k: int, exclude: npt.NDArray[np.int32] | None = None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Take the best k of one list of scores (n_items,): item_idx and scores, best first.

    exclude: item_idx that must not appear. Fewer than k come back when fewer are left. Raises ModelError for NaN.
    """
    if k < 1:
        raise ModelError(f"top_k={k}: must be 1 or more")
    allowed = scores.astype(np.float32, copy=True)
    if np.isnan(allowed).any():
        raise ModelError("scores: has NaN, which has no place in a list")
    if exclude is not None:
        allowed[known_items(exclude, len(allowed))] = -np.inf
    left = int(np.isfinite(allowed).sum())
    k = min(k, left)
    if k == 0:
        return np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
    bound = np.partition(allowed, len(allowed) - k)[len(allowed) - k]
    candidates = np.flatnonzero(allowed >= bound)
    order = candidates[np.lexsort((candidates, -allowed[candidates]))][:k]
    return order.astype(np.int32), allowed[order]


def known_items(item_idx: npt.NDArray[np.int32], n_items: int) -> npt.NDArray[np.int32]:
    """List distinct item_idx, ascending. Raises ModelError for one outside 0..n_items − 1: −1 is not the last item."""
    distinct = np.unique(item_idx)
    if len(distinct) and not 0 <= distinct[0] <= distinct[-1] < n_items:
        wrong = distinct[0] if distinct[0] < 0 else distinct[-1]
        raise ModelError(f"exclude={wrong}: must be in 0..{n_items - 1}")
    return distinct
