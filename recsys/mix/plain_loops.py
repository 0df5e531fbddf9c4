"""The pool of ONE device in plain loops: what recsys/mix/pools.py must agree with. Not for use, for reading."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from data.interactions import MICROS_PER_DAY, EventKind
from recsys.mix.features import (
    BASKETS_HALF_LIFE,
    BOUGHT_HALF_LIVES,
    CATEGORY_HALF_LIFE,
    FEATURES,
    NEAR_HALF_LIFE,
    NEXT_HALF_LIFE,
    OWN_HALF_LIVES,
    POOL,
    PRICE_BOUND,
    RECENT_EVENTS,
    TREND_NAMES,
)
from recsys.mix.mix_tables import CATEGORY_TREND, MixTables

Event = tuple[int, EventKind, int]
"""item_idx, kind, time (µs)."""


def pool_features(
    tables: MixTables, scores: dict[str, npt.NDArray[np.float64]], history: list[Event], now: int
) -> dict[int, dict[str, float]]:
    """Compute features by name of every item of one device's pool, by item_idx.

    scores: of all items (n_items,) by the taste, and by the intent where there is one. history: oldest event first.
    """
    n_items = tables.n_items
    had = {item for item, _, _ in history}
    events = [event for event in history if event[1] != EventKind.DISLIKE]
    others = [item for item in range(n_items) if item not in had]
    soon = asked_next(tables, events, NEXT_HALF_LIFE)
    later = asked_next(tables, events, NEAR_HALF_LIFE)
    by_category = category_scores(tables, events)
    pool = {item for item, _, _ in events}
    for row in tables.trends:
        pool |= set(sorted(others, key=lambda item: (-row[item], item))[:POOL])
    for pull in (soon, later, by_category):
        pool |= best_others(pull, others)
    for signal in scores.values():
        if others and signal[others].max() > signal[others].min():
            pool |= best_others({item: float(signal[item]) for item in others}, others)
    by_item = {}
    for item in sorted(pool):
        features = dict.fromkeys(FEATURES, 0.0)
        for name, signal in scores.items():
            spread = float(signal.std())
            if spread > 0:
                features[name] = float(signal[item]) / spread / 4
                rank = sum(1 for other in others if signal[other] > signal[item])
                features[f"{name}_rank"] = 4 * math.log((n_items + 1) / (rank + 1)) / math.log(n_items + 1)
        features["next"] = math.log1p(soon.get(item, 0.0) / mean_of(soon)) / 2
        features["near"] = math.log1p(later.get(item, 0.0) / mean_of(later)) / 2
        features |= own_features(item, events, now)
        features |= {name: float(row[item]) for name, row in zip(TREND_NAMES, tables.trends, strict=True)}
        features["category"] = math.log1p(by_category.get(item, 0.0) / mean_of(by_category)) / 2
        features["price"] = price_feature(tables, item, events)
        by_item[item] = features
    return by_item


def asked_next(tables: MixTables, events: list[Event], half_life: float) -> dict[int, float]:
    """Compute what the last events ask of items near them: Σ 2^(−later events / half_life) · transition weight."""
    pull: dict[int, float] = {}
    for age, (item, _, _) in enumerate(reversed(events[-RECENT_EVENTS:])):
        row = tables.transitions[[item]].tocoo()
        for near, weight in zip(row.coords[1].tolist(), row.data.tolist(), strict=True):
            pull[near] = pull.get(near, 0.0) + 2 ** (-age / half_life) * weight
    return pull


def category_scores(tables: MixTables, events: list[Event]) -> dict[int, float]:
    """Share of an item's category in the recent history × the season's trend; only of items above 0."""
    weights: dict[int, float] = {}
    for age, (item, _, _) in enumerate(reversed(events[-RECENT_EVENTS:])):
        category = int(tables.category[item])
        if category >= 0:
            weights[category] = weights.get(category, 0.0) + 2 ** (-age / CATEGORY_HALF_LIFE)
    total = sum(weights.values())
    scores = {}
    for item in range(tables.n_items):
        share = weights.get(int(tables.category[item]), 0.0)
        if share > 0 and tables.trends[CATEGORY_TREND][item] > 0:
            scores[item] = share / total * float(tables.trends[CATEGORY_TREND][item])
    return scores


def best_others(pull: dict[int, float], others: list[int]) -> set[int]:
    """Find the POOL others of the largest values, and those level with the last of them."""
    values = sorted((pull[item] for item in others if item in pull), reverse=True)
    if not values:
        return set()
    least = values[min(POOL, len(values)) - 1]
    return {item for item in others if pull.get(item, -math.inf) >= least}


def own_features(item: int, events: list[Event], now: int) -> dict[str, float]:
    """Compute the counters of one item of the own history."""
    n = len(events)
    ages = [n - 1 - place for place, event in enumerate(events) if event[0] == item]
    baskets = sorted({time for _, kind, time in events if kind == EventKind.PURCHASE})
    bought = [time for other, kind, time in events if other == item and kind == EventKind.PURCHASE]
    days = [max(now - time, 0) / MICROS_PER_DAY for time in bought]
    later = [sum(1 for basket in baskets if basket > time) for time in bought]
    counts = [sum(2 ** (-age / half_life) for age in ages) for half_life in OWN_HALF_LIVES]
    counts += [sum(2 ** (-day / half_life) for day in days) for half_life in BOUGHT_HALF_LIVES]
    counts.append(sum(2 ** (-number / BASKETS_HALF_LIFE) for number in later))
    names = ("own_2_events", "own_20_events", "bought_60d", "bought_180d", "bought_5_baskets")
    return {"own": float(bool(ages))} | dict(zip(names, map(math.log1p, counts), strict=True))


def price_feature(tables: MixTables, item: int, events: list[Event]) -> float:
    """Compute −|log price − mean log price of the recent history|, at least −PRICE_BOUND; 0 where either is unknown."""
    weight = total = 0.0
    for age, (other, _, _) in enumerate(reversed(events[-RECENT_EVENTS:])):
        if not math.isnan(tables.log_price[other]):
            weight += 2 ** (-age / CATEGORY_HALF_LIFE)
            total += 2 ** (-age / CATEGORY_HALF_LIFE) * float(tables.log_price[other])
    price = float(tables.log_price[item])
    return 0.0 if weight == 0 or math.isnan(price) else -min(abs(price - total / weight), PRICE_BOUND)


def mean_of(values_of: dict[int, float]) -> float:
    """Average the values, 1 where there are none."""
    return sum(values_of.values()) / len(values_of) if values_of else 1.0
