"""Opening a source: a file, several files, a folder or a frame, as one lazy frame of raw columns with row numbers.

Text files stay text here (``007`` is an id, not a number); nothing is checked or dropped yet.
"""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from data.errors import DataError
from data.log_reading.opening.csv_files import first_line, open_csv
from data.log_reading.opening.json_files import open_json
from data.log_reading.opening.json_rows import read_records
from data.log_reading.opening.many_files import joined
from data.log_reading.opening.source import LINE, Source
from data.log_reading.opening.unpacking import unpack

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Table: TypeAlias = "Path | str | Sequence[Path | str] | pl.DataFrame | pl.LazyFrame | pd.DataFrame | pa.Table"

_HEAD_BYTES = 1 << 20
_ADDRESS = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+:/")
_KNOWN_ENDS = (".csv", ".tsv", ".txt", ".dat", ".jsonl", ".ndjson", ".json", ".parquet")
_PACKED_ENDS = ("", ".gz", ".zst", ".bz2", ".zip")


def open_source(
    source: Table,
    *,
    separators: Sequence[str],
    header: Sequence[str] = (),
    known: frozenset[str] = frozenset(),
    events_in: str = "",
    scratch: Path | None = None,
    no_header: bool = False,
) -> Source:
    """Open a source as lazy frames; nothing is read yet but the start of a file.

    separators: the csv's is the one of these that occurs most often in its first line, in doubt the earlier one.
    header: names for a csv whose first line holds a number and none of the `known` names. A field of a jsonl is seen
    if it occurs at the start, or is one of the `known` names wherever it occurs. Text is UTF-8, UTF-16 or Windows-1252.
    events_in: the field of a jsonl whose list has one object an event; each becomes a row beside the line's fields.
    scratch: a folder for what polars cannot read as it is (packed, another encoding, quotes in odd places).
    Raises DataError for a path that is missing, empty, or neither text nor parquet, and for an address.
    """
    frame = _as_frame(source)
    if frame is not None:
        return _numbered(frame, "frame")
    paths = files_of(source)

    def opened(path: Path) -> Source:
        return _open_file(path, separators, header, known, events_in, scratch, no_header)

    return (
        opened(paths[0])
        if len(paths) == 1 and isinstance(source, (str, Path)) and Path(source).is_file()
        else (joined([(path, opened(path)) for path in paths], scratch))
    )


def files_of(source: Table) -> list[Path]:
    """List the files that a path, a list of paths, a glob or a folder names, in order of their names.

    Raises DataError where there is none, for an address, and for what is neither a path nor a frame.
    """
    if isinstance(source, (str, Path)):
        return _files(str(source))
    if (
        isinstance(source, Sequence)
        and not isinstance(source, bytes)
        and all(isinstance(p, (str, Path)) for p in source)
    ):
        if not source:
            raise DataError("source=[]: must name at least one file")
        return [path for part in source for path in _files(str(part))]
    raise DataError(f"source={type(source).__name__}: must be a path or a polars or pandas frame")


def _files(name: str) -> list[Path]:
    if _ADDRESS.match(name):
        raise DataError(f"source={name}: is an address; download it first, no file is fetched from elsewhere")
    path = Path(name)
    if path.is_dir():
        inside = [p for p in sorted(path.rglob("*")) if p.is_file() and _is_table(p) and not _hidden(p, path)]
        if not inside:
            ends = ", ".join(_KNOWN_ENDS)
            raise DataError(f"source={path}: is a folder without a file that ends in one of {ends}")
        return inside
    if not path.exists() and set(name) & set("*?["):
        if not (files := sorted(Path(p) for p in glob.glob(name, recursive=True) if Path(p).is_file())):
            raise DataError(f"source={name}: no file has such a name")
        return files
    if not path.exists():
        raise DataError(f"source={path}: no such file")
    return [path]


