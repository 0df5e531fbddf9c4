"""The lists that a model serves, and how good each one is: what gates, cards and audits are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from recsys.evaluation.metrics import hit, ndcg, ranked_hits
from recsys.evaluation.recommender import Recommender, model_scores
from recsys.evaluation.targets import Targets
from recsys.search.ranking import NEVER, best, sort_keys

Floats = npt.NDArray[np.float64]
CELLS_AT_ONCE = 8_000_000
"""Scores held at a time, users × items."""


@dataclass(frozen=True, eq=False)
class ServedLists:
    """Lists of one model over the users of one set of targets.

    users: (n,) int64. items: (n, k) int32 item_idx, best first, −1 where a list ends early.
    ndcg, hit: (n,) float64 at k. n_items: of the axis.
    """

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    ndcg: Floats
    hit: Floats
    n_items: int

    @property
    def k(self) -> int:
        """Length of a list."""
        return int(self.items.shape[1])

    def share_of(self, marked: npt.NDArray[np.bool_]) -> Floats:
        """Compute the share of each list that is of marked items, (n,) float64; 0 for an empty list.

        marked: (n_items,) bool.
        """
        listed = self.items >= 0
        hits = marked[np.maximum(self.items, 0)] & listed
        return np.asarray(hits.sum(axis=1) / np.maximum(listed.sum(axis=1), 1))

    def exposure(self, position_weighted: bool = False) -> Floats:
        """Sum each item's exposure over all lists, (n_items,) float64.

        It counts listings, or sums 1 / log2(position + 1) as attention falls with the position (Singh and Joachims
        2018).
        """
        weights = np.ones(self.k) if not position_weighted else 1.0 / np.log2(np.arange(2, self.k + 2))
        listed = self.items >= 0
        every = np.broadcast_to(weights, self.items.shape)
        sums = np.bincount(self.items[listed], weights=every[listed], minlength=self.n_items)
        return sums.astype(np.float64)


def serve_lists(
    model: Recommender, targets: Targets, histories: Interactions, now: int, k: int, n_items: int
) -> ServedLists:
    """Rank all candidates for every user with a target, and measure the first k; targets may repeat the history.

    now: µs since 1970 UTC.
    """
    n, batch = len(targets.users), max(1, min(512, CELLS_AT_ONCE // n_items))
    width = min(k, n_items)
    items = np.full((n, width), -1, dtype=np.int32)
    gains, hits = np.zeros(n), np.zeros(n)
    for start in range(0, n, batch):
        rows = slice(start, min(start + batch, n))
        scores = model_scores(model, histories, targets.users[rows], now, n_items)
        keys = sort_keys(np.where(np.isnan(scores[:, :1]), np.float32(0.0), scores))
        keys[:, ~targets.candidates] = NEVER
        items[rows] = best(keys, k)
        offsets, relevant = targets.relevant(rows)
        marks, n_relevant = ranked_hits(items[rows], offsets, relevant), np.diff(offsets)
        gains[rows], hits[rows] = ndcg(marks, n_relevant, k), hit(marks, n_relevant, k)
    return ServedLists(targets.users, items, gains, hits, n_items)
