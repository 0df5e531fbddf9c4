"""The features of the mix: one number a signal says about one item for one device, and the constants behind them.

The constants are the same on every log; what differs from log to log are the weights (recsys/mix/model.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

TREND_HALF_LIVES = (0.25, 1.0, 7.0, 90.0, 365.0)
"""Days: what is popular within a visit, a day, a week, a season, a year; rising is one against another."""

TREND_NAMES = ("trend_6h", "trend_1d", "trend_7d", "trend_90d", "trend_365d")

FEATURES = (
    "taste",
    "taste_rank",
    "intent",
    "intent_rank",
    "next",
    "near",
    "own",
    "own_2_events",
    "own_20_events",
    "bought_60d",
    "bought_180d",
    "bought_5_baskets",
    *TREND_NAMES,
    "category",
    "price",
)
"""Order of the weights and of the columns of a feature matrix."""

N_FEATURES = len(FEATURES)

SIGNALS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "taste": ("taste", "taste_rank"),
        "intent": ("intent", "intent_rank"),
        "transition": ("next", "near"),
        "own": ("own", "own_2_events", "own_20_events", "bought_60d", "bought_180d", "bought_5_baskets"),
        "trend": TREND_NAMES,
        "category": ("category",),
        "price": ("price",),
    }
)
"""Signals that a reason names: every feature belongs to one signal."""

POOL = 50
"""Best items of each signal that are ranked, beside all items of the own history."""

NEXT_HALF_LIFE, NEAR_HALF_LIFE = 1.5, 10.0
"""In later events: how fast an event stops asking for what comes after it."""

RECENT_EVENTS = 50
"""Events of a history that ask the transition table: at the longer half-life the next one would weigh 3 %."""

OWN_HALF_LIVES = (2.0, 20.0)
"""In later events, of the counters of all own events."""

BOUGHT_HALF_LIVES = (60.0, 180.0)
"""In days, of the counters of own purchases."""

BASKETS_HALF_LIFE = 5.0
"""In own later baskets, of the third counter of own purchases."""

CATEGORY_HALF_LIFE = 10.0
"""In later events, of the share of each category and of the mean price in the history."""

PRICE_BOUND = 2.0
"""Bound on a difference of log prices: further away is as bad as e² times as dear or as cheap."""


def columns_of_features(names: tuple[str, ...]) -> list[int]:
    """Find the columns of some features in a feature matrix."""
    return [FEATURES.index(name) for name in names]


OWN_COLUMNS = tuple(columns_of_features(SIGNALS["own"]))
"""Columns that are zero for every item which is not the device's own."""
