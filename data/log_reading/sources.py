"""Opening a source: a csv, parquet or jsonl file or a frame, as one lazy frame of raw columns with row numbers.

Text files stay text here (``007`` is an id, not a number); nothing is checked or dropped yet.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import polars as pl

from data.errors import DataError
from data.log_reading.csv_repair import csv_rows, nested_rows, set_down, to_utf_8, windows

if TYPE_CHECKING:
    import pandas as pd

Table: TypeAlias = "Path | str | pl.DataFrame | pl.LazyFrame | pd.DataFrame"

LINE = "\x01line"  # no column of a source is called that
EXTRA_FIELD = "\x01more"  # filled where a csv line has more fields than the header
BREAKS = "\x01breaks"  # line ends within the fields of a csv row
_HEAD_BYTES = 1 << 20
_HEAD_LINES = 1_000
_HEADER_LINES = 50  # more than a header with line ends in its names takes
_TYPED = r":(token|token_seq|float|float_seq)$"  # header of RecBole's atomic files
_NO_SEPARATOR = "\x1f"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Source:
    """Raw columns of a source as lazy frames, with LINE and, of a csv, EXTRA_FIELD.

    frame: quick to read; its LINE only orders the rows. exact: slower; its LINE is the line of the file, from 1, when
    the BREAKS of all rows before are added, if it has that column.
    patient: the same source for when polars gives up on a line of it: slow, and a line that cannot be read is a row of
    nulls; None where there is no such way. notes: what the user should know about how it is read.
    """

    frame: pl.LazyFrame
    exact: pl.LazyFrame
    columns: tuple[str, ...]
    name: str
    patient: Callable[[], Source] | None = None
    notes: tuple[str, ...] = ()


def open_source(
    source: Table,
    *,
    separators: Sequence[str],
    header: Sequence[str] = (),
    known: frozenset[str] = frozenset(),
    events_in: str = "",
    scratch: Path | None = None,
) -> Source:
    """A source as lazy frames; nothing is read yet but the start of a file.

    separators: the csv's is the one of these that occurs most often in its first line, in doubt the earlier one.
    header: names for a csv whose first line holds a number and none of the `known` names. A field of a jsonl is seen
    if it occurs at the start, or is one of the `known` names wherever it occurs. Text is UTF-8 or Windows-1252.
    events_in: the field of a jsonl whose list has one object an event; each becomes a row beside the line's fields.
    scratch: a folder for what polars cannot read as it is (another encoding, quotes in odd places); None: in memory.
    Raises DataError for a path that is missing, a folder, empty, or neither text nor parquet.
    """
    if isinstance(source, (str, Path)):
        return _open_file(Path(source), separators, header, known, events_in, scratch)
    if isinstance(source, pl.LazyFrame):
        return _numbered(source, "frame")
    if isinstance(source, pl.DataFrame):
        return _numbered(source.lazy(), "frame")
    if type(source).__module__.split(".")[0] == "pandas":
        try:
            return _numbered(pl.from_pandas(source).lazy(), "frame")
        except (ValueError, TypeError) as error:  # pyarrow's complaint about a column of mixed types
            raise DataError(f"source=frame: {str(error).splitlines()[0]}") from None
    raise DataError(f"source={type(source).__name__}: must be a path or a polars or pandas frame")


def unreadable(source: Source, error: Exception) -> DataError:
    """What to tell the user when polars gives up on a source."""
    return DataError(f"source={source.name}: not readable: {str(error).strip().splitlines()[0]}")


def peek(source: Table, separators: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The first line of a text file ("" of anything else) and the columns of a source, from its first megabyte.

    A source that `open_source` would refuse has neither, or what it seems to have: nothing is raised here.
    """
    if isinstance(source, pl.LazyFrame):
        return "", tuple(source.collect_schema().names())
    if not isinstance(source, (str, Path)):
        return "", tuple(str(name) for name in getattr(source, "columns", ()))
    path = Path(source)
    if not path.is_file():
        return "", ()
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if head.startswith(b"PAR1"):
        with contextlib.suppress(pl.exceptions.PolarsError, OSError):
            return "", tuple(pl.scan_parquet(path).collect_schema().names())
    if b"\0" in head:
        return "", ()
    lines = [line for line in head.decode("utf-8-sig", errors="replace").splitlines(keepends=True) if line.strip()]
    if not lines or not lines[0].lstrip().startswith("{"):
        return ("", ()) if not lines else (lines[0].rstrip("\r\n"), tuple(_first_line(lines, separators)[1]))
    with contextlib.suppress(ValueError):
        return lines[0].rstrip("\r\n"), tuple(json.loads(lines[0]))
    return lines[0], ()


