"""What goes with what: a table of its own, made of baskets, and the scores that it gives a page's item or a cart.

    C[a, b] = Σ 1/√|basket| over baskets that hold both;    row a of C / (√(C[a, a]·C[b, b]) + 1), its nearest kept

co-purchase by its cosine, small baskets weighing more and rare pairs shrunk (Sarwar et al. 2001, Deshpande and Karypis
2004). Similar items stand in for each other, complements stand beside each other, so the taste alone is no answer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

from data.interactions import EventKind, Interactions
from recsys.lists.placements.queries import ListQuery, cart_direction
from recsys.lists.placements.shop_items import Floats, Items, ShopItems
from recsys.model.neighbour_tensors import round_weights
from recsys.model.transitions import Transitions, keep_nearest

SHRINK = 1.0
"""Of a pair's cosine: what is seen together once says little."""

NEIGHBOURS = 20
"""Of each item: 20 find as much as 100 (.271 of half a basket, .193 of one item), in 60 bytes instead of 300."""

MAX_BASKET = 200
"""Distinct items of a basket that count, its first ones: a wholesaler's order holds pairs of everything."""

TASTE_WEIGHT, TREND_WEIGHT = 0.2, 0.06
"""Beside a sum over the given items: what one item's few pairs leave open; docs/placements.md has the figures."""


def count_together(log: Interactions) -> sparse.csr_array[np.float64, tuple[int, int]]:
    """Count pairs of distinct items of the same basket, 1/√|basket| each, (n_items, n_items), the diagonal included.

    A basket is what one device bought at one moment.
    """
    bought = log.where(log.kind == EventKind.PURCHASE)
    first = np.ones(bought.n_events, dtype=np.bool_)
    first[1:] = (bought.user_idx[1:] != bought.user_idx[:-1]) | (bought.time[1:] != bought.time[:-1])
    basket = np.cumsum(first) - 1
    key = np.unique(basket.astype(np.int64) * log.n_items + bought.item_idx)
    basket, item = key // log.n_items, key % log.n_items
    place = np.arange(len(key)) - np.searchsorted(basket, basket)
    basket, item = basket[place < MAX_BASKET], item[place < MAX_BASKET]
    size = np.bincount(basket)
    shape = (int(basket.max(initial=-1)) + 1, log.n_items)
    had = sparse.csr_array((np.ones(len(item)), (basket, item)), shape=shape)
    weighed = sparse.csr_array((1.0 / np.sqrt(size[basket]), (basket, item)), shape=shape)
    return sparse.csr_array(had.T @ weighed)


def complement_table(counts: sparse.csr_array[np.float64, tuple[int, int]]) -> Transitions:
    """Make the table that devices hold, (n_items, n_items) float32, NEIGHBOURS entries a row at most.

    counts: of count_together, or a private sum of it.
    """
    size = np.sqrt(counts.diagonal())
    pairs = counts.tocoo()
    row, column = pairs.coords
    apart = row != column
    row, column, value = row[apart], column[apart], pairs.data[apart]
    cosine = value / (size[row] * size[column] + SHRINK)
    nearest = keep_nearest(sparse.csr_array((cosine, (row, column)), shape=counts.shape), NEIGHBOURS)
    return round_weights(nearest)


def complement_scores(items: ShopItems, given: Items, query: ListQuery) -> Floats:
    """Score every item beside the given ones (n,), (n_items,) float32.

    The sum of their rows of the table, and a little of what a cart of them asks of the taste, blended with the profile
    in `query`, and of the trend; where the bundle has no table, the two alone.
    """
    direction = query.vector if query.vector is not None else cart_direction(items, given)
    scores = items.scores(np.float32(TASTE_WEIGHT) * direction, TREND_WEIGHT)
    if items.complements is not None:
        known = given[given < items.base.n_items]
        beside: npt.NDArray[np.float32] = np.asarray(items.complements[known].sum(axis=0), dtype=np.float32).ravel()
        scores[: items.base.n_items] += beside
    return scores
