"""Dataset: the door to a log: a saved folder, a bundled sample, a file that a shop exported, or a frame."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from data.checked_log import CheckedLog, DatasetAxes, load, load_known
from data.errors import DataError
from data.samples import sample_file

if TYPE_CHECKING:
    from data.log_reading.opening.sources import Table

_SAMPLE = "sample:"


class Dataset(CheckedLog):
    """A checked log. `Dataset.open` opens a folder, a sample or a log; `read_log` reads a log with all its options."""

    def __new__(cls, *args: Any, **fields_: Any) -> Self:
        """Say what to call when the constructor is given a log instead of a dataset's parts."""
        if len(args) == 1 and not fields_:
            raise DataError(f"Dataset({type(args[0]).__name__}): call Dataset.open(log) or read_log(log, mapping=…)")
        return super().__new__(cls)

    @classmethod
    def open(cls, source: Table, **options: Any) -> Dataset:
        """Open a saved folder, a bundled log (sample:online-retail, sample:eshop-2008), or read a log.

        source: a folder made by `ownshelf ingest`; sample:NAME; else a list of files, a glob, a polars or pandas frame,
        a LazyFrame, a pyarrow table. One file is a log only with options, or by `read_log`: it may be given for a
        folder by mistake. options: of `read_log`.
        Raises DataError for a folder that is missing, is no dataset, or was changed after it was written.
        """
        if isinstance(source, (str, Path)):
            if str(source).startswith(_SAMPLE):
                return _open_sample(str(source).removeprefix(_SAMPLE))
            path = Path(source)
            if not options and path.is_file():
                said = f"call read_log({str(source)!r}) to read it as a log with its notes"
                raise DataError(
                    f"dataset={path}: is a file, must be a folder; make one with `ownshelf ingest`, or {said}"
                )
            if not options and (path.is_dir() or not set(str(path)) & set("*?[")):
                return _dataset(load(path))
        return read_log(source, **options)


def read_log(source: Table, **options: Any) -> Dataset:
    """Read a log, check every row, number users and items, and keep what is usable.

    source: a csv, parquet or jsonl file, a list of files, a glob, or a frame. options: of
    `data.log_reading.ingest.ingest`: mapping={"user": "customer", …}, kinds, timezone, items, out, …
    """
    from data.log_reading.ingest import ingest

    return _dataset(ingest(source, **options))


def open_known(source: Path | str) -> DatasetAxes:
    """Open what a dataset numbers and describes, as of Dataset.open; events are neither read nor checked."""
    if str(source).startswith(_SAMPLE):
        dataset = Dataset.open(source)
        return DatasetAxes(dataset.items, dataset.users, dataset.catalogue)
    return load_known(Path(source))


@cache
def _open_sample(name: str) -> Dataset:
    """Open a bundled log by its name; kept in memory for the next call."""
    preset, file = sample_file(name)
    return replace(read_log(file, preset=preset), name=f"{_SAMPLE}{name}")


def _dataset(log: CheckedLog) -> Dataset:
    return Dataset(**{field.name: getattr(log, field.name) for field in fields(log)})