def _open_file(
    path: Path,
    separators: Sequence[str],
    header: Sequence[str],
    known: frozenset[str],
    events_in: str,
    scratch: Path | None,
) -> Source:
    if not path.exists():
        raise DataError(f"source={path}: no such file")
    if not path.is_file():
        raise DataError(f"source={path}: is a folder, must be a csv, parquet or jsonl file")
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head.strip():
        raise DataError(f"source={path}: the file is empty")
    try:
        if head.startswith(b"PAR1"):
            return _numbered(pl.scan_parquet(path), path.name)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"source={path}: is no usable parquet file ({str(error).splitlines()[0]})") from None
    if head.startswith((b"PK\3\4", b"\x1f\x8b")):
        raise DataError(f"source={path}: is a spreadsheet or compressed, save or unpack it as csv first")
    if head.startswith(_UTF_16):
        raise DataError(f"source={path}: is UTF-16 text, save it as UTF-8 first")
    if b"\0" in head:
        raise DataError(f"source={path}: is neither text nor parquet, must be a csv, parquet or jsonl file")
    if head.lstrip().startswith(b"{"):
        return _open_nested(path, head, events_in, scratch) if events_in else _open_jsonl(path, head, known)
    return _open_csv(path, head, separators, header, known, scratch)


def _numbered(frame: pl.LazyFrame, name: str) -> Source:
    columns = tuple(frame.collect_schema().names())
    numbered = frame.with_row_index(LINE, offset=1)
    return Source(numbered, numbered, columns, name)


def _lines(text: Path | io.BytesIO, skip: int) -> pl.LazyFrame:
    return pl.scan_csv(
        text, separator=_NO_SEPARATOR, quote_char=None, has_header=False, skip_rows=skip, encoding="utf8-lossy",
        schema={"line": pl.String}, row_index_name=LINE, row_index_offset=1 + skip,
    )  # fmt: skip


def _open_jsonl(path: Path, head: bytes, known: frozenset[str]) -> Source:
    columns: dict[str, None] = {}
    for line in head.splitlines()[:_HEAD_LINES]:
        try:
            columns |= dict.fromkeys(json.loads(line))
        except (ValueError, TypeError):  # counted as a bad row when it is its turn
            continue
    if not columns:
        raise DataError(f"source={path}: no line of its start is a JSON object")
    columns |= dict.fromkeys(_late_fields(path, known.difference(columns)))
    schema = dict.fromkeys(columns, pl.String)
    frame = pl.scan_ndjson(path, schema=schema, row_index_name=LINE)
    fields = [pl.col("line").str.json_path_match(f"$[{json.dumps(name)}]").alias(name) for name in columns]
    exact = _lines(path, 0).select(LINE, *fields)
    return Source(frame, exact, tuple(columns), path.name, lambda: Source(exact, exact, tuple(columns), path.name))


def _open_nested(path: Path, head: bytes, events_in: str, scratch: Path | None) -> Source:
    """A jsonl with one session a line: one row an event, the line's other fields beside it."""
    outer: dict[str, None] = {}
    inner: dict[str, None] = {}
    for line in head.splitlines()[:_HEAD_LINES]:
        try:
            told = json.loads(line)
            events = told.pop(events_in)
            outer |= dict.fromkeys(told)
            inner |= dict.fromkeys(name for event in events for name in event)
        except (ValueError, TypeError, AttributeError, KeyError):  # counted as a bad row when it is its turn
            continue
    if not inner:
        raise DataError(f"source={path}: no line of its start has a list of objects in {events_in!r}")
    columns = (*outer, *(name for name in inner if name not in outer))
    fields = pl.List(pl.Struct(dict.fromkeys(columns[len(outer) :], pl.String)))
    schema: dict[str, pl.DataType] = {**{name: pl.String() for name in outer}, events_in: fields}
    lines = pl.scan_ndjson(path, schema=schema, row_index_name=LINE, row_index_offset=1)
    frame = lines.explode(events_in).unnest(events_in).select(LINE, *columns)

    def by_hand() -> Source:
        rows = set_down(nested_rows(path, columns, events_in), (LINE, *columns), scratch)
        return Source(rows, rows, columns, path.name)

    return Source(frame, frame, columns, path.name, by_hand)


