"""Shoppers that may be none: one who has much of a log, and those with more events a day than a person makes."""

from __future__ import annotations

import numpy as np
import polars as pl

_DAY = 86_400_000_000


def heavy_users(rows: pl.DataFrame | pl.LazyFrame, max_per_day: int) -> tuple[str, ...]:
    """List ids of users with more than `max_per_day` usable rows on any one day (UTC).

    rows: user, time (µs), reason.
    """
    usable = rows.lazy().filter(pl.col("reason") == 0).group_by("user", pl.col("time") // _DAY).len("n")
    heavy = usable.filter(pl.col("n") > max_per_day).select(pl.col("user").unique())
    return tuple(heavy.collect().to_series().cast(pl.String).sort().to_list())


def largest_shopper(events: pl.DataFrame) -> tuple[int, int]:
    """Return the user_idx with most events, of several the first, and how many those are; (−1, 0) of no events."""
    if not len(events):
        return -1, 0
    counts = np.bincount(events["user_idx"].to_numpy())
    user = int(counts.argmax())
    return user, int(counts[user])
