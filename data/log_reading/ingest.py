"""Ingest: any log of the presets → a checked Dataset."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl

from data.checked_log import REJECTS, CheckedLog, DatasetAxes
from data.log_reading.account import check_account, check_refused
from data.log_reading.canonical import NOT_AN_INT, Plan, canonical
from data.log_reading.catalogue import describe, make_catalogue, told_plainly
from data.log_reading.ingest_summary import nothing_usable, only_cancellations, reasons, summary, tally
from data.log_reading.items_file import items_table
from data.log_reading.log import make_log
from data.log_reading.log_source import LogOptions, open_log, read_planned
from data.log_reading.numbering import arrange, in_time_order, indices
from data.log_reading.opening.source import LINE
from data.log_reading.opening.sources import Table
from data.log_reading.refine import ROUNDS, refine
from data.log_reading.refusals import placed, refusals
from data.log_reading.shoppers import heavy_users, largest_shopper
from data.log_reading.validation import Check
from data.vocabulary import Vocabulary


def ingest(
    source: Table,
    *,
    preset: str = LogOptions.preset,
    mapping: Mapping[str, str] | None = None,
    out: Path | str | None = None,
    timezone: str = LogOptions.timezone,
    kind: str | None = None,
    kinds: Mapping[str, str] | None = None,
    keep: Sequence[str] | None = None,
    separator: str | None = None,
    time_format: str | None = None,
    time_unit: str | None = None,
    items: Table | None = None,
    base: CheckedLog | DatasetAxes | Vocabulary | None = None,
    locale: str | None = None,
    null: Sequence[str] = (),
    guests: Sequence[str] = (),
    max_refused: float | None = None,
    no_header: bool = False,
    no_time: bool = False,
    max_per_day: int | None = None,
    name: str | None = None,
) -> CheckedLog:
    """Read a log, check every row, number users and items, and keep what is usable.

    source: a csv, parquet or jsonl file, or a polars or pandas frame. out: a folder to save to. name: of the dataset,
    the preset's by default. All other options are those of `data.log_reading.log_source.LogOptions`.

    Rows that cannot be used are in `.rejects` (line of the file, reason, value) and counted in `.summary`, exact
    duplicates too. Raises DataError when the source is no log, a column is missing, or no row is usable.
    """
    options = LogOptions(
        preset, mapping, timezone, kind, kinds, keep, separator, time_format, time_unit, items, base,
        locale, null, guests, max_refused, no_header, no_time, max_per_day,
    )  # fmt: skip
    dataset = ingest_whole(source, options, name)
    return dataset if out is None else dataset.save(out)


def ingest_whole(
    source: Table, options: LogOptions, name: str | None = None, scratch: Path | None = None
) -> CheckedLog:
    """Ingest as `ingest` does, whole in memory.

    scratch: an existing folder for unpacked files, by default one of the system's for the time.
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".ownshelf-") as folder:
        return _ingest(source, options, name, Path(folder))


def _ingest(source: Table, options: LogOptions, name: str | None, scratch: Path) -> CheckedLog:
    log = open_log(source, options, scratch)
    plan, (rows, refused) = read_planned(log, partial(_rows, options=options))
    rejected = reasons(refused.lazy())
    n_rows = len(rows)
    if len(refused) == n_rows:
        raise nothing_usable(log.source.name, n_rows, rejected, refused.lazy())
    check_refused(log, n_rows, rejected)
    known_items, known_users, older = options.known
    rows = in_time_order(_usable(rows))
    with ThreadPoolExecutor() as pool:  # the work is numpy's and polars', which let go of Python's lock
        numberings = pool.map(indices, (rows["user"], rows["item"]), (known_users, known_items))
        (user_of_row, users), (item_of_row, items) = numberings
        describing = pool.submit(describe, rows, item_of_row, items.ids, plan)
        numbered = arrange(rows, user_of_row, item_of_row, users, items)
    with told_plainly(log.source.name):
        described = describing.result()
        known = items_table(log, source, scratch)
        catalogue = make_catalogue(described, plan, known, older)
    items = numbered.items
    items = items.extend(catalogue["item_id"]) if len(catalogue) > len(items) else items
    events, counts = make_log(rows, numbered, log.columns)
    counted = tally(events, numbered.duplicates, counts, datetime.now(UTC))
    if not counted.events:
        raise only_cancellations(log.source.name, counted.cancellations)
    told = summary(
        log, plan, counted, rejected, refused.lazy(), catalogue, numbered.users,
        rows=n_rows, largest=largest_shopper(events), known=known, ids=numbered.items.ids,
    )  # fmt: skip
    check_account(told, len(refused), log.source.rows)
    return CheckedLog(name or log.preset.name, events, catalogue, items, numbered.users, told, refused)


def _rows(plan: Plan, *, options: LogOptions, rounds: int = ROUNDS) -> tuple[Plan, tuple[pl.DataFrame, pl.DataFrame]]:
    """Read the log in one pass, and in another where it disproves what the sample showed.

    Refused rows are read once more: only for them lines and values are wanted.
    """
    # Without __line, polars does not notice that it lost a row at a stray quote.
    frame, row_checks = canonical(plan, exact=False)
    read = frame.drop("value").collect(engine="streaming").drop(LINE)
    # Gathering from the hundreds of chunks of a streamed frame is ten times slower; column by column, to save memory.
    rows = pl.DataFrame([read.drop_in_place(name).rechunk() for name in read.columns])
    odd = [role for role in plan.integer_ids if (rows[role] == NOT_AN_INT).any()]
    if odd:
        fewer = replace(plan, integer_ids=plan.integer_ids.difference(odd))
        return _rows(fewer, options=options, rounds=rounds)
    refused = rows["reason"].max() != 0
    counts = _by_reason(rows["reason"], row_checks) if refused else {}
    kinds = {role: rows[role].dtype for role in ("user", "item")}
    names = {role: kind.categories.to_series() for role, kind in kinds.items() if isinstance(kind, pl.Categorical)}
    if rounds and (better := refine(plan, counts, names)):
        return _rows(better, options=options, rounds=rounds - 1)
    if options.max_per_day and not plan.bots and (bots := heavy_users(rows, options.max_per_day)):
        return _rows(replace(plan, bots=bots), options=options, rounds=0)
    if not refused:
        return plan, (rows, pl.DataFrame(schema=REJECTS))
    return plan, (rows, placed(refusals(plan).collect(engine="streaming"))[0])


def _by_reason(reason: pl.Series, row_checks: Sequence[Check]) -> dict[str, int]:
    counts = reason.value_counts().filter(pl.col(reason.name) > 0)
    return {row_checks[number - 1].reason: count for number, count in counts.iter_rows()}


def _usable(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep rows whose reason is 0, without that column; `rows` is emptied."""
    fine = rows.drop_in_place("reason") == 0
    return rows if fine.all() else pl.DataFrame([rows.drop_in_place(name).filter(fine) for name in rows.columns])
