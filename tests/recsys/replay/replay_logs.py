"""Small random logs as datasets: baskets and single events, repeats, dislikes, cancellations, categories and prices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from data.checked_log import REJECTS
from data.dataset import Dataset
from data.interactions import MICROS_PER_DAY, EventKind
from data.vocabulary import Vocabulary


def small_dataset(
    seed: int, *, n_users: int = 12, n_items: int = 20, n_events: int = 200, days: int = 6, undone: float = 0.05
) -> Dataset:
    """Events at few distinct times, so that baskets occur; some undone a day later."""
    rng = np.random.default_rng(seed)
    user = np.sort(rng.integers(0, n_users, n_events))
    slots = rng.integers(0, days * 8, n_events)
    item = np.minimum(rng.geometric(0.15, n_events) - 1, n_items - 1)
    kind = rng.choice([EventKind.VIEW, EventKind.PURCHASE, EventKind.DISLIKE], n_events, p=[0.55, 0.4, 0.05])
    time = (20_000 * 8 + slots) * (MICROS_PER_DAY // 8)
    order = np.lexsort((time, user))
    gone = rng.random(n_events) < undone
    return dataset_of(user[order], item[order], kind[order], time[order], n_users, n_items, gone)


def dataset_of(
    user: np.ndarray,
    item: np.ndarray,
    kind: np.ndarray,
    time: np.ndarray,
    n_users: int,
    n_items: int,
    gone: np.ndarray | None = None,
) -> Dataset:
    """A dataset of columns sorted by user and time; rows that are gone are undone a day later."""
    gone = np.zeros(len(user), dtype=bool) if gone is None else gone
    log = pl.DataFrame(
        {
            "user_idx": pl.Series(user, dtype=pl.Int32),
            "item_idx": pl.Series(item, dtype=pl.Int32),
            "kind": pl.Series(kind, dtype=pl.UInt8),
            "time": pl.Series(time, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "price": pl.Series([None] * len(user), dtype=pl.Float64),
            "quantity": pl.Series(np.ones(len(user)), dtype=pl.Float32),
            "session_id": pl.Series([None] * len(user), dtype=pl.String),
            "country": pl.Series([("ab"[one % 2]) for one in user], dtype=pl.String),
            "undone_time": pl.Series(np.where(gone, time + MICROS_PER_DAY, -1), dtype=pl.Int64)
            .replace(-1, None)
            .cast(pl.Datetime("us", "UTC")),
        }
    )
    catalogue = pl.DataFrame(
        {
            "item_id": [f"i{one}" for one in range(n_items)],
            "title": [f"Item {one}" for one in range(n_items)],
            "category": [None if one % 7 == 6 else f"c{one % 3}" for one in range(n_items)],
            "price": [None if one == 0 else float(one) for one in range(n_items)],
            "available": [True] * n_items,
        }
    )
    return Dataset(
        name="small",
        log=log,
        catalogue=catalogue,
        items=Vocabulary(catalogue["item_id"]),
        users=Vocabulary(pl.Series([f"u{one}" for one in range(n_users)])),
        summary={},
        rejects=pl.DataFrame(schema=REJECTS),
    )


def with_log(dataset: Dataset, log: pl.DataFrame) -> Dataset:
    """The same dataset with another log."""
    return replace(dataset, log=log)
