"""The items file: what a shop says of its items, checked; what it lacks and what was no value are told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from data.errors import DataError
from data.limits import MAX_ID_CHARS
from data.log_reading.canonical import id_text
from data.log_reading.columns import match_names
from data.log_reading.formats import PRESETS
from data.log_reading.log_source import OpenedLog
from data.log_reading.opening.source import Source
from data.log_reading.opening.sources import Table, open_source, unreadable
from data.values.availability import availability_column
from data.values.nobody import NULL_WORDS
from data.values.numbers import Locale, price_column

TYPES = {"title": pl.String(), "category": pl.String(), "price": pl.Float64(), "available": pl.Boolean()}
STOCK = ("stock", "stockquantity", "inventory", "inventoryquantity", "qtyonhand")
_CODES = ("gtin", "ean", "upc", "isbn", "mpn", "barcode", "sku")
_PLAIN_NUMBER = r"^-?(0|[1-9]\d{0,14})(\.\d+)?$"
_SHOWN = 3


@dataclass(frozen=True)
class ItemsTable:
    """frame: item_id and those of title, category, price, available and attributes that the file has.

    joins: whether items that the log lacks belong to the catalogue: the caller named the file. notes: what was no
    value, and which items of the log are in it.
    """

    frame: pl.DataFrame
    joins: bool
    notes: tuple[str, ...]

    def fresh(self, ids: pl.Series) -> pl.DataFrame:
        """Select rows of items that the log lacks.

        None where not one item of the log is in the file: another shop's.
        """
        known = self.frame["item_id"].is_in(ids.implode())
        return self.frame.filter(~known) if self.joins and known.any() else self.frame.clear()

    def matched(self, ids: pl.Series) -> list[str]:
        """Note how many of the log's items (`ids`) the file has, and how many it has besides."""
        both = int(ids.is_in(self.frame["item_id"].implode()).sum())
        if not self.joins:
            return []
        notes = [f"items: {both} of {len(ids)} items of the log are in it"]
        if not both:
            looks = [", ".join(some.head(_SHOWN).to_list()) for some in (self.frame["item_id"], ids)]
            notes[0] += f"; its ids look like {looks[0]}, the log's like {looks[1]}; none of it was taken"
        elif fresh := len(self.frame) - both:
            notes.append(f"items: {fresh} are only in it: new to everybody, the catalogue places them by content")
        if both and "title" not in self.frame.columns:
            names = ", ".join(PRESETS["generic"].columns["title"])
            notes.append(f"items: no column for title (known as {names}); the catalogue has none")
        return notes


def items_table(log: OpenedLog, beside: Table, scratch: Path | None = None) -> ItemsTable | None:
    """Open the items file that the caller names, or the preset's own in the folder of the log, or None.

    Raises DataError when it has no column of item ids, or a word for availability that is unknown.
    """
    preset, items, locale = log.preset, log.options.items, Locale.of(log.options.locale)
    if log.feed is not None:
        checked = _checked(log.feed.frame, [n for n in log.feed.frame.columns if n not in (*TYPES, "item_id")], locale)
        return ItemsTable(checked.frame, True, (*log.feed.notes, *checked.notes))
    if items is not None:
        opened = open_source(items, separators=(",", ";", "\t", "|"), scratch=scratch)
        return replace(_described(opened, log, locale), joins=True)
    if not isinstance(beside, (str, Path)):
        return None
    for pattern, separator, header in preset.items:
        for path in sorted(Path(beside).parent.glob(pattern)):
            known = frozenset(name for names in preset.item_columns.values() for name in names)
            opened = open_source(path, separators=(separator,), header=header, known=known)
            return _described(opened, log, locale)
    return None


