"""Numbering: ids → dense indices by first appearance, rows in their final order, exact duplicates out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from data.vocabulary import Vocabulary

_SAME = ("kind", "price", "quantity", "session", "order")
Index = npt.NDArray[np.int32]


@dataclass(frozen=True)
class NumberedRows:
    """The place of every row in the sorted log.

    order: UInt32, rows of the frame sorted by user_idx, then as they are in the frame, without duplicates. events:
    user_idx, item_idx, kind and time of these. item_of_row: (len(rows),), the item of each row of the frame.
    """

    order: pl.Series
    events: pl.DataFrame
    item_of_row: Index
    users: Vocabulary
    items: Vocabulary
    duplicates: int


def in_time_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Sort the rows by time, then the log's own order of events (null is 0), then as they are.

    Rows that are so already are returned, not copied; else `rows` is emptied as its copy is filled.
    """
    if rows["order"].null_count() < len(rows):
        order = pl.Series(np.lexsort((rows["order"].fill_null(0).to_numpy(), rows["time"].to_numpy())))
    elif rows["time"].is_sorted():
        return rows
    else:
        order = pl.Series(np.argsort(rows["time"].to_numpy(), kind="stable"))
    return pl.DataFrame([rows.drop_in_place(name).gather(order) for name in rows.columns])


def indices(ids: pl.Series, known: Vocabulary) -> tuple[Index, Vocabulary]:
    """Index ids, (len(ids),), and grow the vocabulary by the new ones in their order; a known one keeps its index.

    ids: Int64 or Categorical, without nulls.
    """
    codes = ids.to_physical().cast(pl.Int64).to_numpy()
    low, high = int(codes.min()), int(codes.max())
    if high - low > 4 * len(codes) + 1_000_000:  # too sparse for a table: make them dense first
        distinct = pl.Series(codes).unique(maintain_order=True)
        table = distinct.to_frame("code").with_row_index("dense")
        dense = pl.DataFrame({"code": codes}).join(table, on="code", how="left", maintain_order="left")["dense"]
        codes, low, high = dense.cast(pl.Int64).to_numpy(), 0, len(distinct) - 1
    codes = codes - low
    n = len(codes)
    first = np.full(high - low + 1, n, dtype=np.uint32)
    first[codes[::-1]] = np.arange(n - 1, -1, -1, dtype=np.uint32)  # the last write, the first appearance, wins
    shown = np.sort(first[first < n])
    texts = ids.gather(shown).cast(pl.String)
    vocabulary = known.extend(texts)
    table_of = np.empty(high - low + 1, dtype=np.int32)
    table_of[codes[shown]] = vocabulary.index_of(texts) if len(known) else np.arange(len(texts), dtype=np.int32)
    return table_of[codes], vocabulary


def arrange(
    rows: pl.DataFrame, user_of_row: Index, item_of_row: Index, users: Vocabulary, items: Vocabulary
) -> NumberedRows:
    """Sort rows by user, without duplicates.

    They are as of in_time_order, and their users and items have their indices.

    rows: user, item, time (µs), kind, price, quantity, session, order, x.EXTRA. A row that repeats another one in all
    of these is a duplicate; the first one stays.
    """
    # One integer holds user and row: sorting it is a stable sort by user, several times quicker.
    packed = user_of_row.astype(np.int64)
    packed <<= 32
    packed |= np.arange(len(packed))
    packed = pl.Series(packed).sort().to_numpy()  # polars sorts on all cores, and a frame's columns at the same time
    order = pl.Series(packed.astype(np.uint32))
    events = pl.DataFrame([pl.Series("item_idx", item_of_row), rows["kind"], rows["time"]])[order]
    events.insert_column(0, pl.Series("user_idx", (packed >> 32).astype(np.int32)))
    distinct = _distinct(rows, order, events)
    distinct_order = order.filter(distinct)
    if len(distinct_order) < len(order):
        events = events.filter(distinct)
    return NumberedRows(distinct_order, events, item_of_row, users, items, len(order) - len(distinct_order))


def _distinct(rows: pl.DataFrame, order: pl.Series, events: pl.DataFrame) -> pl.Series:
    """Mark rows that do not repeat an earlier one, (len(order),) bool.

    Only rows that share user and time are compared.
    """
    time, user_idx = events["time"].to_numpy(), events["user_idx"].to_numpy()
    tied = np.zeros(len(order) + 1, dtype=np.bool_)
    tied[1:-1] = (time[1:] == time[:-1]) & (user_idx[1:] == user_idx[:-1])
    among = np.flatnonzero(tied[:-1] | tied[1:])
    keep = np.ones(len(order), dtype=np.bool_)
    if len(among):
        same = [name for name in rows.columns if name in _SAME or name.startswith("x.")]
        compared = rows.select(same)[order[among]].with_columns(events.select("user_idx", "item_idx", "time")[among])
        nested = [name for name, dtype in compared.schema.items() if dtype.is_nested()]  # cannot be compared as it is
        compared = compared.with_columns(pl.col(nested).map_batches(_written, return_dtype=pl.String))
        keep[among] = compared.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()
    return pl.Series(keep)


def _written(nested: pl.Series) -> pl.Series:
    """Write lists and objects as text."""
    return pl.Series(nested.name, [repr(value) for value in nested.to_list()], dtype=pl.String)
