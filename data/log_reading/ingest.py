"""Ingest: any log of the presets → a checked Dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from data.checked_log import REJECTS, CheckedLog, Known
from data.log_reading.canonical import NOT_AN_INT, Plan, canonical
from data.log_reading.catalogue import describe, items_table, make_catalogue, told_plainly
from data.log_reading.ingest_summary import nothing_usable, only_cancellations, reasons, summary, tally
from data.log_reading.log import make_log
from data.log_reading.log_source import LogOptions, open_log, read_planned
from data.log_reading.numbering import arrange, in_time_order, indices
from data.log_reading.refusals import placed, refusals
from data.log_reading.sources import LINE, Table
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
    base: CheckedLog | Known | Vocabulary | None = None,
    name: str | None = None,
) -> CheckedLog:
    """Read a log, check every row, number users and items, and keep what is usable.

    source: a csv, parquet or jsonl file, or a polars or pandas frame. out: a folder to save to. name: of the dataset,
    the preset's by default. All other options are those of `data.log_reading.log_source.LogOptions`.

    Rows that cannot be used are in `.rejects` (line of the file, reason, value) and counted in `.summary`, exact
    duplicates too. Raises DataError when the source is no log, a column is missing, or no row is usable.
    """
    options = LogOptions(preset, mapping, timezone, kind, kinds, keep, separator, time_format, time_unit, items, base)
    dataset = ingest_whole(source, options, name)
    return dataset if out is None else dataset.save(out)


def ingest_whole(source: Table, options: LogOptions, name: str | None = None) -> CheckedLog:
    """As `ingest`."""
    log = open_log(source, options)
    plan, (rows, refused) = read_planned(log, _rows)
    rejected = reasons(refused.lazy())
    n_rows = len(rows)
    if len(refused) == n_rows:
        raise nothing_usable(log.source.name, n_rows, rejected, refused.lazy())
    known_items, known_users, older = options.known
    rows = in_time_order(_usable(rows))
    with ThreadPoolExecutor() as pool:  # the work is numpy's and polars', which let go of Python's lock
        numberings = pool.map(indices, (rows["user"], rows["item"]), (known_users, known_items))
        (user_of_row, users), (item_of_row, items) = numberings
        describing = pool.submit(describe, rows, item_of_row, items.ids, plan)
        numbered = arrange(rows, user_of_row, item_of_row, users, items)
    with told_plainly(log.source.name):
        described = describing.result()
        catalogue = make_catalogue(described, plan, items_table(log.preset, source, options.items), older)
    events, counts = make_log(rows, numbered, log.columns)
    counted = tally(events, numbered.duplicates, counts, datetime.now(UTC))
    if not counted.events:
        raise only_cancellations(log.source.name, counted.cancellations)
    told = summary(log, plan, counted, rejected, refused.lazy(), catalogue, numbered.users, rows=n_rows)
    return CheckedLog(name or log.preset.name, events, catalogue, numbered.items, numbered.users, told, refused)


def _rows(plan: Plan) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One pass over the log, two where rows are refused: only then lines and values are wanted."""
    # Without __line, polars does not notice that it lost a row at a stray quote.
    read = canonical(plan, exact=False)[0].drop("value").collect(engine="streaming").drop(LINE)
    # Gathering from the hundreds of chunks of a streamed frame is ten times slower; column by column, to save memory.
    rows = pl.DataFrame([read.drop_in_place(name).rechunk() for name in read.columns])
    odd = [role for role in plan.integer_ids if (rows[role] == NOT_AN_INT).any()]
    if odd:
        return _rows(replace(plan, integer_ids=plan.integer_ids.difference(odd)))
    if rows["reason"].max() == 0:
        return rows, pl.DataFrame(schema=REJECTS)
    return rows, placed(refusals(plan).collect(engine="streaming"))[0]


def _usable(rows: pl.DataFrame) -> pl.DataFrame:
    """Those whose reason is 0, without that column; `rows` is emptied."""
    fine = rows.drop_in_place("reason") == 0
    return rows if fine.all() else pl.DataFrame([rows.drop_in_place(name).filter(fine) for name in rows.columns])
