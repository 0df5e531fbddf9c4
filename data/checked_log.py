"""CheckedLog: one log as it was read: events, catalogue, the two vocabularies, what was refused, and its folder.

On disk it is a folder, written whole or not at all: events.parquet, catalogue.parquet, items.parquet,
users.parquet, rejects.jsonl and a manifest.json with the hash of each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl

from data.atomic import atomic_folder, check_replaceable, file_hash
from data.errors import DataError
from data.interactions import EventKind, Interactions
from data.vocabulary import Vocabulary

FORMAT = 1
RESERVED = frozenset(
    ["user_id", "item_id", "kind", "time", "price", "quantity", "session_id", "user_idx", "item_idx", "undone_time"]
)  # an extra column of such a name is kept as source_NAME
REJECTS = pl.Schema({"line": pl.Int64(), "reason": pl.String(), "value": pl.String()})
_KINDS = pl.Enum([kind.name.lower() for kind in EventKind])
_SLICE = 1 << 20
_FILES = ("events.parquet", "catalogue.parquet", "items.parquet", "users.parquet", "rejects.jsonl")
WRITTEN = (*_FILES, "manifest.json")


@dataclass(frozen=True, eq=False)
class CheckedLog:
    """A log, read and checked; `data.dataset.Dataset` adds the ways to open one.

    log: one row an event, sorted by user_idx, time, order of the log: user_idx Int32, item_idx Int32,
        kind UInt8 (EventKind), time Datetime("us", "UTC"), price Float64?, quantity Float32?, session_id?,
        the log's extra columns, undone_time Datetime? (when a cancellation undid the event).
    catalogue: row i is item_idx i: item_id, title?, category?, price? (median of the log unless an items file
        says otherwise), available, and the log's item attributes.
    summary: counts of what was read, refused and why; `rejects`: line, reason, value of each refused row.
    """

    name: str
    log: pl.DataFrame
    catalogue: pl.DataFrame
    items: Vocabulary
    users: Vocabulary
    summary: dict[str, Any]
    rejects: pl.DataFrame

    @cached_property
    def events(self) -> pl.DataFrame:
        """The canonical events: user_id, item_id, kind in words, time, price, quantity, session_id, extras, indices."""
        return name_events(self.log, self.items, self.users)

    def interactions(self) -> Interactions:
        """Make every event sorted columns; arrays share memory with the log where they can."""
        log = self.log
        counts = np.bincount(log["user_idx"].to_numpy(), minlength=len(self.users))
        undone = log["undone_time"].to_physical()
        rows = undone.is_not_null().arg_true()
        return Interactions(
            offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
            item_idx=log["item_idx"].to_numpy(),
            kind=log["kind"].to_numpy(),
            time=log["time"].to_physical().to_numpy(),
            quantity=log["quantity"].fill_null(1.0).to_numpy(),
            n_items=len(self.items),
            undone_row=rows.cast(pl.Int64).to_numpy(),
            undone_time=undone.gather(rows).to_numpy(),
        )

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of the content: events, catalogue and vocabularies; not of its name or its summary."""
        return content_hash(self.items, self.users, self.log, self.catalogue)

    def save(self, folder: Path | str) -> Self:
        """Write the folder, whole or not at all; a dataset already there is replaced. Returns it under its new name.

        Raises DataError when something else is there.
        """
        target = Path(folder)
        check_replaceable(target, WRITTEN)
        with atomic_folder(target, overwrite=True) as fresh:
            stored(self.events).write_parquet(fresh / "events.parquet")
            self.rejects.write_ndjson(fresh / "rejects.jsonl")
            write_rest(fresh, self.items, self.users, self.catalogue, self.summary, self.hash)
        return replace(self, name=target.name)


def name_events(log: pl.DataFrame, items: Vocabulary, users: Vocabulary) -> pl.DataFrame:
    """Make Dataset.events of a log, or of a part of one."""
    kinds = pl.Series([kind.name.lower() for kind in EventKind], dtype=pl.String)
    named = log.with_columns(
        user_id=users.ids.gather(log["user_idx"]),
        item_id=items.ids.gather(log["item_idx"]),
        kind=kinds.gather(log["kind"]),
        session_id=pl.col("session_id").cast(pl.String),
    )
    coded = [name for name, dtype in named.schema.items() if isinstance(dtype, pl.Categorical)]
    named = named.with_columns(pl.col(coded).cast(pl.String))
    first = ["user_id", "item_id", "kind", "time", "price", "quantity", "session_id"]
    return named.select(*first, pl.exclude(first))


def stored(events: pl.DataFrame) -> pl.DataFrame:
    """Make events as events.parquet holds them."""
    return events.with_columns(pl.col("kind").cast(_KINDS))


