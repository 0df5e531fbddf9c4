"""A small log on which the published protocols can be tried without a network."""

from __future__ import annotations

import numpy as np

from data.interactions import Interactions, interactions
from data.synthetic import SyntheticShop


def distinct_items(n_users: int = 300, n_items: int = 400, n_events: int = 12_000, seed: int = 1) -> Interactions:
    """Each user's first event with each item, of a synthetic shop: as in a log of ratings, nothing comes twice."""
    log = SyntheticShop(n_users, n_items, n_events, seed=seed, n_clusters=8, drift=0.0).interactions()
    _, first = np.unique(log.user_idx.astype(np.int64) * n_items + log.item_idx, return_index=True)
    once = np.sort(first)
    active = np.flatnonzero(log.counts >= 8)
    user = np.searchsorted(active, log.user_idx[once])
    keep = np.isin(log.user_idx[once], active)
    kept = once[keep]
    return interactions(user[keep], log.item_idx[kept], log.time[kept], n_users=len(active), n_items=n_items)
