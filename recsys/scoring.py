"""The one score of the whole tree: s_i = u·v_i + trend_weight·t_i, and the one order of a list.

An item with the higher score comes first; of equal scores, the lower item_idx.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from recsys.items import ItemTable


def queries(profiles: npt.NDArray[np.float32], trend_weight: float) -> npt.NDArray[np.float32]:
    """Profiles (batch, dim) with the trend's weight as one more coordinate: (batch, dim + 1) float32."""
    ones = np.full((len(profiles), 1), trend_weight, dtype=np.float32)
    return np.ascontiguousarray(np.hstack([profiles.astype(np.float32, copy=False), ones]))


def keys(table: ItemTable) -> npt.NDArray[np.float32]:
    """Item embeddings with the trend as one more coordinate: (n_items, dim + 1) float32."""
    return np.ascontiguousarray(np.hstack([table.item_embeddings, table.trend[:, None]]))


def score(table: ItemTable, profiles: npt.NDArray[np.float32], trend_weight: float) -> npt.NDArray[np.float32]:
    """Scores of all items, (batch, n_items) float32, for profiles (batch, dim)."""
    if profiles.ndim != 2 or profiles.shape[1] != table.dim:
        raise ModelError(f"profiles: shape {profiles.shape}, must be (batch, {table.dim})")
    return profiles @ table.item_embeddings.T + np.float32(trend_weight) * table.trend


def top_k(
    scores: npt.NDArray[np.float32], k: int, exclude: npt.NDArray[np.int32] | None = None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The best k of one list of scores (n_items,): item_idx and scores, best first.

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
    """Distinct item_idx, ascending. Raises ModelError for one outside 0..n_items − 1: −1 is not the last item."""
    distinct = np.unique(item_idx)
    if len(distinct) and not 0 <= distinct[0] <= distinct[-1] < n_items:
        wrong = distinct[0] if distinct[0] < 0 else distinct[-1]
        raise ModelError(f"exclude={wrong}: must be in 0..{n_items - 1}")
    return distinct
