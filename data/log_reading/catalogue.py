"""The catalogue: one row an item, in the order of item_idx, from the log and from an items file if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from data.errors import DataError
from data.log_reading.canonical import Plan
from data.log_reading.columns import match_names
from data.log_reading.formats import PRESETS, Preset
from data.log_reading.numbering import Index
from data.log_reading.sources import Source, Table, open_source, unreadable

_YES = ("true", "t", "yes", "y", "on", "in stock", "in_stock", "instock", "available")
_NO = ("false", "f", "no", "n", "off", "out of stock", "out_of_stock", "outofstock", "sold out", "unavailable")
_TYPES = {"title": pl.String(), "category": pl.String(), "price": pl.Float64(), "available": pl.Boolean()}
_FIRST = ("item_id", "title", "category", "price", "available")


@contextmanager
def told_plainly(name: str) -> Iterator[None]:
    """What polars says of a source it can make no catalogue of (a list where a title should be), as a DataError."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise DataError(f"source={name}: no catalogue: {str(error).strip().splitlines()[0]}") from None


def describe(rows: pl.DataFrame, item_of_row: Index, ids: pl.Series, plan: Plan) -> pl.DataFrame:
    """What a log says of each of some items: item_id (`ids`), title?, category?, available?, attributes, price?.

    rows: in time order; price, title?, category?, available?, a.ATTRIBUTE? of the log; the last value that is not null
    counts, for prices the median. item_of_row: (len(rows),) position in `ids`.
    """
    facts: dict[str, str] = {name: name for name in ("title", "category", "available") if name in rows.columns}
    facts |= {name: f"a.{name}" for name in plan.columns.attributes}
    told = {name: _last(rows[column], item_of_row, len(ids)) for name, column in facts.items()}
    return pl.DataFrame({"item_id": ids, **told, "price": _median(rows["price"], item_of_row, len(ids))})


def make_catalogue(
    described: pl.DataFrame, plan: Plan, known: pl.DataFrame | None, older: pl.DataFrame | None
) -> pl.DataFrame:
    """Row i describes item_idx i: item_id, title?, category?, price?, available, attributes.

    What an items file (`known`) says comes before what the log does (`described`), the log before an `older` one.
    """
    table = described.with_columns(_typed(name, dtype, described) for name, dtype in _TYPES.items())
    for column, words in plan.preset.decode.items():
        if column in table.columns:
            table = table.with_columns(pl.col(column).cast(pl.String).replace(words))
    for other, first in ((known, True), (older, False)):
        if other is not None:
            table = _filled(table, other, other_first=first)
    if plan.preset.title is not None:
        table = table.with_columns(title=pl.coalesce("title", plan.preset.title))
    return table.with_columns(pl.col("available").fill_null(True)).select(*_FIRST, pl.exclude(_FIRST))


def _last(values: pl.Series, item_of_row: Index, n_items: int) -> pl.Series:
    """(n_items,) the last value of each item that is not null."""
    row = np.full(n_items, -1, dtype=np.int64)
    if values.null_count():
        told = values.is_not_null().arg_true().to_numpy()
        row[item_of_row[told]] = told  # the last write wins
    else:
        row[item_of_row] = np.arange(len(item_of_row))
    last = values.gather(pl.Series(row).replace(-1, None))
    return last.cast(pl.String) if isinstance(last.dtype, pl.Categorical) else last


def _median(prices: pl.Series, item_of_row: Index, n_items: int) -> pl.Series:
    """(n_items,) Float64, the median price of each item in the log."""
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


def items_table(preset: Preset, beside: Table, items: Table | None) -> pl.DataFrame | None:
    """The items file that the caller names, or the preset's own in the folder of the log, or None.

    Raises DataError when it has no column of item ids.
    """
    if items is not None:
        return _described(open_source(items, separators=(",", ";", "\t", "|")), preset)
    if not isinstance(beside, (str, Path)):
        return None
    for pattern, separator, header in preset.items:
        for path in sorted(Path(beside).parent.glob(pattern)):
            known = frozenset(name for names in preset.item_columns.values() for name in names)
            return _described(open_source(path, separators=(separator,), header=header, known=known), preset)
    return None


def _described(opened: Source, preset: Preset) -> pl.DataFrame:
    """An items file as item_id, and those of title, category, price, available and attributes that it has."""
    names = {**PRESETS["generic"].columns, **preset.item_columns}
    wanted = {role: names[role] for role in ("item", "title", "category", "price", "available")}
    found = match_names(wanted, opened.columns)
    if "item" not in found:
        raise DataError(f"items={opened.name}: no column for item; found {', '.join(opened.columns)}")
    columns = [pl.col(column).alias("item_id" if role == "item" else role) for role, column in found.items()]
    taken = {*found.values(), *found, "item_id"}
    rest = [name for name in opened.columns if name not in taken and not name.startswith("column_")]
    try:
        table = opened.frame.select(*columns, *rest).collect().cast({"item_id": pl.String})
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(opened, error) from None
    typed = [_typed(name, dtype, table) for name, dtype in _TYPES.items() if name in table.columns]
    return table.with_columns(typed).drop_nulls("item_id").unique("item_id", keep="last", maintain_order=True)


def _typed(name: str, dtype: pl.DataType, table: pl.DataFrame) -> pl.Expr:
    if name not in table.columns:
        return pl.lit(None, dtype=dtype).alias(name)
    if dtype == pl.Boolean:
        return pl.lit(_truth(table[name])).alias(name)
    return pl.col(name).cast(dtype, strict=False)


def _truth(told: pl.Series) -> pl.Series:
    """Boolean of yes and no in their usual words and of numbers, where zero is no. Raises DataError for other words."""
    if told.dtype == pl.Boolean:
        return told
    word = told.cast(pl.String).str.strip_chars().str.to_lowercase()
    number = word.cast(pl.Float64, strict=False)
    frame = pl.DataFrame({"word": word, "number": number})
    truth = frame.select(
        pl.when(pl.col("number").is_not_null())
        .then(pl.col("number") != 0)
        .when(pl.col("word").is_in(list(_YES)))
        .then(True)
        .when(pl.col("word").is_in(list(_NO)))
        .then(False)
    ).to_series()
    odd = word.filter(truth.is_null() & word.is_not_null() & (word != ""))
    if len(odd):
        known = ", ".join((*_YES[:3], "1", *_NO[:3], "0"))
        raise DataError(f"available={odd[0]!r}: must be one of {known}, or left empty")
    return truth
