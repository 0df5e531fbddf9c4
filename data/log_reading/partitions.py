"""Ingest of a log larger than memory: the folder that `ingest` would write, made a range of users at a time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from errno import ENOSPC
from functools import partial, reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from data.atomic import atomic_folder, check_replaceable
from data.checked_log import REJECTS, WRITTEN, content_hash, name_events, scan_log, stored, write_rest
from data.errors import DataError
from data.limits import LARGE_LOG_BYTES, MAX_PARTITIONS, PACKED_GROWS, PARQUET_GROWS, PARTITION_BYTES
from data.log_reading.account import check_account, check_refused
from data.log_reading.canonical import EVENT, ITEM, Plan, canonical
from data.log_reading.catalogue import describe, make_catalogue, told_plainly
from data.log_reading.first_seen import FirstSeen
from data.log_reading.ingest import ingest_whole
from data.log_reading.ingest_summary import Tally, nothing_usable, only_cancellations, reasons, summary, tally
from data.log_reading.items_file import items_table
from data.log_reading.log import make_log
from data.log_reading.log_source import LogOptions, OpenedLog, open_log, read_planned
from data.log_reading.numbering import Index, arrange, in_time_order
from data.log_reading.opening.source import LINE
from data.log_reading.opening.sources import Table, files_of
from data.log_reading.opening.unpacking import is_packed
from data.log_reading.refine import ROUNDS, refine
from data.log_reading.refusals import placed, refusals
from data.log_reading.shoppers import heavy_users, largest_shopper
from data.log_reading.spill import Ranges, cut, read_pieces, slices, write_pieces
from data.vocabulary import Vocabulary

BATCH_ROWS = 1 << 20
_GROUP_ROWS = 1 << 18  # of events.parquet, as polars writes it
_AS_FOUND = LogOptions()
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class IngestedDataset:
    """A dataset folder that was written: hash and summary are those of its Dataset, which is not in memory."""

    path: Path
    hash: str
    summary: dict[str, Any]


def ingest_folder(
    source: Table,
    out: Path | str,
    options: LogOptions = _AS_FOUND,
    *,
    partitions: int | None = None,
    progress: Progress = lambda *_: None,
    batch_rows: int = BATCH_ROWS,
) -> IngestedDataset:
    """Read a log into a dataset folder, the same as `ingest` writes, but for how events.parquet is cut into row groups.

    partitions: None: as many as `partitions_of` says; 1 is `ingest` itself. In memory at a time: 1/partitions of the
    events, `batch_rows` rows, the vocabularies and the catalogue. The events of one user, and the rows of one item,
    are never cut. On disk, in the folder of `out` and only until it is done: about two thirds of the log as text.
    progress: called with what is being done, how much of it is done, and of how much if that is known.

    Raises DataError as `ingest` does.
    """
    target = Path(out)
    check_replaceable(target, WRITTEN)
    partitions = partitions_of(source) if partitions is None else partitions
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise DataError(f"partitions={partitions}: must be 1..{MAX_PARTITIONS}")
    if partitions == 1:
        progress("rows read", 0, None)
        with _room(target, partitions):
            target.parent.mkdir(parents=True, exist_ok=True)
            dataset = ingest_whole(source, options, scratch=target.parent).save(target)
        return IngestedDataset(target, dataset.hash, dataset.summary)
    with _room(target, partitions), atomic_folder(target, overwrite=True) as fresh:
        spill, rejects, events = fresh / "spill", fresh / "rejects.jsonl", fresh / "events.parquet"
        spill.mkdir()
        log = open_log(source, options, spill)
        progress("rows read", 0, None)
        plan, rows = read_planned(log, partial(_spilled, spill, rejects, options=options))
        refused = _refused(rejects)
        rejected = reasons(refused)
        if rows.height == sum(rejected.values()):
            raise nothing_usable(log.source.name, rows.height, rejected, refused)
        check_refused(log, rows.height, rejected)
        known_items, known_users, older = options.known
        users, items = _number(rows, known_users, known_items, partitions, batch_rows, progress)
        _distribute(rows, users, items, batch_rows, progress)
        with told_plainly(log.source.name):
            described = _describe(rows, items, plan, progress)
            known = items_table(log, source, spill)
            catalogue = make_catalogue(described, plan, known, older)
        vocabulary = items.vocabulary.extend(catalogue["item_id"])
        counted, largest = _write_events(events, users, items, log, progress)
        if not counted.events:
            raise only_cancellations(log.source.name, counted.cancellations)
        told = summary(
            log, plan, counted, rejected, refused, catalogue, users.vocabulary,
            rows=rows.height, largest=largest, known=known, ids=items.vocabulary.ids,
        )  # fmt: skip
        check_account(told, refused.select(pl.len()).collect().item(), log.source.rows)
        progress("contents hashed", 0, 1)
        content = content_hash(vocabulary, users.vocabulary, scan_log(events), catalogue)
        write_rest(fresh, vocabulary, users.vocabulary, catalogue, told, content)
        shutil.rmtree(spill)
    return IngestedDataset(target, content, told)


@contextmanager
def _room(target: Path, partitions: int) -> Iterator[None]:
    """Raise a full disk, whoever says so, as a DataError that says which."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, DataError) as error:
        if os.strerror(ENOSPC) not in str(error):
            raise
        more = "; until it is done, a partitioned ingest needs about two thirds of the log as text beside the folder"
        raise DataError(f"out={target}: the disk is full{more if partitions > 1 else ''}") from None


