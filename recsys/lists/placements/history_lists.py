"""Sources that are made of one device's own events. On the device only: no server room imports this module."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import MICROS_PER_DAY, EventKind
from recsys.lists.placements.placement import Source
from recsys.lists.placements.public_lists import SourceScores
from recsys.lists.placements.queries import list_query
from recsys.lists.placements.shop_items import Floats, Items, Mask, ShopItems
from recsys.model.purchase_intervals import Intervals, hazards

Doubles = npt.NDArray[np.float64]
LOOKED = (EventKind.VIEW, EventKind.CART, EventKind.LIKE)

HAZARD_WEIGHT, BASKETS_WEIGHT, BASKETS_HALF_LIFE = 0.7, 0.4, 15.0
"""Of the clock and of a counter aged in own baskets, beside the personal score; docs/placements.md has figures."""

LEAST_HAZARD = 1e-3
"""Added to a hazard before its logarithm: an item just bought is unlikely, not impossible."""


@dataclass(frozen=True, eq=False, repr=False)
class OwnHistory:
    """The events of one device that the catalogue knows, oldest first, all (n,).

    time: µs. price: as it was then, nan where nobody knew. available: 1, 0, or −1 where nobody knew.
    """

    item_idx: Items
    kind: npt.NDArray[np.uint8]
    time: npt.NDArray[np.int64]
    price: Doubles
    available: npt.NDArray[np.int8]

    def last_look(self) -> tuple[Items, npt.NDArray[np.int64]]:
        """Find the items looked at and not bought or disliked since, latest first: item_idx, and each one's event."""
        _, reverse = np.unique(self.item_idx[::-1], return_index=True)
        last = np.sort(len(self.item_idx) - 1 - reverse)[::-1]
        last = last[np.isin(self.kind[last], LOOKED)]
        return self.item_idx[last], last


def history_source(
    items: ShopItems,
    source: Source,
    history: OwnHistory,
    personal: Floats,
    profile: Floats | None,
    now: int,
    *,
    sold_out_before: Mask | None = None,
    intervals: Intervals | None = None,
) -> tuple[SourceScores | None, int | None]:
    """Score a source of own events, and name the item that it is about, if it is about one; None where it has none.

    personal: (n_items,) scores of the list for this shopper. profile: (dim,), None without one. sold_out_before:
    (n_items,) what the bundle itself says is not available. intervals: None where the bundle has none.
    """
    looked, event = history.last_look()
    if source == "recently-viewed":
        return _in_order(items, looked), None
    if source == "price-dropped":
        return _in_order(items, looked[history.price[event] > items.numbers("price")[looked]]), None
    if source == "back-in-stock":
        was_out = history.available[event] == 0
        if sold_out_before is not None:
            was_out |= sold_out_before[looked]
        return _in_order(items, looked[was_out]), None
    if source == "because-you-viewed":
        if not len(looked):
            return None, None
        anchor = int(looked[0])
        query = list_query(items, profile, anchor)
        scores = items.trend if query.vector is None else items.scores(query.vector, query.weight)
        within = np.ones(items.n_items, dtype=np.bool_)
        within[anchor] = False
        return SourceScores(scores, within), anchor
    own, score = buy_again_scores(items, history, now, intervals)
    if not len(own):
        return None, None
    scores, within = personal.copy(), np.zeros(items.n_items, dtype=np.bool_)
    scores[own] += score
    within[own] = True
    return SourceScores(scores, within), None


def buy_again_scores(
    items: ShopItems, history: OwnHistory, now: int, intervals: Intervals | None
) -> tuple[Items, Floats]:
    """Compute what the clock says of every item bought before: item_idx, ascending, and (n,) float32.

    .7·log(hazard + .001) + .4·log(1 + Σ 2^(−later own baskets / 15)); without intervals the counter alone.
    """
    bought = history.kind == EventKind.PURCHASE
    item_idx, time = history.item_idx[bought], history.time[bought]
    own, entry = np.unique(item_idx, return_inverse=True)
    if not len(own):
        return own.astype(np.int32), np.empty(0, dtype=np.float32)
    baskets = np.unique(time)
    later = len(baskets) - 1 - np.searchsorted(baskets, time)
    decayed = np.bincount(entry, np.exp2(-later / BASKETS_HALF_LIFE), len(own))
    score = BASKETS_WEIGHT * np.log1p(decayed)
    if intervals is not None:
        moments = np.unique(np.stack((entry.astype(np.int64), time)), axis=1)
        counts = np.bincount(moments[0], minlength=len(own)).astype(np.float64)
        first, last = np.full(len(own), np.inf), np.full(len(own), -np.inf)
        np.minimum.at(first, entry, time)
        np.maximum.at(last, entry, time)
        column = items.column("category")
        names = [None] * len(own) if column is None else [str(name) for name in column.gather(own).to_list()]
        days = [np.maximum(now - moment, 0) / MICROS_PER_DAY for moment in (first, last)]
        hazard = hazards(intervals, intervals.clock_of(names), counts, *days)
        score = score + HAZARD_WEIGHT * np.log(hazard + LEAST_HAZARD)
    return own.astype(np.int32), score.astype(np.float32)


def _in_order(items: ShopItems, listed: Items) -> SourceScores | None:
    """List some items in their order, the first one first; None for none."""
    if not len(listed):
        return None
    scores, within = np.zeros(items.n_items, dtype=np.float32), np.zeros(items.n_items, dtype=np.bool_)
    scores[listed] = np.arange(len(listed), 0, -1, dtype=np.float32)
    within[listed] = True
    return SourceScores(scores, within)
