"""Text files with one row a line as lazy frames: separators, headers, encodings, quotes in odd places."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from data.errors import DataError
from data.log_reading.opening.csv_repair import csv_rows, set_down, to_utf_8, windows
from data.log_reading.opening.source import BREAKS, EXTRA_FIELD, LINE, Source

_PIECE = 1 << 18  # a piece stays in the processor's cache while it is looked at
_LINE_END = 10
_HEADER_LINES = 50  # more than a header with line ends in its names takes
_TYPED = r":(token|token_seq|float|float_seq)$"  # header of RecBole's atomic files
_NO_SEPARATOR = "\x1f"
_EXCEL_HINT = re.compile(r"\ufeff?\"?sep=(.)\"?\s*$", re.IGNORECASE)


def _lines(text: Path | io.BytesIO, skip: int) -> pl.LazyFrame:
    return pl.scan_csv(
        text, separator=_NO_SEPARATOR, quote_char=None, has_header=False, skip_rows=skip, encoding="utf8-lossy",
        schema={"line": pl.String}, row_index_name=LINE, row_index_offset=1 + skip,
    )  # fmt: skip


def open_csv(
    path: Path,
    name: str,
    head: bytes,
    separators: Sequence[str],
    header: Sequence[str],
    known: frozenset[str],
    scratch: Path | None,
    *,
    no_header: bool = False,
) -> Source:
    """Open a text file with one row a line.

    no_header: its columns are column_1, column_2, …; else as of `open_source`.
    """
    text: Path | io.BytesIO = path
    shape = _scan(path, name)
    if not shape.unicode:
        text = to_utf_8(path, scratch)
    lines = (head.decode("utf-8-sig", errors="replace") if shape.unicode else windows(head)).splitlines(keepends=True)
    blank = next(number for number, line in enumerate(lines) if line.strip())
    if hint := _EXCEL_HINT.match(lines[blank]):
        separators, blank = (hint[1],), blank + 1
        if not any(line.strip() for line in lines[blank:]):
            raise DataError(f"source={name}: the log is empty, it has no line but {lines[blank - 1].strip()!r}")
    separator, fields, height = first_line(lines[blank:], separators)
    names = list(pl.Series(fields, dtype=pl.String).str.replace(_TYPED, ""))
    has_header = not no_header and (
        not header or any(name in known for name in names) or not any(name[:1].isdigit() for name in names)
    )
    given = () if no_header else header
    columns = names if has_header else [*given, *(f"column_{k}" for k in range(len(given) + 1, len(names) + 1))]
    if len(set(columns)) < len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise DataError(f"source={name}: column {twice!r} occurs twice")
    skip = blank + (height if has_header else 0)
    if len(separator) > 1:
        parts = pl.col("line").str.split_exact(separator, len(columns)).struct.rename_fields([*columns, EXTRA_FIELD])
        frame = _lines(text, skip).select(LINE, parts).unnest("line")
        return Source(frame, frame, tuple(columns), name, notes=shape.notes)
    checked = shape.unicode and not shape.notes  # each byte of it: what is checked once is decoded quicker
    frame = pl.scan_csv(
        text, separator=separator, has_header=False, skip_lines=skip, encoding="utf8" if checked else "utf8-lossy",
        schema=dict.fromkeys([*columns, EXTRA_FIELD], pl.String), missing_columns="insert",
        truncate_ragged_lines=True, row_index_name=LINE, row_index_offset=1 + skip,
    )  # fmt: skip
    # A quoted field may hold line ends: the rows after it are further down in the file than their number says.
    breaks = pl.sum_horizontal(pl.col(columns).str.count_matches("\n", literal=True))
    exact = frame.with_columns(breaks.alias(BREAKS))

    def by_hand() -> Source:
        rows = csv_rows(path, separator, len(columns), skip, unicode=shape.unicode)
        read = set_down(rows, (LINE, *columns, EXTRA_FIELD), scratch)
        return Source(read, read, tuple(columns), name, notes=shape.notes)

    if shape.odd_ends:
        return by_hand()
    expected = None if shape.quoted else shape.lines - skip
    return Source(frame, exact, tuple(columns), name, by_hand, shape.notes, rows=expected)


def first_line(lines: list[str], separators: Sequence[str]) -> tuple[str, list[str], int]:
    """Read a csv's first line: the separator, the fields, and how many lines of the file it takes.

    A quoted name may hold a separator or a line end. In doubt the earlier separator.
    """
    bare = re.sub(r'"(?:[^"]|"")*"', "", "".join(lines[:_HEADER_LINES])).splitlines()
    separator = max(separators, key=bare[0].count if bare else lines[0].count)
    if len(separator) == 1:
        reader = csv.reader(lines[:_HEADER_LINES], delimiter=separator, strict=True)
        try:
            return separator, [field.strip() for field in next(reader)], reader.line_num
        except csv.Error:  # a quote that belongs to a name, as in 5"
            pass
    return separator, [field.strip().strip('"') for field in lines[0].rstrip("\r\n").split(separator)], 1


@dataclass(frozen=True)
class TextShape:
    """The shape of a text file, from one pass over its bytes.

    lines: its lines, a last one without an end too. quoted: it has a quote somewhere, so a row may be several lines.
    odd_ends: some lines end with a carriage return alone, which polars does not take for an end.
    """

    unicode: bool
    notes: tuple[str, ...]
    lines: int
    quoted: bool
    odd_ends: bool


def _scan(path: Path, name: str) -> TextShape:
    """Read every byte of a file once. Raises DataError where one is NUL, which no text has.

    The first umlaut may be a gigabyte down, and a few broken bytes do not make a file of another encoding: what occurs
    more often decides, characters or bytes that are none.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    unicode, lines, quoted, odd, last = True, 0, False, False, b""
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            if b"\0" in piece:
                line = lines + piece.count(b"\n", 0, piece.index(b"\0")) + 1
                raise DataError(f"source={name}: line {line} has a NUL byte: it is no text; save it as UTF-8 csv")
            lines += int(np.count_nonzero(np.frombuffer(piece, np.uint8) == _LINE_END))  # twice as quick as bytes.count
            quoted = quoted or b'"' in piece
            if b"\r" in piece or last.endswith(b"\r"):
                both = last[-1:] + piece
                odd = odd or both.count(b"\r") - both.endswith(b"\r") > both.count(b"\r\n")
            if unicode and (not piece.isascii() or decoder.getstate()[0]):
                try:
                    decoder.decode(piece)
                except UnicodeDecodeError:
                    unicode = False
            last = piece
    with contextlib.suppress(UnicodeDecodeError):
        decoder.decode(b"", final=True)
        if unicode:
            return TextShape(True, (), lines + (not last.endswith(b"\n")), quoted, odd)
    characters = broken = 0
    for chunk in _text(path, "replace"):
        broken += chunk.count("\ufffd")
        characters += len(chunk) - len(chunk.encode("ascii", "ignore"))
    unicode = characters > 2 * broken
    told = (
        f"text: {broken} places are not UTF-8, they are read as \ufffd"
        if unicode
        else "text: is not UTF-8, it is read as Windows-1252"
    )
    return TextShape(unicode, (told,), lines + (not last.endswith(b"\n")), quoted, odd)


def _text(path: Path, errors: str) -> Iterator[str]:
    """Yield the text of a UTF-8 file in pieces, those left out that are plain ASCII."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    with path.open("rb") as stream:
        while chunk := stream.read(_PIECE):
            if not chunk.isascii() or decoder.getstate()[0]:
                yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)
