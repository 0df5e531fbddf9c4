"""Rows of a log on disk, cut into ranges of users or items of about as many rows each; no row is changed or dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from data.log_reading.numbering import Index


@dataclass(frozen=True)
class Ranges:
    """starts: (n + 1,) of n ranges of indices, the last one ends before starts[n]."""

    starts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def bounds(self, number: int) -> tuple[int, int]:
        """Return the first index of a range, and the one after its last."""
        return int(self.starts[number]), int(self.starts[number + 1])

    def of(self, index: Index) -> npt.NDArray[np.uint16]:
        """Find the range of each index."""
        return np.searchsorted(self.starts[1:-1], index, side="right").astype(np.uint16)  # sorted in one pass


def cut(rows: npt.NDArray[np.int64], parts: int) -> Ranges:
    """Cut ranges of about as many rows. rows: (n,) of each index. One index is never cut, so a range may be empty."""
    ends = np.cumsum(rows)
    total = int(ends[-1]) if len(ends) else 0
    inner = np.searchsorted(ends, total * np.arange(1, parts) / parts, side="right")
    return Ranges(np.concatenate(([0], inner, [len(rows)])).astype(np.int64))


def slices(rows: pl.LazyFrame, size: int) -> Iterator[pl.DataFrame]:
    """Yield the rows of a scanned file, `size` at a time."""
    for start in range(0, int(rows.select(pl.len()).collect().item()), size):
        yield rows.slice(start, size).collect()


def write_pieces(rows: pl.DataFrame, of_row: npt.NDArray[np.uint16], folder: Path, name: str) -> None:
    """Append the rows to their ranges: folder/RANGE/NAME.parquet. Their order is kept; names must come in order."""
    order = np.argsort(of_row, kind="stable")
    sorted_rows = rows[order]
    counts = np.bincount(of_row)
    start = 0
    for number, count in enumerate(counts.tolist()):
        if count:
            (folder / str(number)).mkdir(parents=True, exist_ok=True)
            piece = sorted_rows.slice(start, count)
            piece.write_parquet(folder / str(number) / f"{name}.parquet", compression="lz4", statistics=False)
        start += count


def read_pieces(folder: Path, number: int) -> pl.DataFrame | None:
    """Read the rows of a range in the order in which they were appended; None where there are none."""
    paths = sorted((folder / str(number)).glob("*.parquet"))
    if not paths:
        return None
    read = pl.read_parquet(paths)
    return pl.DataFrame([read.drop_in_place(name).rechunk() for name in read.columns])