def partitions_of(source: Table) -> int:
    """1 for a frame and for files that are read whole; of larger ones, as many as bound the memory of each."""
    try:
        paths = files_of(source)
    except DataError:  # a frame, or what cannot be opened and is told so when it is
        return 1
    size = sum(_text_bytes(path) for path in paths)
    return 1 if size <= LARGE_LOG_BYTES else min(-(-size // PARTITION_BYTES), MAX_PARTITIONS)


def _text_bytes(path: Path) -> int:
    """About how large a file is as plain text."""
    with path.open("rb") as stream:
        head = stream.read(4)
    grows = PARQUET_GROWS if head == b"PAR1" else PACKED_GROWS if is_packed(head) else 1
    return path.stat().st_size * grows


@dataclass(frozen=True)
class _Rows:
    """folder/rows.parquet holds the canonical rows of a log in its order, user and item as codes of these names."""

    folder: Path
    height: int
    users: pl.Series
    items: pl.Series
    schema: pl.Schema

    @property
    def facts(self) -> list[str]:
        """Columns that say something of an item."""
        return ["price", *(name for name in self.schema if name in ITEM or name.startswith("a."))]

    def batches(self, columns: Sequence[str], size: int) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield the usable ones of `size` rows at a time, after the number of the first."""
        scan = pl.scan_parquet(self.folder / "rows.parquet").select("reason", *columns)
        for number, rows in enumerate(slices(scan, size)):
            yield number * size, rows.filter(pl.col("reason") == 0).drop("reason").rechunk()


@dataclass(frozen=True)
class _Numbering:
    """index: (n codes,) of users or items, −1 where no usable row has it."""

    vocabulary: Vocabulary
    index: Index
    ranges: Ranges
    folder: Path


def _spilled(
    folder: Path, rejects: Path, plan: Plan, *, options: LogOptions, rounds: int = ROUNDS
) -> tuple[Plan, _Rows]:
    """Read the log once, again where it disproves what the sample showed, and once more for what is refused."""
    plan = replace(plan, integer_ids=frozenset())  # codes are dense, whatever the ids are
    frame, row_checks = canonical(plan, exact=False)
    schema = frame.collect_schema()
    coded = pl.col("user", "item").to_physical()
    # With __line, or polars does not notice that it lost a row at a stray quote.
    frame.drop("value").with_columns(coded).sink_parquet(folder / "rows.parquet", compression="lz4")
    # While the frame lives: only its expressions keep the categories.
    names = {role: schema[role].categories.to_series() for role in ("user", "item")}  # type: ignore[attr-defined]
    scan = pl.scan_parquet(folder / "rows.parquet")
    counted = scan.group_by("reason").len("n").collect(engine="streaming")
    counts = {row_checks[number - 1].reason: n for number, n in counted.iter_rows() if number}
    if rounds and (better := refine(plan, counts, names)):
        return _spilled(folder, rejects, better, options=options, rounds=rounds - 1)
    if options.max_per_day and not plan.bots:
        bots = names["user"].gather([int(code) for code in heavy_users(scan, options.max_per_day)])
        if len(bots):
            marked = replace(plan, bots=tuple(bots.sort().to_list()))
            return _spilled(folder, rejects, marked, options=options, rounds=0)
    _write_rejects(rejects, refusals(plan) if counts else None, folder / "refused.parquet")
    return plan, _Rows(folder, int(counted["n"].sum()), names["user"], names["item"], scan.collect_schema())


def _write_rejects(rejects: Path, refused: pl.LazyFrame | None, spill: Path) -> None:
    with rejects.open("wb") as file:
        if refused is None:
            return
        refused.sink_parquet(spill, compression="lz4")
        breaks = 0
        for rows in slices(pl.scan_parquet(spill), BATCH_ROWS):
            told, breaks = placed(rows, breaks)
            told.write_ndjson(file)


def _refused(rejects: Path) -> pl.LazyFrame:
    if not rejects.stat().st_size:
        return pl.LazyFrame(schema=REJECTS)
    return pl.scan_ndjson(rejects, schema=REJECTS)


def _number(
    rows: _Rows, known_users: Vocabulary, known_items: Vocabulary, partitions: int, batch_rows: int, progress: Progress
) -> tuple[_Numbering, _Numbering]:
    sides = {"user": FirstSeen(len(rows.users)), "item": FirstSeen(len(rows.items))}
    for start, batch in rows.batches(("user", "item", "time", "order"), batch_rows):
        shown = in_time_order(
            batch.with_columns(row=pl.int_range(start, start + len(batch)), filled=pl.col("order").fill_null(0))
        )
        time, order, row = (shown[name].to_numpy() for name in ("time", "filled", "row"))
        for role, seen in sides.items():
            seen.see(shown[role].to_numpy(), time, order, row)
        progress("rows numbered", min(start + batch_rows, rows.height), rows.height)
    users = _numbering(sides["user"], rows.users, known_users, partitions, rows.folder / "users")
    return users, _numbering(sides["item"], rows.items, known_items, partitions, rows.folder / "items")


def _numbering(seen: FirstSeen, names: pl.Series, known: Vocabulary, partitions: int, folder: Path) -> _Numbering:
    vocabulary, index = seen.numbered(names, known)
    rows = np.zeros(len(vocabulary), dtype=np.int64)
    rows[index[index >= 0]] = seen.rows[index >= 0]
    return _Numbering(vocabulary, index, cut(rows, partitions), folder)


def _distribute(rows: _Rows, users: _Numbering, items: _Numbering, batch_rows: int, progress: Progress) -> None:
    """Append each usable row to its range of users, and what it says of its item to its range of items.

    rows.parquet goes.
    """
    facts = rows.facts
    for start, batch in rows.batches([name for name in rows.schema if name not in (LINE, "reason")], batch_rows):
        user_idx, item_idx = users.index[batch["user"].to_numpy()], items.index[batch["item"].to_numpy()]
        indexed = batch.with_columns(user=pl.Series(user_idx), item=pl.Series(item_idx))
        name = f"{start:015}"
        write_pieces(
            indexed.drop(name for name in facts if name not in EVENT), users.ranges.of(user_idx), users.folder, name
        )
        write_pieces(indexed.select("item", "time", "order", *facts), items.ranges.of(item_idx), items.folder, name)
        progress("rows distributed", min(start + batch_rows, rows.height), rows.height)
    (rows.folder / "rows.parquet").unlink()


def _describe(rows: _Rows, items: _Numbering, plan: Plan, progress: Progress) -> pl.DataFrame:
    """Describe each item by what the log says, as `data.log_reading.catalogue.describe` does."""
    made = []
    schema = pl.Schema({**{name: rows.schema[name] for name in ("time", "order", *rows.facts)}, "item": pl.Int32()})
    for number in range(len(items.ranges)):
        low, high = items.ranges.bounds(number)
        told = read_pieces(items.folder, number)
        told = pl.DataFrame(schema=schema) if told is None else told
        told = in_time_order(told)
        of_row = told["item"].to_numpy() - low
        made.append(describe(told, of_row, items.vocabulary.ids.slice(low, high - low), plan))
        progress("item ranges described", number + 1, len(items.ranges))
    return pl.concat(made).rechunk()


def _write_events(
    path: Path, users: _Numbering, items: _Numbering, log: OpenedLog, progress: Progress
) -> tuple[Tally, tuple[int, int]]:
    """Write every range of users into events.parquet, after the one before; and find who has most of all events."""
    now = datetime.now(UTC)
    counted, largest = [], (-1, 0)
    with ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for number in range(len(users.ranges)):
            rows = read_pieces(users.folder, number)
            if rows is not None:
                events, dropped = _events_of(rows, users, items, log)
                del rows  # or two ranges are in memory at a time
                counted.append(tally(events, *dropped, now))
                largest = max(largest, largest_shopper(events), key=lambda shopper: shopper[1])
                for table in _tables(events, users, items):
                    writer = writer or stack.enter_context(pq.ParquetWriter(path, table.schema, compression="zstd"))
                    writer.write_table(table)
                del events
            progress("user ranges written", number + 1, len(users.ranges))
    return reduce(add, counted), largest


def _events_of(
    rows: pl.DataFrame, users: _Numbering, items: _Numbering, log: OpenedLog
) -> tuple[pl.DataFrame, tuple[int, dict[str, int]]]:
    """Make the log of a range of users, and count what was dropped: duplicates, cancellations. Empties rows."""
    rows = in_time_order(rows)
    user_of_row, item_of_row = (rows.drop_in_place(role).to_numpy() for role in ("user", "item"))
    numbered = arrange(rows, user_of_row, item_of_row, users.vocabulary, items.vocabulary)
    events, cancellations = make_log(rows, numbered, log.columns)
    return events, (numbered.duplicates, cancellations)


def _tables(events: pl.DataFrame, users: _Numbering, items: _Numbering) -> Iterator[pa.Table]:
    """Yield pieces of a log as pyarrow tables of events.parquet, each to be a row group."""
    for part in events.iter_slices(_GROUP_ROWS):
        yield stored(name_events(part, items.vocabulary, users.vocabulary)).to_arrow()
