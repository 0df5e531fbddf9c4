"""Lists of a placement that need no history: the same function on a device and in the service.

A source gives scores and what may be listed; filter, rules, the trend's share and diversity do the rest, alike for all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.errors import ModelError
from data.interactions import MICROS_PER_DAY
from recsys.lists.diversity import diversify, pool_size
from recsys.lists.placements.complements import complement_scores
from recsys.lists.placements.placement import Fallback, Placement, Source
from recsys.lists.placements.queries import ListQuery
from recsys.lists.placements.shop_items import Floats, Items, Mask, ShopItems
from recsys.lists.rules import RankedList, Rules, apply_lifts, arrange
from recsys.model.scoring import top_k as best
from recsys.search.filters import Filter

STAND_IN: dict[Fallback, Source | None] = {
    "trending": "trending", "on-sale": "on-sale", "new-for-you": "new-for-you", "none": None,
}  # fmt: skip


def _nothing() -> Items:
    return np.empty(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class SourceScores:
    """What a source lists: scores (n_items,) float32, and what may be in it (n_items,) bool, None for everything."""

    scores: Floats
    within: Mask | None = None


@dataclass(frozen=True, eq=False)
class Near:
    """What a list is asked beside: the item of a page, None for no page, and a cart (n,) item_idx."""

    context: int | None = None
    cart: Items = field(default_factory=_nothing)

    @property
    def items(self) -> Items:
        """All of them, distinct, as they came."""
        page = [] if self.context is None else [self.context]
        return np.array(list(dict.fromkeys([*self.cart.tolist(), *page])), dtype=np.int32)


@dataclass(frozen=True, eq=False)
class Bounds:
    """What a request asks of a list beside its placement. hidden: item_idx that must not be in it."""

    condition: Filter | None = None
    rules: Rules = field(default_factory=Rules)
    hidden: Items = field(default_factory=_nothing)


def public_source(
    items: ShopItems, source: Source, query: ListQuery, near: Near, now: int, days: float = 30.0
) -> SourceScores | None:
    """Score a source that needs no history; None where it has nothing to list. now: µs since 1970 UTC.

    query: of list_query; where a profile is in it, it counts in all of them but trending.
    """
    scores = items.trend if query.vector is None else items.scores(query.vector, query.weight)
    if source in ("for-you", "rows"):
        return SourceScores(scores)
    if source == "trending":
        return SourceScores(items.trend)
    if source == "similar":
        return None if near.context is None else SourceScores(scores)
    if source == "goes-with":
        return None if not len(near.items) else SourceScores(complement_scores(items, near.items, query))
    if source == "on-sale":
        price, regular = items.numbers("price"), items.numbers("regular_price")
        return _within(scores, price < regular)
    if source == "new-for-you":
        age = age_days(items, now)
        return _within(scores if query.vector is not None else (0.0 - age).astype(np.float32), age <= days)
    raise ModelError(f"source={source}: needs a history, which only the device has")


def age_days(items: ShopItems, now: int) -> npt.NDArray[np.float64]:
    """Compute how long each item has been in the shop, (n_items,) days; inf where nobody knows.

    By the column added_at: an ISO date or time (UTC), or seconds since 1970. What came after the bundle is new:
    without a date it counts as of today, the later ones as the newer.
    """
    age = np.full(items.n_items, np.inf)
    column = items.column("added_at")
    if column is not None and column.dtype.is_numeric():
        age = now / MICROS_PER_DAY - items.numbers("added_at") / 86_400
    elif column is not None and column.dtype != pl.Null:
        text = column.cast(pl.String)
        read = text.str.to_datetime(strict=False, time_zone="UTC", time_unit="us", format="%+")
        dates = text.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us", "UTC"))
        micros = pl.select(pl.coalesce(read, dates).dt.epoch("us")).to_series()
        age = (now - micros.cast(pl.Float64).fill_null(-np.inf).to_numpy()) / MICROS_PER_DAY
    age = np.where(np.isnan(age), np.inf, np.maximum(age, 0.0))
    later = np.arange(items.n_items) - items.base.n_items
    order = 1e-6 * (len(items.fresh) - later)
    return np.where((later >= 0) & np.isinf(age), order, age)


def place_list(
    items: ShopItems,
    placement: Placement,
    scored: SourceScores,
    bounds: Bounds = Bounds(),  # frozen
) -> RankedList:
    """Make the list of a placement from a source's scores.

    Order of doing: filters, the trend's share, boosts and buries, diversity, caps, pins. Raises ModelError as
    ShopItems.allowed and .prepared.
    """
    allowed = items.allowed(placement.condition) & items.allowed(bounds.condition)
    if scored.within is not None:
        allowed &= scored.within
    allowed[bounds.hidden] = False
    scores = with_trend(scored.scores, items.trend, allowed, placement.trend_share)
    prepared = items.prepared(join_rules(placement.parsed_rules, bounds.rules))
    lifted = apply_lifts(scores, allowed, prepared)
    first = None
    if placement.diversity > 0 and allowed.any():
        pool, values = best(np.where(allowed, lifted, np.float32(-np.inf)), pool_size(placement.top_k))
        first = pool[diversify(values, items.rows(pool), placement.top_k, placement.diversity)]
    return arrange(lifted, allowed, prepared, placement.top_k, first)


def public_list(
    items: ShopItems, placement: Placement, query: ListQuery, near: Near, now: int, bounds: Bounds | None = None
) -> tuple[RankedList, Source]:
    """Make a placement's list without a history, and say which source it is of: its own, or the one that stands in.

    Items of the page and of the cart are in none of them.
    """
    given = bounds or Bounds()
    given = replace(given, hidden=np.concatenate((given.hidden, near.items)))
    scored = public_source(items, placement.source, query, near, now, placement.days)
    listed = place_list(items, placement, scored or SourceScores(items.trend, _none(items)), given)
    return (listed, placement.source) if len(listed.item_idx) else stand_in(items, placement, query, near, now, given)


def stand_in(
    items: ShopItems, placement: Placement, query: ListQuery, near: Near, now: int, bounds: Bounds
) -> tuple[RankedList, Source]:
    """Make the list that stands in for an empty one; an empty one where the placement wants none."""
    source = STAND_IN[placement.fallback]
    scored = None if source is None else public_source(items, source, query, near, now, placement.days)
    listed = place_list(items, placement, scored or SourceScores(items.trend, _none(items)), bounds)
    return listed, placement.source if source is None or not len(listed.item_idx) else source


@dataclass(frozen=True, eq=False)
class CategoryRow:
    """One row of a page: a category, and its items, best first."""

    category: str
    listed: RankedList


def place_rows(
    items: ShopItems, placement: Placement, scored: SourceScores, bounds: Bounds = Bounds()
) -> list[CategoryRow]:
    """Make a page of rows: which categories, in which order, each with its best items.

    A category counts by the mean score of its best top_k items that may be listed, lifted as rules say; one of fewer
    than two such items has no row. Caps and pins are of lists, not of rows. Equal categories by name.
    """
    bounds = bounds or Bounds()
    column = items.column("category")
    if column is None:
        return []
    allowed = items.allowed(placement.condition) & items.allowed(bounds.condition)
    if scored.within is not None:
        allowed &= scored.within
    allowed[bounds.hidden] = False
    prepared = items.prepared(join_rules(placement.parsed_rules, bounds.rules))
    scores = apply_lifts(with_trend(scored.scores, items.trend, allowed, placement.trend_share), allowed, prepared)
    names = column.cast(pl.String).to_numpy()
    inside = np.flatnonzero(allowed & column.is_not_null().to_numpy())
    order = inside[np.lexsort((inside, -scores[inside]))]
    members: dict[str, list[int]] = {}
    for item in order.tolist():
        row = members.setdefault(names[item], [])
        if len(row) < placement.top_k:
            row.append(item)
    ranked = sorted(
        (name for name, row in members.items() if len(row) > 1),
        key=lambda name: (-float(scores[members[name]].mean(dtype=np.float64)), name),
    )
    rows = []
    for name in ranked[: placement.rows]:
        item_idx = np.array(members[name], dtype=np.int32)
        rows.append(CategoryRow(name, RankedList(item_idx, scores[item_idx], np.zeros(len(item_idx), dtype=np.bool_))))
    return rows


def with_trend(scores: Floats, trend: Floats, allowed: Mask, share: float) -> Floats:
    """Blend scores with the trend, both standardised over what may be listed: (1 − share)·z(s) + share·z(trend)."""
    if share == 0 or not allowed.any():
        return scores
    return np.float32(1 - share) * _standard(scores, allowed) + np.float32(share) * _standard(trend, allowed)


def join_rules(saved: Rules, asked: Rules) -> Rules:
    """Join a placement's rules and a request's. Of two pins of one item, or of one position, the request's counts."""
    if not asked:
        return saved
    taken = {pin.item_id for pin in asked.pins}, {pin.position for pin in asked.pins}
    pins = tuple(pin for pin in saved.pins if pin.item_id not in taken[0] and pin.position not in taken[1])
    fields = {cap.field for cap in asked.caps}
    caps = tuple(cap for cap in saved.caps if cap.field not in fields)
    return Rules(
        (*pins, *asked.pins), (*saved.boosts, *asked.boosts), (*saved.buries, *asked.buries), (*caps, *asked.caps)
    )


def _standard(values: Floats, allowed: Mask) -> Floats:
    inside = values[allowed].astype(np.float64)
    spread = float(inside.std())
    return ((values - np.float32(inside.mean())) / np.float32(spread if spread > 0 else 1.0)).astype(np.float32)


def _within(scores: Floats, mask: npt.NDArray[Any]) -> SourceScores | None:
    return SourceScores(scores, mask.astype(np.bool_)) if mask.any() else None


def _none(items: ShopItems) -> Mask:
    return np.zeros(items.n_items, dtype=np.bool_)
