"""Reading by hand what polars cannot read as it is: odd quotes, broken lines, Windows text. Slow, a line at a time."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl

from data.errors import DataError

_CHUNK_BYTES = 1 << 20
_CHUNK_ROWS = 100_000
_END = "\x1e"
# What Windows writes where Latin-1 has control codes: dashes, quotes, the euro.
_WINDOWS = {code: char for code in range(0x80, 0xA0) if (char := bytes([code]).decode("cp1252", "ignore"))}

Row = list[str | int | None]


def set_down(rows: Iterable[Row], columns: Sequence[str], scratch: Path | None) -> pl.LazyFrame:
    """Set rows of numbers of a line, then texts, down as a frame: in memory, or in files in the folder `scratch`."""
    schema = {columns[0]: pl.UInt32, **dict.fromkeys(columns[1:], pl.String)}
    if scratch is None:
        return pl.DataFrame(list(rows), schema=schema, orient="row").lazy()
    left = iter(rows)
    paths: list[Path] = []
    while part := list(itertools.islice(left, _CHUNK_ROWS)):
        paths.append(scratch / f"by-hand-{len(paths):09}.parquet")
        pl.DataFrame(part, schema=schema, orient="row").write_parquet(paths[-1], compression="lz4")
    return pl.scan_parquet(paths) if paths else pl.LazyFrame(schema=schema)


def csv_rows(path: Path, separator: str, width: int, skip: int, *, unicode: bool) -> Iterator[Row]:
    """Read a csv with quotes in odd places by the standard library.

    Yields line, `width` fields and what is beyond them.

    unicode: else it is Windows-1252. Raises DataError for a quote that never closes.
    """
    last, ended, begins = 1, False, 1
    with path.open(encoding="utf-8-sig" if unicode else "latin-1", errors="replace", newline="") as stream:
        lines = stream if unicode else (line.translate(_WINDOWS) for line in stream)
        reader = csv.reader(itertools.chain(lines, [_END]), delimiter=separator)
        try:
            for fields in reader:
                last, begins, ended = begins, reader.line_num + 1, fields == [_END]
                if last > skip and not ended:
                    padded = [field or None for field in fields[:width]] + [None] * (width - len(fields))
                    yield [last, *padded, separator.join(fields[width:]) if len(fields) > width else None]
        except csv.Error:  # a field of more than 128 kB
            last, ended = begins, False
    if not ended:
        raise DataError(f"source={path.name}: line {last}: a quote is opened and never closed")


def to_utf_8(path: Path, scratch: Path | None) -> Path | io.BytesIO:
    """Convert a Windows-1252 file to UTF-8: in memory, or as a file in the folder `scratch`."""
    if scratch is None:
        return io.BytesIO(windows(path.read_bytes()).encode())
    made = scratch / "utf-8.txt"
    with path.open("rb") as source, made.open("wb") as target:
        while chunk := source.read(_CHUNK_BYTES):
            target.write(windows(chunk).encode())
    return made


def windows(raw: bytes) -> str:
    """Decode Windows-1252, whose few undefined bytes are those of Latin-1."""
    return raw.decode("latin-1").translate(_WINDOWS)
