"""Exports of other programs as a source: their records flattened to rows, a hundred thousand rows at a time."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
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
from data.values.numbers import currency_of

_SLICE = 50_000
_HEAD_LINES = 50
SEPARATORS = (",", ";", "\t", "|")


def open_export(export: Export, paths: Sequence[Path], scratch: Path | None) -> Source:
    """Open the flat rows of an export's files as a source with the columns FIELDS; each is read once.

    Raises DataError when prices are in more than one currency.
    """
    folder = scratch or scratch_folder()
    counted = [0]
    rows = _rows(export, paths, scratch, counted)
    frame = set_down(rows, (LINE, *FIELDS), folder)
    name = paths[0].name if len(paths) == 1 else f"{paths[0].name} … {paths[-1].name}"
    notes = (f"export: {export.name}, {counted[0]} records as rows",)
    return Source(frame, frame, FIELDS, name, notes=notes)


def records_of(path: Path) -> Iterator[Record]:
    """Yield records of a json, csv or parquet file, with the line (of parquet: the row) at which each begins."""
    with path.open("rb") as stream:
        head = stream.read(1 << 20)
    if head.startswith(b"PAR1"):
        return _parquet(path)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"[")):
        return read_records(path)
    return _csv(path, head)


def _rows(export: Export, paths: Sequence[Path], scratch: Path | None, counted: list[int]) -> Iterator[Row]:
    currency, lines = "", 0
    for path in paths:
        plain, _ = unpack(path, scratch)
        carried: dict[str, Any] = {}
        for line, record in records_of(plain):
            counted[0] += 1
            if record is None:
                yield [lines + line, *(None for _ in FIELDS)]
                continue
            if export.carry:
                record = carried = _carry(record, carried, export.carry)
            try:
                flat = list(export.rows(record))
            except (AttributeError, TypeError, ValueError):  # a value of another shape than the program writes
                flat = [{}]
            for row in flat:
                told = str(row.get("currency") or "") or currency_of(str(row.get("price") or ""))
                if told and currency and told != currency and row.get("price") is not None:
                    raise DataError(
                        f"source={path.name}: line {line}: prices in {currency} and in {told}: one catalogue has one "
                        "currency; export one of them, or convert"
                    )
                currency = currency or (told if row.get("price") is not None else "")
                yield [lines + line, *(text_of(row.get(name)) for name in FIELDS)]
        lines = counted[0]


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
