"""Numbering: ids → dense indices by first appearance, rows in their final order, exact duplicates out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from data.vocabulary import Vocabulary

_SAME = ("kind", "price", "quantity", "session", "order")
Rows = npt.NDArray[np.int64]
Index = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Numbered:
    """Where every usable row goes.

    order: rows of the frame sorted by user_idx, time, order of the log, without duplicates. user_idx, item_idx:
    (len(order),). by_time: the usable rows by time, and item_by_time their items.
    """

    order: Rows
    user_idx: Index
    item_idx: Index
    by_time: Rows
    item_by_time: Index
    users: Vocabulary
    items: Vocabulary
    duplicates: int


def number(rows: pl.DataFrame, usable: Rows, known_items: Vocabulary, known_users: Vocabulary) -> Numbered:
    """Number users and items in the order in which time, then the log, first shows them; known ones keep their index.

    rows: user, item (Int64 or Categorical), time (µs), kind, price, quantity, session, order. A row that repeats
    another one in all of these is a duplicate; the first one stays.
    """
    by_time = sort_by_time(rows, usable)
    user_by_time, users = _indices(rows["user"], by_time, known_users)
    item_by_time, items = _indices(rows["item"], by_time, known_items)
    return arrange(rows, by_time, user_by_time, item_by_time, users, items)


def sort_by_time(rows: pl.DataFrame, usable: Rows) -> Rows:
    """The usable rows by time, then the log's own order of events (null is 0), then their place in the log."""
    times = rows["time"].to_numpy()[usable]
    if rows["order"].null_count() < len(rows):
        return usable[np.lexsort((rows["order"].fill_null(0).to_numpy()[usable], times))]
    if (times[1:] >= times[:-1]).all():
        return usable
    return usable[np.argsort(times, kind="stable")]


def arrange(
    rows: pl.DataFrame, by_time: Rows, user_by_time: Index, item_by_time: Index, users: Vocabulary, items: Vocabulary
) -> Numbered:
    """Rows whose users and items have their indices, in their final order and without duplicates."""
    # One integer holds user and position: sorting it is a stable sort by user, several times quicker.
    packed = user_by_time.astype(np.int64) << 32 | np.arange(len(by_time))
    packed.sort()
    position = packed & 0xFFFFFFFF
    user_idx = (packed >> 32).astype(np.int32)
    order, item_idx = by_time[position], item_by_time[position]
    distinct = _distinct(rows, order, user_idx, item_idx)
    duplicates = len(order) - int(distinct.sum())
    if duplicates:
        order, user_idx, item_idx = order[distinct], user_idx[distinct], item_idx[distinct]
    return Numbered(order, user_idx, item_idx, by_time, item_by_time, users, items, duplicates)


def _indices(ids: pl.Series, rows: Rows, known: Vocabulary) -> tuple[Index, Vocabulary]:
    """(len(rows),) the index of each row's id, and the vocabulary grown by the new ones in the order of rows."""
    codes = ids.to_physical().cast(pl.Int64).fill_null(0).to_numpy()[rows]
    low, high = int(codes.min()), int(codes.max())
    if high - low > 4 * len(codes) + 1_000_000:  # too sparse for a table: make them dense first
        distinct = pl.Series(codes).unique(maintain_order=True)
        table = distinct.to_frame("code").with_row_index("dense")
        dense = pl.DataFrame({"code": codes}).join(table, on="code", how="left", maintain_order="left")["dense"]
        codes, low, high = dense.cast(pl.Int64).to_numpy(), 0, len(distinct) - 1
    codes = codes - low
    first = np.full(high - low + 1, len(codes), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)  # the last write, the first appearance, wins
    present = np.flatnonzero(first < len(codes))
    present = present[np.argsort(first[present])]
    found = ids.gather(rows[first[present]]).cast(pl.String)
    vocabulary = known.extend(found)
    table_of = np.empty(high - low + 1, dtype=np.int32)
    table_of[present] = vocabulary.index_of(found) if len(known) else np.arange(len(found), dtype=np.int32)
    return table_of[codes], vocabulary


def _distinct(rows: pl.DataFrame, order: Rows, user_idx: Index, item_idx: Index) -> npt.NDArray[np.bool_]:
    """(len(order),) bool: false for a repetition of an earlier row. Only rows that share user and time are compared."""
    times = rows["time"].to_numpy()[order]
    tied = np.zeros(len(order) + 1, dtype=np.bool_)
    tied[1:-1] = (times[1:] == times[:-1]) & (user_idx[1:] == user_idx[:-1])
    among = np.flatnonzero(tied[:-1] | tied[1:])
    keep = np.ones(len(order), dtype=np.bool_)
    if len(among):
        compared = rows.select(_SAME)[order[among]].with_columns(
            user=pl.Series(user_idx[among]), item=pl.Series(item_idx[among]), time=pl.Series(times[among])
        )
        keep[among] = compared.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    return keep
