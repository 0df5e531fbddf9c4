"""Source: the raw columns of a file or a frame, with the number of each row's line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

LINE = "\x01line"  # no column of a source is called that
EXTRA_FIELD = "\x01more"  # filled where a csv line has more fields than the header
BREAKS = "\x01breaks"  # line ends within the fields of a csv row


@dataclass(frozen=True)
class Source:
    """Raw columns of a source as lazy frames, with LINE and, of a csv, EXTRA_FIELD.

    frame: quick to read; its LINE only orders the rows. exact: slower; its LINE is the line of the file, from 1, when
    the BREAKS of all rows before are added, if it has that column.
    patient: the same source for when polars gives up on a line of it: slow, and a line that cannot be read is a row of
    nulls; None where there is no such way. notes: what the user should know about how it is read. nested: a value may
    be a list or an object, written as JSON. rows: how many rows it has, counted otherwise than by reading it; None
    where that is not known.
    """

    frame: pl.LazyFrame
    exact: pl.LazyFrame
    columns: tuple[str, ...]
    name: str
    patient: Callable[[], Source] | None = None
    notes: tuple[str, ...] = ()
    nested: bool = False
    rows: int | None = None
