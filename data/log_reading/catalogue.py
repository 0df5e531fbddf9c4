"""The catalogue: one row an item, in the order of item_idx, from the log and from an items file if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import polars as pl

from data.errors import DataError
from data.log_reading.canonical import Plan
from data.log_reading.items_file import TYPES, ItemsTable, finite, typed
from data.log_reading.numbering import Index

_FIRST = ("item_id", "title", "category", "price", "available")


@contextmanager
def told_plainly(name: str) -> Iterator[None]:
    """Raise what polars says of a source it can make no catalogue of as a DataError.

    Such is a list where a title should be.
    """
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise DataError(f"source={name}: no catalogue: {str(error).strip().splitlines()[0]}") from None


def describe(rows: pl.DataFrame, item_of_row: Index, ids: pl.Series, plan: Plan) -> pl.DataFrame:
    """Describe some items by what a log says of each.

    Columns: item_id (`ids`), title?, category?, available?, attributes, price?.

    rows: in time order; price, title?, category?, available?, a.ATTRIBUTE? of the log; the last value that is not null
    counts, for prices the median. item_of_row: (len(rows),) position in `ids`.
    """
    facts: dict[str, str] = {name: name for name in ("title", "category", "available") if name in rows.columns}
    facts |= {name: f"a.{name}" for name in plan.columns.attributes}
    told = {name: _last(rows[column], item_of_row, len(ids)) for name, column in facts.items()}
    return pl.DataFrame({"item_id": ids, **told, "price": _median(rows["price"], item_of_row, len(ids))})


def make_catalogue(
    described: pl.DataFrame, plan: Plan, known: ItemsTable | None, older: pl.DataFrame | None
) -> pl.DataFrame:
    """Make the catalogue, row i of which describes item_idx i.

    Columns: item_id, title?, category?, price?, available, attributes.

    What an items file (`known`) says comes before what the log does (`described`), the log before an `older` one.
    Items that only the items file has come last, in its order: nobody has met them yet.
    """
    table = described.with_columns(typed(name, dtype, described) for name, dtype in TYPES.items())
    for column, words in plan.preset.decode.items():
        if column in table.columns:
            table = table.with_columns(pl.col(column).cast(pl.String).replace(words))
    for other, first in ((None if known is None else known.frame, True), (older, False)):
        if other is not None:
            table = _filled(table, other, other_first=first)
    if known is not None and len(fresh := known.fresh(described["item_id"])):
        fresh = fresh.with_columns(pl.col(name).cast(table.schema[name]) for name in fresh.columns)
        table = pl.concat([table, fresh], how="diagonal")
    if plan.preset.title is not None:
        table = table.with_columns(title=pl.coalesce("title", plan.preset.title))
    table = table.with_columns(pl.col("available").fill_null(True), finite(pl.col("price")))
    floats = [name for name, dtype in table.schema.items() if dtype.is_float()]
    return table.with_columns(finite(pl.col(name)) for name in floats).select(*_FIRST, pl.exclude(_FIRST))


def _last(values: pl.Series, item_of_row: Index, n_items: int) -> pl.Series:
    """Take the last value of each item that is not null, (n_items,)."""
    row = np.full(n_items, -1, dtype=np.int64)
    if values.null_count():
        told = values.is_not_null().arg_true().to_numpy()
        row[item_of_row[told]] = told  # the last write wins
    else:
        row[item_of_row] = np.arange(len(item_of_row))
    last = values.gather(pl.Series(row).replace(-1, None))
    return last.cast(pl.String) if isinstance(last.dtype, pl.Categorical) else last


def _median(prices: pl.Series, item_of_row: Index, n_items: int) -> pl.Series:
    """Compute the median price of each item in the log, (n_items,) Float64."""
    seen = pl.DataFrame({"item": item_of_row, "price": prices})
    medians = seen.group_by("item").agg(pl.col("price").median())
    price = np.full(n_items, np.nan)
    price[medians["item"].to_numpy()] = medians["price"].fill_null(np.nan).to_numpy()
    return pl.Series("price", price).fill_nan(None)


def _filled(table: pl.DataFrame, other: pl.DataFrame, *, other_first: bool) -> pl.DataFrame:
    joined = table.join(other, on="item_id", how="left", suffix=".other", maintain_order="left")
    both = [name for name in table.columns if f"{name}.other" in joined.columns]
    merged = [
        pl.coalesce(f"{name}.other", name) if other_first else pl.coalesce(name, f"{name}.other") for name in both
    ]
    named = [expression.cast(table.schema[name]).alias(name) for expression, name in zip(merged, both, strict=True)]
    return joined.with_columns(named).drop([f"{name}.other" for name in both])
