"""A device's own hold-out: its last basket, and what it did before. Needs nothing that the device does not hold."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind, Interactions
from recsys.evaluation.metrics import ndcg, ranked_hits
from recsys.search.ranking import rank


@dataclass(frozen=True)
class HoldOut:
    """Every user's last basket apart from the history before it, on the same user and item axes.

    moments: (n_users,) int64 µs, when the basket was bought; 0 for a user without events.
    """

    before: Interactions
    basket: Interactions
    moments: npt.NDArray[np.int64] = field(repr=False)


def hold_out_last(log: Interactions) -> HoldOut:
    """Hold out each user's last basket.

    It is all events of a user's last moment, or the last event alone where that moment is all there is.

    A user with fewer than two events, or whose basket holds dislikes only, has no basket.
    """
    ends = log.offsets[1:] - 1
    active = log.counts > 0
    moments = np.zeros(log.n_users, dtype=np.int64)
    moments[active] = log.time[ends[active]]
    user = log.user_idx
    last = log.time == moments[user]
    all_at_once = np.ones(log.n_users, dtype=np.bool_)
    np.logical_and.at(all_at_once, user, last)
    final = np.zeros(log.n_events, dtype=np.bool_)
    final[ends[active]] = True
    last = np.where(all_at_once[user], final, last) & (log.counts[user] > 1)
    return HoldOut(log.where(~last), log.where(last & (log.kind != EventKind.DISLIKE)), moments)


def basket_ndcg(scores: npt.NDArray[np.float32], baskets: Interactions, k: int = 20) -> npt.NDArray[np.float64]:
    """Compute NDCG@k of each user's basket under scores (n_users, n_items), (n_users,) float64.

    nan without a basket.
    """
    pairs = np.unique(baskets.user_idx.astype(np.int64) * baskets.n_items + baskets.item_idx)
    counts = np.bincount(pairs // baskets.n_items, minlength=baskets.n_users)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    hits = ranked_hits(rank(scores, k), offsets, (pairs % baskets.n_items).astype(np.int32))
    return ndcg(hits, counts, k)
