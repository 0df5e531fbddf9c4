"""Trend: time-decayed popularity, the fallback of an empty history and a small term of every score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from data.interactions import MICROS_PER_DAY, EventKind, Interactions

HALF_LIFE_DAYS = 7.0
"""Half-lives of 3 to 14 days differ by less than their intervals on Online Retail; a week is what shops think in."""


PERIOD_US = MICROS_PER_DAY
"""What one installation does to one item within a day counts once: 5,000 views by a bot are no trend."""


def once_a_period(log: Interactions) -> Interactions:
    """Keep of each device's events of an item the last one in every period, dislikes left out."""
    counted = log.where(log.kind != EventKind.DISLIKE)
    columns = (counted.time, counted.item_idx, counted.time // PERIOD_US, counted.user_idx)
    order = np.lexsort(columns)
    last = np.ones(len(order), dtype=np.bool_)
    same = [column[order][1:] == column[order][:-1] for column in columns[1:]]
    last[:-1] = ~(same[0] & same[1] & same[2])
    keep = np.zeros(len(order), dtype=np.bool_)
    keep[order[last]] = True
    return counted.where(keep)


def decayed_popularity(log: Interactions, now: int, half_life_days: float = HALF_LIFE_DAYS) -> npt.NDArray[np.float64]:
    """Count events of each item, (n_items,) float64, each halved for every half_life_days of its age at now (µs)."""
    counted = log.where(log.kind != EventKind.DISLIKE)
    age = np.maximum(now - counted.time, 0) / MICROS_PER_DAY
    weights = np.exp2(-age / half_life_days)
    return np.bincount(counted.item_idx, weights=weights, minlength=log.n_items).astype(np.float64)


def capped_popularity(log: Interactions, now: int, half_life_days: float = HALF_LIFE_DAYS) -> npt.NDArray[np.float64]:
    """Count as decayed_popularity, a device once for an item in a period: what trends are made of."""
    return decayed_popularity(once_a_period(log), now, half_life_days)


def last_events(log: Interactions) -> Interactions:
    """Keep of each device and item the last event that speaks for the item: a device counts once, as of then.

    What one device adds to a count is then at most 1, however often it came back: a bulk buyer makes no trend.
    """
    counted = log.where(log.kind != EventKind.DISLIKE)
    key = counted.user_idx.astype(np.int64) * log.n_items + counted.item_idx
    _, from_the_end = np.unique(key[::-1], return_index=True)
    keep = np.zeros(counted.n_events, dtype=np.bool_)
    keep[counted.n_events - 1 - from_the_end] = True
    return counted.where(keep)


def trend(log: Interactions, now: int, half_life_days: float = HALF_LIFE_DAYS) -> npt.NDArray[np.float32]:
    """Compute the trend of each item in [0, 1], (n_items,) float32.

    It is log(1 + capped popularity) over its largest value.

    The logarithm keeps the order and stops one bestseller from drowning all profiles. All zeros for an empty log.
    """
    return trend_of(capped_popularity(log, now, half_life_days))


def trend_of(decayed: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Compute the trend of items whose decayed popularity (n_items,) is known."""
    level = np.log1p(decayed)
    return (level / max(float(level.max(initial=0.0)), 1e-12)).astype(np.float32)