def write_rest(
    folder: Path, items: Vocabulary, users: Vocabulary, catalogue: pl.DataFrame, summary: dict[str, Any], content: str
) -> None:
    """Complete a dataset folder that has events.parquet and rejects.jsonl. content: Dataset.hash."""
    catalogue.write_parquet(folder / "catalogue.parquet")
    items.ids.to_frame().write_parquet(folder / "items.parquet")
    users.ids.to_frame().write_parquet(folder / "users.parquet")
    manifest = {
        "format": FORMAT,
        "hash": content,
        "files": {file: file_hash(folder / file) for file in _FILES},
        "summary": summary,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class DatasetAxes:
    """What a dataset numbers and describes, without its events: enough to grow it by a newer log."""

    items: Vocabulary
    users: Vocabulary
    catalogue: pl.DataFrame


def load_known(folder: Path) -> DatasetAxes:
    """Read what a saved dataset knows; its events are neither read nor checked."""
    _manifest(folder, ("catalogue.parquet", "items.parquet", "users.parquet"))
    return _known(folder)


def _known(folder: Path) -> DatasetAxes:
    return DatasetAxes(
        items=Vocabulary(pl.read_parquet(folder / "items.parquet")["id"]),
        users=Vocabulary(pl.read_parquet(folder / "users.parquet")["id"]),
        catalogue=pl.read_parquet(folder / "catalogue.parquet"),
    )


def load(folder: Path) -> CheckedLog:
    """Read a saved folder. Raises DataError when it is missing, is no dataset, or was changed after it was written."""
    manifest = _manifest(folder, _FILES)
    known, rejects = _known(folder), folder / "rejects.jsonl"
    return CheckedLog(
        name=folder.name,
        log=scan_log(folder / "events.parquet").collect(),
        catalogue=known.catalogue,
        items=known.items,
        users=known.users,
        summary=manifest["summary"],
        rejects=pl.read_ndjson(rejects, schema=REJECTS) if rejects.stat().st_size else pl.DataFrame(schema=REJECTS),
    )


def _manifest(folder: Path, checked: Sequence[str]) -> dict[str, Any]:
    """Read the manifest of a dataset folder, of whose files these are as it says."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files, version = manifest["files"], manifest["format"]
    except FileNotFoundError:
        raise DataError(f"dataset={folder}: no manifest.json there; make one with `ownshelf ingest`") from None
    except NotADirectoryError:
        raise DataError(f"dataset={folder}: is a file, must be a folder; make one with `ownshelf ingest`") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"dataset={folder}: manifest.json is not readable ({error})") from None
    if version != FORMAT:
        raise DataError(f"dataset={folder}: format={version}: this version reads {FORMAT}; ingest the log again")
    for file in checked:
        if not (folder / file).is_file():
            raise DataError(f"dataset={folder}: {file} is missing")
        if file_hash(folder / file) != files.get(file):
            raise DataError(f"dataset={folder}: {file} was changed after it was written (its hash differs)")
    return manifest


def scan_log(path: Path) -> pl.LazyFrame:
    """Scan Dataset.log of an events.parquet, to be read a piece at a time."""
    kinds = {kind.name.lower(): int(kind) for kind in EventKind}
    log = pl.scan_parquet(path).drop("user_id", "item_id")
    log = log.with_columns(pl.col("kind").cast(pl.String).replace_strict(kinds, return_dtype=pl.UInt8))
    return log.select("user_idx", "item_idx", pl.exclude("user_idx", "item_idx"))


def content_hash(
    items: Vocabulary, users: Vocabulary, log: pl.DataFrame | pl.LazyFrame, catalogue: pl.DataFrame
) -> str:
    """Compute Dataset.hash.

    A log that is a LazyFrame is never in memory, but a column of about a million events of it.
    """
    digest = hashlib.sha256(f"{items.hash}{users.hash}".encode())
    for table in (log, catalogue.drop("item_id")):
        lazy = table.lazy()
        height = table.height if isinstance(table, pl.DataFrame) else lazy.select(pl.len()).collect().item()
        for name in lazy.collect_schema().names():
            digest.update(f"{name}:{height};".encode())
            for start in range(0, height, _SLICE):
                part = lazy.slice(start, _SLICE).select(name).collect().to_series()
                for content in _contents(part):
                    digest.update(content)
    return digest.hexdigest()


def _contents(part: pl.Series) -> Iterator[bytes]:
    """Yield bytes that depend on the values and nulls of a piece of a column only, whatever its encoding."""
    if isinstance(part.dtype, (pl.Categorical, pl.Enum)):
        part = part.cast(pl.String)
    yield np.packbits(part.is_null().to_numpy()).tobytes()
    if part.dtype == pl.String:
        text = part.fill_null("")
        yield text.str.len_bytes().to_numpy().astype("<u4").tobytes()
        yield text.str.join("").item().encode()
        return
    values = part.to_physical()
    values = values.cast(pl.Int8) if values.dtype == pl.Boolean else values
    if not values.dtype.is_numeric():
        yield repr(values.to_list()).encode()
    else:
        yield np.ascontiguousarray(values.fill_null(0).to_numpy()).tobytes()