def _late_fields(path: Path, wanted: frozenset[str]) -> list[str]:
    """Those of some fields that any line of a jsonl has: a refund may be the first to need one."""
    if not wanted:
        return []
    names = b"|".join(re.escape(json.dumps(name).encode()) for name in sorted(wanted, key=len, reverse=True))
    found: set[str] = set()
    with path.open("rb") as stream:
        while lines := stream.read(_HEAD_BYTES) + stream.readline():
            found |= {json.loads(one[1]) for one in re.finditer(rb"[{,]\s*(" + names + rb")\s*:", lines)}
    return sorted(found)


def _open_csv(
    path: Path,
    head: bytes,
    separators: Sequence[str],
    header: Sequence[str],
    known: frozenset[str],
    scratch: Path | None,
) -> Source:
    text: Path | io.BytesIO = path
    unicode, notes = _is_unicode(path)
    if not unicode:
        text = to_utf_8(path, scratch)
    lines = (head.decode("utf-8-sig", errors="replace") if unicode else windows(head)).splitlines(keepends=True)
    blank = next(number for number, line in enumerate(lines) if line.strip())
    separator, fields, height = _first_line(lines[blank:], separators)
    names = list(pl.Series(fields, dtype=pl.String).str.replace(_TYPED, ""))
    has_header = not header or any(name in known for name in names) or not any(name[:1].isdigit() for name in names)
    columns = names if has_header else [*header, *(f"column_{k}" for k in range(len(header) + 1, len(names) + 1))]
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise DataError(f"source={path}: column {twice!r} occurs twice")
    skip = blank + (height if has_header else 0)
    if len(separator) > 1:
        parts = pl.col("line").str.split_exact(separator, len(columns)).struct.rename_fields([*columns, EXTRA_FIELD])
        frame = _lines(text, skip).select(LINE, parts).unnest("line")
        return Source(frame, frame, tuple(columns), path.name, notes=notes)
    checked = unicode and not notes  # each byte of it: what is checked once is decoded quicker
    frame = pl.scan_csv(
        text, separator=separator, has_header=False, skip_lines=skip, encoding="utf8" if checked else "utf8-lossy",
        schema=dict.fromkeys([*columns, EXTRA_FIELD], pl.String), missing_columns="insert",
        truncate_ragged_lines=True, row_index_name=LINE, row_index_offset=1 + skip,
    )  # fmt: skip
    # A quoted field may hold line ends: the rows after it are further down in the file than their number says.
    breaks = pl.sum_horizontal(pl.col(columns).str.count_matches("\n", literal=True))
    exact = frame.with_columns(breaks.alias(BREAKS))

    def by_hand() -> Source:
        rows = csv_rows(path, separator, len(columns), skip, unicode=unicode)
        read = set_down(rows, (LINE, *columns, EXTRA_FIELD), scratch)
        return Source(read, read, tuple(columns), path.name, notes=notes)

    return Source(frame, exact, tuple(columns), path.name, by_hand, notes)


def _first_line(lines: list[str], separators: Sequence[str]) -> tuple[str, list[str], int]:
    """The separator, the fields of a csv's first line, and how many lines of the file it takes.

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


def _is_unicode(path: Path) -> tuple[bool, tuple[str, ...]]:
    """Whether a whole text file is UTF-8, and a note unless it is so to the last byte.

    The first umlaut may be a gigabyte down, and a few broken bytes do not make a file of another encoding: what occurs
    more often decides, characters or bytes that are none.
    """
    try:
        for chunk in _text(path, "strict"):
            del chunk
        return True, ()
    except UnicodeDecodeError:
        pass
    characters = broken = 0
    for chunk in _text(path, "replace"):
        broken += chunk.count("\ufffd")
        characters += len(chunk) - len(chunk.encode("ascii", "ignore"))
    if characters > 2 * broken:
        return True, (f"text: {broken} places are not UTF-8, they are read as \ufffd",)
    return False, ("text: is not UTF-8, it is read as Windows-1252",)


def _text(path: Path, errors: str) -> Iterator[str]:
    """The text of a UTF-8 file in pieces, those left out that are plain ASCII."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    with path.open("rb") as stream:
        while chunk := stream.read(_HEAD_BYTES):
            if not chunk.isascii() or decoder.getstate()[0]:
                yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)
