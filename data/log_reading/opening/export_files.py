"""Exports of other programs as a source: their records flattened to rows, a hundred thousand rows at a time."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from data.errors import DataError
from data.exports.analytics import as_json
from data.exports.flat import FIELDS, Export
from data.log_reading.opening.csv_files import first_line
from data.log_reading.opening.csv_repair import set_down
from data.log_reading.opening.json_rows import Record, Row, read_records, text_of
from data.log_reading.opening.source import LINE, Source
from data.log_reading.opening.unpacking import scratch_folder, unpack
from data.values.event_words import meaning
from data.values.numbers import currency_of

_SLICE = 50_000
_HEAD_LINES = 50
SEPARATORS = (",", ";", "\t", "|")


def open_export(export: Export, paths: Sequence[Path], scratch: Path | None, head: int | None = None) -> Source:
    """Open the flat rows of an export's files as a source with the columns FIELDS; each is read once.

    head: records that are read; None: all. Raises DataError when prices are in more than one currency.
    """
    folder = scratch or scratch_folder()
    counts = _ExportCounts(limit=head)
    frame = set_down(_rows(export, paths, scratch, counts), (LINE, *FIELDS), folder)
    if counts.orders_undone:
        frame = _undo_whole_orders(frame, sorted(counts.orders_undone))
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} … {paths[-1].name}"
    notes = [f"export: {export.name}, {counts.records} records as rows"]
    if counts.cut:
        notes.append(f"records: only the first {counts.records:,} were read")
    if counts.partly_refunded:
        notes.append(
            f"orders refunded in part: {counts.partly_refunded}; this export does not say which of their lines, "
            "so their purchases stand"
        )
    return Source(frame, frame, FIELDS, name, notes=tuple(notes))


@dataclass
class _ExportCounts:
    """What an export says beside its rows.

    limit: records to read at most; cut: whether there were more. records: read so far. orders_undone: refunded as a
    whole, by order id. partly_refunded: orders of which some line was.
    """

    limit: int | None = None
    cut: bool = False
    records: int = 0
    orders_undone: set[str] = field(default_factory=set)
    partly_refunded: int = 0


def _undo_whole_orders(frame: pl.LazyFrame, orders: Sequence[str]) -> pl.LazyFrame:
    """Replace a refund that names an order and no product by one refund of each line that the order bought.

    A refund whose order is not in the export stays a row without an item, which is refused and counted.
    """
    whole = pl.col("item").is_null() & pl.col("order_id").is_in(orders) & _means("-purchase")
    lines = frame.filter(pl.col("item").is_not_null() & pl.col("order_id").is_in(orders) & _means("purchase"))
    refunds = frame.filter(whole).select(LINE, "order_id", "time", "event", refunding="user")
    undone = (
        lines.drop(LINE, "time", "event")
        .join(refunds, on="order_id", how="inner")
        .with_columns(user=pl.coalesce("user", "refunding"))
        .select(LINE, *FIELDS)
    )
    known = lines.select("order_id").unique()
    unmatched = frame.filter(whole).join(known, on="order_id", how="anti")
    return pl.concat([frame.filter(~whole.fill_null(value=False)), undone, unmatched])


def _means(wanted: str) -> pl.Expr:
    return pl.col("event").fill_null("").map_elements(lambda word: meaning(word) == wanted, return_dtype=pl.Boolean)


def records_of(path: Path) -> Iterator[Record]:
    """Yield records of a json, csv or parquet file, with the line (of parquet: the row) at which each begins."""
    with path.open("rb") as stream:
        head = stream.read(1 << 20)
    if head.startswith(b"PAR1"):
        return _parquet(path)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"[")):
        return read_records(path)
    return _csv(path, head)


def _rows(export: Export, paths: Sequence[Path], scratch: Path | None, counts: _ExportCounts) -> Iterator[Row]:
    currency, lines = "", 0
    for path in paths:
        plain, _ = unpack(path, scratch)
        carried: dict[str, Any] = {}
        for line, record in records_of(plain):
            if counts.records == counts.limit:
                counts.cut = True
                return
            counts.records += 1
            if record is None:
                yield [lines + line, *(None for _ in FIELDS)]
                continue
            counts.partly_refunded += export.partly_refunded is not None and export.partly_refunded(record)
            if export.carry:
                record = carried = _carry(record, carried, export.carry)
            try:
                flat = list(export.rows(record))
            except (AttributeError, TypeError, ValueError):  # a value of another shape than the program writes
                flat = [{}]
            for row in flat:
                named = str(row.get("currency") or "") or currency_of(str(row.get("price") or ""))
                if named and currency and named != currency and row.get("price") is not None:
                    raise DataError(
                        f"source={path.name}: line {line}: prices in {currency} and in {named}: one catalogue has one "
                        "currency; export one of them, or convert"
                    )
                currency = currency or (named if row.get("price") is not None else "")
                order = text_of(row.get("order_id")) if row.get("item") is None else None
                if order and meaning(str(row.get("event") or "")) == "-purchase":
                    counts.orders_undone.add(order)
                yield [lines + line, *(text_of(row.get(name)) for name in FIELDS)]
        lines = counts.records


def _carry(record: dict[str, Any], before: dict[str, Any], carry: tuple[str, tuple[str, ...]]) -> dict[str, Any]:
    """Carry what an order's first line says into what its other lines leave empty."""
    key, names = carry
    if not before or record.get(key) != before.get(key):
        return record
    return {**record, **{name: before.get(name) for name in names if not record.get(name)}}


def _parquet(path: Path) -> Iterator[Record]:
    scan = pl.scan_parquet(path)
    for start in itertools.count(0, _SLICE):
        part = scan.slice(start, _SLICE).collect()
        if not len(part):
            return
        yield from enumerate(part.iter_rows(named=True), start=start + 1)


def _csv(path: Path, head: bytes) -> Iterator[Record]:
    separator, _, _ = first_line(
        head.decode("utf-8-sig", "replace").splitlines(keepends=True)[:_HEAD_LINES], SEPARATORS
    )
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.reader(stream, delimiter=separator)
        header, begins = [name.strip() for name in next(reader)], 2
        for fields in reader:
            record = dict(zip(header, map(as_json, fields), strict=False))
            yield begins, record if any(fields) else None
            begins = reader.line_num + 1
