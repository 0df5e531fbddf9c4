"""Several files of one log, one after the other; lines are counted through all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from data.errors import DataError
from data.log_reading.opening.source import BREAKS, LINE, Source

_PIECE = 1 << 20
_HIVE = re.compile(r"^([^=]+)=(.*)$")
_NAMED = 5


def joined(files: Sequence[tuple[Path, Source]], scratch: Path | None) -> Source:
    """Join several opened files into one source.

    A folder ``day=2024-01-01`` on the way to a file is a column of its rows.

    Columns are those of all files; where one lacks a column it is null. Raises DataError when one file is text and
    another parquet.
    """
    names = list(dict.fromkeys(column for path, source in files for column in (*source.columns, *_hive(path))))
    begins = _begins(files)
    frames = [_placed(path, source, names, first) for (path, source), first in zip(files, begins, strict=True)]
    try:
        frame = pl.concat([part for part, _ in frames], how="diagonal_relaxed")
        exact = pl.concat([part for _, part in frames], how="diagonal_relaxed")
        frame.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"source={files[0][0].parent}: its files do not fit together: {error}") from None
    whole = sum(source.rows or 0 for _, source in files)
    patient = None
    if any(source.patient for _, source in files):

        def patient() -> Source:
            return joined([(path, source.patient() if source.patient else source) for path, source in files], scratch)

    starts = [f"{path.name} from line {first + 1}" for (path, _), first in zip(files, begins, strict=True)]
    told = ", ".join(starts[:_NAMED])
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    notes = (f"files: {len(files)}, lines are counted through them: {told}{more}",) if len(files) > 1 else ()
    return replace(
        files[0][1],
        frame=frame,
        exact=exact,
        columns=tuple(names),
        name=files[0][0].name if len(files) == 1 else f"{files[0][0].name} … {files[-1][0].name}",
        patient=patient,
        notes=(*notes, *dict.fromkeys(note for _, source in files for note in source.notes)),
        rows=whole if all(source.rows is not None for _, source in files) else None,
    )


def _placed(path: Path, source: Source, names: Sequence[str], first: int) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Frame a file quickly and exactly, lines counted from `first`, with the columns of its folders."""
    hive = {name: pl.lit(value) for name, value in _hive(path).items() if name not in source.columns}
    breaks = [pl.lit(0, dtype=pl.UInt32).alias(BREAKS)] if BREAKS not in source.exact.collect_schema() else []
    line = pl.col(LINE).cast(pl.Int64) + first
    return source.frame.with_columns(line, **hive), source.exact.with_columns(line, *breaks, **hive)


def _hive(path: Path) -> dict[str, str]:
    return {match[1]: match[2] for part in path.parent.parts if (match := _HIVE.match(part))}


def _begins(files: Sequence[tuple[Path, Source]]) -> list[int]:
    """Count the lines (of parquet: rows) before each file."""
    begins, total = [], 0
    for path, source in files:
        begins.append(total)
        if source.rows is not None:
            total = total + source.rows + 1
            continue
        with path.open("rb") as stream:
            parquet = stream.read(4) == b"PAR1"
        if parquet:
            total += int(source.frame.select(pl.len()).collect().item())
        else:
            with path.open("rb") as stream:
                total += sum(piece.count(b"\n") for piece in iter(lambda: stream.read(_PIECE), b"")) + 1
    return begins
