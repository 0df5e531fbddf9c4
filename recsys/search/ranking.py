"""Many lists at once: the order of recsys.model.scoring.top_k (higher score first, then lower item_idx) for a batch.

For evaluation, where thousands of full rankings are cut to k. Not retrieval: that is recsys/search/retrieval.py.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.errors import ModelError

NEVER = np.iinfo(np.int64).min
"""Sort key of an item that must not be listed."""


def sort_keys(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Make distinct integers (batch, n_items) in the order of the list.

    The score is in the high half, the position in the low.

    scores: (batch, n_items) float32; −inf marks an item that must not be listed. NaN and +inf: ModelError.
    Distinct keys make partition and sort deterministic where scores tie.
    """
    if not (scores < np.inf).all():
        raise ModelError("scores: has NaN or +inf; must be finite, or -inf for an item never to list")
    n_items = scores.shape[1]
    bits = (scores + np.float32(0.0)).view(np.int32)  # −0.0 becomes 0.0: they tie
    bits = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)  # IEEE order of negatives is reversed
    keys = bits.astype(np.int64) << 32
    keys |= np.arange(n_items - 1, -1, -1, dtype=np.int64)
    keys[np.isneginf(scores)] = NEVER
    return keys


def best(keys: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int32]:
    """Take the first k of each list, (batch, min(k, n_items)) int32 item_idx, best first.

    −1 stands where a list ends early.
    """
    if k < 1:
        raise ModelError(f"k={k}: must be 1 or more")
    n_items = keys.shape[1]
    k = min(k, n_items)
    top = np.partition(keys, n_items - k, axis=1)[:, n_items - k :]
    top.sort(axis=1)
    top = top[:, ::-1]
    items = n_items - 1 - (top & 0xFFFFFFFF)
    return np.where(top == NEVER, -1, items).astype(np.int32)


def rank(scores: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int32]:
    """Rank the first k item_idx of each row of scores (batch, n_items); equal scores in order of item_idx.

    >>> rank(np.array([[0.5, 2.0, 0.5, -np.inf]], dtype=np.float32), 4).tolist()
    [[1, 0, 2, -1]]
    """
    return best(sort_keys(scores), k)
