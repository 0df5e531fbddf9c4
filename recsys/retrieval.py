"""Retrieval: exact inner-product search over the item table in dim + 1 coordinates, the last one the trend."""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from recsys.items import ItemTable
from recsys.scoring import keys, known_items, queries


class ItemIndex:
    """Exact FAISS index of one item table; safe to share between threads, never changed after it is built."""

    def __init__(self, table: ItemTable) -> None:
        self._dim = table.dim
        self.n_items = table.n_items
        self._index = faiss.IndexFlatIP(table.dim + 1)
        self._index.add(keys(table))

    def search(
        self,
        profiles: npt.NDArray[np.float32],
        k: int,
        *,
        trend_weight: float,
        exclude: npt.NDArray[np.int32] | None = None,
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The best k items for each profile (batch, dim), equal scores in order of item_idx.

        exclude: item_idx that must not appear, for the whole batch.
        Returns item_idx (batch, k') int32 and scores (batch, k') float32, k' = min(k, items left).
        """
        if profiles.ndim != 2 or profiles.shape[1] != self._dim:
            raise ModelError(f"profiles: shape {profiles.shape}, must be (batch, {self._dim})")
        if not np.isfinite(profiles).all():
            raise ModelError("profiles: has values that are not finite")
        if k < 1:
            raise ModelError(f"top_k={k}: must be 1 or more")
        gone = np.empty(0, np.int64) if exclude is None else known_items(exclude, self.n_items).astype(np.int64)
        left = self.n_items - len(gone)
        k = min(k, left)
        if k == 0 or len(profiles) == 0:
            empty = (len(profiles), k)
            return np.empty(empty, np.int32), np.empty(empty, np.float32)
        parameters = None
        if len(gone):
            selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(gone))
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]  # SWIG takes any
        wanted = queries(profiles, trend_weight)
        wide = min(k + 1, left)
        scores, items = self._index.search(wanted, wide, params=parameters)
        # FAISS keeps any of the items that tie at the end of a list: look further until the tie is in the list whole.
        while wide < left and (scores[:, -1] == scores[:, k - 1]).any():
            wide = min(2 * wide, left)
            scores, items = self._index.search(wanted, wide, params=parameters)
        order = np.lexsort((items, -scores), axis=-1)[:, :k]
        return (
            np.take_along_axis(items, order, axis=-1).astype(np.int32),
            np.take_along_axis(scores, order, axis=-1),
        )