def _described(opened: Source, log: OpenedLog, locale: Locale) -> ItemsTable:
    names = {**PRESETS["generic"].columns, **log.preset.item_columns}
    wanted = {role: names[role] for role in ("item", "title", "category", "price", "available")}
    matches = match_names(wanted, opened.columns)
    if "item" not in matches:
        raise DataError(f"items={opened.name}: no column for item; found {', '.join(opened.columns)}")
    columns = [pl.col(column).alias("item_id" if role == "item" else role) for role, column in matches.items()]
    taken = {*matches.values(), *matches, "item_id"}
    rest = [name for name in opened.columns if name not in taken and not name.startswith("column_")]
    try:
        table = opened.frame.select(*columns, *rest).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        if opened.patient is not None:
            return _described(opened.patient(), log, locale)
        raise unreadable(opened, error) from None
    table = table.with_columns(id_text(pl.col("item_id"), table.schema["item_id"]))
    return _checked(table, rest, locale)


def _checked(table: pl.DataFrame, attributes: list[str], locale: Locale) -> ItemsTable:
    """Convert each value to its type, null where it is none.

    Rows without a usable id are left out; of one id the last stays.
    """
    notes = []
    item = pl.col("item_id")
    usable = (item != "") & (item.str.len_chars() <= MAX_ID_CHARS) & ~item.str.contains("[\x00-\x1f\x7f]")
    usable &= ~item.is_in([".", ".."])
    rows = len(table)
    table = table.filter(usable)
    if len(table) < rows:
        notes.append(f"items: {rows - len(table)} rows have no usable item_id; left out")
    rows = len(table)
    table = table.unique("item_id", keep="last", maintain_order=True)
    if len(table) < rows:
        notes.append(f"items: {rows - len(table)} rows repeat an item_id; of each the last counts")
    if "price" in table.columns:
        prices, faults = price_column(table["price"], locale)
        table = table.with_columns(prices.alias("price"))
        if len(faults):
            told = ", ".join(repr(value) for value in faults.head(_SHOWN))
            notes.append(f"items: price: {len(faults)} values are no price ({told}); the price of these is unknown")
    table = table.with_columns(
        typed(name, dtype, table) for name, dtype in TYPES.items() if name in table.columns and name != "price"
    )
    for name in attributes:
        column, note = _attribute(table[name])
        table = table.with_columns(column)
        notes += [note] if note else []
    return ItemsTable(table, False, tuple(notes))


def _attribute(column: pl.Series) -> tuple[pl.Series, str]:
    """Convert an attribute: numbers as numbers, whatever file they come from.

    A number that JSON lacks and a negative stock are null.
    """
    name, folded = column.name, column.name.lower().replace("_", "").replace(" ", "")
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        nothing = text.str.to_lowercase().is_in(["", *NULL_WORDS])
        told = text.filter(~nothing)
        code = folded in _CODES or folded.endswith("id") or any(folded.endswith(code) for code in _CODES)
        if len(told) and not code and told.str.contains(_PLAIN_NUMBER).all():
            number = text.cast(pl.Float64, strict=False)
            whole = not told.str.contains(".", literal=True).any()
            column = number.cast(pl.Int64).alias(name) if whole else number.alias(name)
    if not column.dtype.is_numeric():
        return column, ""
    wrong = ~column.is_finite() & ~column.is_nan() if column.dtype.is_float() else column.is_null() & False
    if folded in STOCK:
        wrong |= column < 0
    count = int(wrong.fill_null(False).sum())
    clean = pl.DataFrame([column]).select(pl.when(~wrong.fill_null(False)).then(finite(pl.col(name))).alias(name))
    return clean.to_series(), f"items: {name}: {count} values are no {name}; they are unknown" if count else ""


def finite(number: pl.Expr) -> pl.Expr:
    """Keep a number that JSON has, else null."""
    return pl.when(number.is_finite()).then(number)


def typed(name: str, dtype: pl.DataType, table: pl.DataFrame) -> pl.Expr:
    """Convert a column of the catalogue to its type. Raises DataError for an unknown word of availability."""
    if name not in table.columns:
        return pl.lit(None, dtype=dtype).alias(name)
    if dtype == pl.Boolean:
        truth, unknown = availability_column(table[name])
        if unknown:
            raise DataError(
                f"available={unknown[0]!r}: must be one of true, t, yes, 1, in stock, preorder, backorder, false, no, "
                "0, out of stock, sold out, discontinued, or left empty"
            )
        return pl.lit(truth).alias(name)
    return pl.col(name).cast(dtype, strict=False)
