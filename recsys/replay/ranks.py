"""Where an item stands in a full ranking, without making the ranking: the order of recsys.search.ranking, counted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from recsys.search.ranking import NEVER, sort_keys

UNLISTED = -1
"""Position of an item that the list never holds, and of every item where there is no answer."""

_CELLS = 1_000_000


def positions(
    scores: npt.NDArray[np.float32], row: npt.NDArray[np.int64], item: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Count the items that stand before an item in the list of a row, (n,) int32.

    UNLISTED where it is in none.

    scores: (batch, n_items) float32, as recsys.search.ranking.sort_keys takes them, or rows of nan: no answer; row,
    item: (n,)
    which of them are asked for. Raises ModelError for +inf and for nan beside numbers.
    """
    if scores.strides[0] == 0 and len(scores):  # the same list for everybody
        return _of_one(scores[0])[item]
    highest = scores.max(axis=1, initial=-np.inf)
    silent = np.isnan(highest)
    if np.isposinf(highest).any() or not np.isnan(scores[silent]).all():
        raise ModelError("scores: has NaN or +inf; must be finite, -inf for an item never to list, or a row of NaN")
    n_items = scores.shape[1]
    ranks = np.empty(len(row), dtype=np.int32)
    step = max(1, _CELLS // max(n_items, 1))
    higher = np.zeros((step, -(-n_items // 64) * 64), dtype=np.bool_)
    whole = len(row) == len(scores) and bool((row == np.arange(len(row))).all())
    for start in range(0, len(row), step):
        part = slice(start, min(start + step, len(row)))
        lists = scores[part] if whole else scores[row[part]]
        item_scores = lists[np.arange(len(lists)), item[part]]
        buffer = higher[: len(lists)]
        np.greater(lists, item_scores[:, None], out=buffer[:, :n_items])
        before = _count(buffer)
        np.greater_equal(lists, item_scores[:, None], out=buffer[:, :n_items])
        for tied in np.flatnonzero(_count(buffer) - before > 1):
            before[tied] += int((lists[tied, : item[start + tied]] == item_scores[tied]).sum())
        ranks[part] = np.where(np.isneginf(item_scores) | silent[row[part]], UNLISTED, before)
    return ranks


def _count(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Count the true values of each row, (n,); the width is a multiple of 64."""
    words = np.packbits(mask, axis=1).view(np.uint64)
    return np.asarray(np.bitwise_count(words).sum(axis=1, dtype=np.int64))


def _of_one(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Rank every item of one list, (n_items,)."""
    if np.isnan(scores).all():
        return np.full(len(scores), UNLISTED, dtype=np.int32)
    keys = sort_keys(scores[None])[0]
    place = np.empty(len(keys), dtype=np.int32)
    place[np.argsort(keys)[::-1]] = np.arange(len(keys), dtype=np.int32)
    place[keys == NEVER] = UNLISTED
    return place