def _is_table(path: Path) -> bool:
    return any(path.name.lower().endswith(end + packed) for end in _KNOWN_ENDS for packed in _PACKED_ENDS)


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def unreadable(source: Source, error: Exception) -> DataError:
    """Say what the user should know when polars gives up on a source."""
    return DataError(f"source={source.name}: not readable: {str(error).strip().splitlines()[0]}")


def peek(source: Table, separators: Sequence[str]) -> tuple[str, tuple[str, ...], dict[str, Any] | None]:
    """Peek at a source: first line, columns, first JSON object.

    The line is of a text file ("" of anything else), the object None if there is none.

    A source that `open_source` would refuse has none, or what it seems to have: nothing is raised here.
    """
    with contextlib.suppress(DataError, pl.exceptions.PolarsError, OSError):
        frame = _as_frame(source)
        if frame is not None:
            return "", tuple(frame.collect_schema().names()), None
        path, _ = unpack(files_of(source)[0], None, limit=_HEAD_BYTES)
        return _peek_file(path, separators)
    return "", (), None


def _peek_file(path: Path, separators: Sequence[str]) -> tuple[str, tuple[str, ...], dict[str, Any] | None]:
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if head.startswith(b"PAR1"):
        return "", tuple(pl.scan_parquet(path).collect_schema().names()), None
    if b"\0" in head:
        return "", (), None
    lines = [line for line in head.decode("utf-8-sig", errors="replace").splitlines(keepends=True) if line.strip()]
    if not lines:
        return "", (), None
    if lines[0].lstrip().startswith(("{", "[")):
        record = next((record for _, record in read_records(path) if record is not None), None)
        return lines[0].rstrip("\r\n"), tuple(record or ()), record
    if lines[0].lower().startswith(("sep=", '"sep=')):
        separators, lines = (lines[0].strip('"\r\n')[-1:],), lines[1:] or lines
    return lines[0].rstrip("\r\n"), tuple(first_line(lines, separators)[1]), None


def _as_frame(source: Table) -> pl.LazyFrame | None:
    """Convert a frame of any library to a lazy one of polars; None for what is no frame."""
    if isinstance(source, pl.LazyFrame):
        return source
    if isinstance(source, pl.DataFrame):
        return source.lazy()
    library = type(source).__module__.split(".")[0]
    try:
        if library == "pandas":
            return pl.from_pandas(source).lazy()  # type: ignore[arg-type]
        if library == "pyarrow":
            return pl.from_arrow(source).lazy()  # type: ignore[union-attr]
    except (ValueError, TypeError, AttributeError) as error:  # pyarrow's complaint about a column of mixed types
        raise DataError(f"source=frame: {str(error).splitlines()[0]}") from None
    return None


def _open_file(
    path: Path,
    separators: Sequence[str],
    header: Sequence[str],
    known: frozenset[str],
    events_in: str,
    scratch: Path | None,
    no_header: bool,
) -> Source:
    name = path.name
    if path.stat().st_size == 0:
        raise DataError(f"source={path}: the file is empty")
    path, notes = unpack(path, scratch)
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head.strip():
        raise DataError(f"source={path}: the file is empty")
    try:
        if head.startswith(b"PAR1"):
            return _with_notes(_numbered(pl.scan_parquet(path), name), notes)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"source={path}: is no usable parquet file ({str(error).splitlines()[0]})") from None
    if b"\0" in head:
        raise DataError(f"source={path}: is neither text nor parquet, must be a csv, parquet or jsonl file")
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"[{", b"[\n", b"[\r", b"[ ")):
        return _with_notes(open_json(path, name, head, known, events_in, scratch), notes)
    return _with_notes(open_csv(path, name, head, separators, header, known, scratch, no_header=no_header), notes)


def _with_notes(source: Source, notes: tuple[str, ...]) -> Source:
    return replace(source, notes=(*notes, *source.notes)) if notes else source


def _numbered(frame: pl.LazyFrame, name: str) -> Source:
    columns = tuple(frame.collect_schema().names())
    numbered = frame.with_row_index(LINE, offset=1)
    return Source(numbered, numbered, columns, name)
