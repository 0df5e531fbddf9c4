"""What every model must beat: popularity, recent popularity, item-kNN; each a Recommender.

Not the product's own global arm (its trend is learnt as a private sum) and not EASE, which is a reference in tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from data.errors import ModelError
from data.interactions import EventKind, Interactions
from recsys.model.trend import HALF_LIFE_DAYS, decayed_popularity
from recsys.search.ranking import rank

Matrix = sparse.csr_array[np.float32, tuple[int, int]]

CELLS_AT_ONCE = 8_000_000
"""Dense similarities held at a time: 32 MB."""


@dataclass(frozen=True, eq=False)
class FixedList:
    """The same scores for everybody: item_scores (n_items,) float32. Answers for users without a history too."""

    name: str
    item_scores: npt.NDArray[np.float32]

    def scores(
        self, histories: Interactions, users: npt.NDArray[np.int64], now: int | npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Score every user alike, (len(users), n_items) float32, read-only."""
        return np.broadcast_to(self.item_scores, (len(users), len(self.item_scores)))


def popularity(train: Interactions) -> FixedList:
    """Count the events of each item in the whole log, dislikes left out."""
    items = train.item_idx[train.kind != EventKind.DISLIKE]
    return FixedList("popularity", np.bincount(items, minlength=train.n_items).astype(np.float32))


def recent_popularity(train: Interactions, now: int, half_life_days: float = HALF_LIFE_DAYS) -> FixedList:
    """Count the events of each item, each halved for every half_life_days of its age at `now` (µs), no dislikes.

    An event later than now counts as of now.
    """
    if not half_life_days > 0:
        raise ModelError(f"half_life_days={half_life_days}: must be > 0")
    counts = decayed_popularity(train, now, half_life_days)
    return FixedList("recent_popularity", counts.astype(np.float32))


def item_matrix(events: Interactions) -> Matrix:
    """Mark the items each user had, dislikes left out: (n_users, n_items) float32 of 1."""
    liked = events.kind != EventKind.DISLIKE
    rows, items = events.user_idx[liked], events.item_idx[liked]
    ones = np.ones(len(items), dtype=np.float32)
    matrix: Matrix = sparse.coo_array((ones, (rows, items)), shape=(events.n_users, events.n_items)).tocsr()
    matrix.data[:] = 1.0  # a repeated item was summed
    return matrix


@dataclass(frozen=True, eq=False)
class ItemKNN:
    """Σ over the user's items of their similarity to each item; similarity: (n_items, n_items) sparse float32,
    row j holding the items that item j speaks for. A user without a history gets nan: no answer."""

    similarity: Matrix
    name: str = "item_knn"

    def scores(
        self, histories: Interactions, users: npt.NDArray[np.int64], now: int | npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Score items, (len(users), n_items) float32; a row of nan for a user without a history."""
        had = item_matrix(histories.users(users))
        scores = np.asarray((had @ self.similarity).toarray(), dtype=np.float32)
        scores[histories.counts[users] == 0] = np.nan  # dislikes alone are a history: nothing speaks for anything
        return scores


def item_knn(train: Interactions, neighbours: int = 100, shrink: float = 10.0) -> ItemKNN:
    """Fit item-kNN: cosine of items' user sets, damped for rare items (Deshpande and Karypis 2004).

    The damped cosine is n_ij / (√(n_i·n_j) + shrink). Each item listens to its `neighbours` most similar items, ties
    by lower item_idx.
    """
    if neighbours < 1 or shrink < 0:
        raise ModelError(f"neighbours={neighbours}, shrink={shrink}: must be at least 1 and at least 0")
    had = item_matrix(train)
    by_item: Matrix = had.T.tocsr()
    root = np.sqrt(np.diff(by_item.indptr)).astype(np.float32)
    block = max(1, CELLS_AT_ONCE // train.n_items)
    rows, columns, values = [], [], []
    for start in range(0, train.n_items, block):
        together = (by_item[start : start + block] @ had).toarray()
        diagonal = np.arange(len(together))
        together[diagonal, start + diagonal] = 0.0
        together /= root[start : start + block, None] * root + np.float32(max(shrink, 1e-9))
        nearest = rank(together, neighbours)
        near = np.take_along_axis(together, nearest, axis=1)
        item, place = np.nonzero(near > 0)
        rows.append(item + start)
        columns.append(nearest[item, place])
        values.append(near[item, place])
    listens = (np.concatenate(values), (np.concatenate(columns), np.concatenate(rows)))
    return ItemKNN(sparse.coo_array(listens, shape=(train.n_items, train.n_items)).tocsr())
