"""Inspecting a file before ingest: what it is, what each column would be, rows as read, what would be refused."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from data.errors import DataError
from data.log_reading.ingest import ingest_whole
from data.log_reading.log_source import LogOptions, OpenedLog, open_log
from data.log_reading.opening.feed_files import open_feed
from data.log_reading.opening.json_files import json_paths
from data.log_reading.opening.source import LINE
from data.log_reading.opening.sources import Table, files_of, peek
from data.log_reading.opening.unpacking import scratch_folder
from data.log_reading.partitions import partitions_of

SHOWN = 10
HEAD_ROWS = 1_000_000
"""Rows of a larger file that are read."""
HEAD_RECORDS = 100_000
"""Records of a nested export that are read: each is taken apart in Python."""
_SEPARATORS = (",", ";", "\t", "|")
ASKED = "--map user=COLUMN item=COLUMN time=COLUMN"


@dataclass(frozen=True)
class Inspection:
    """what: the format and how it was told. columns: name → role, and an example. rows: the first as they are read.

    summary: as of a Dataset, None where the file cannot be read. refused: line, reason and value of the first.
    problem: why it cannot be read, "" if it can. seconds: to read it. command: what to run next.
    """

    what: str
    columns: list[dict[str, str]]
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] | None = None
    refused: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""
    seconds: float = 0.0
    command: str = ""


def inspect_file(source: str, options: LogOptions) -> Inspection:
    """Read a file as `ingest` would, or say what is missing.

    Of a large file only the first million rows, of a nested export the first hundred thousand records.

    Raises DataError for a path that is missing, an address, or a file that is no table at all.
    """
    began = time.perf_counter()
    feed = open_feed(source)
    if feed is not None:
        columns = [{"name": name, "role": "of the catalogue", "example": _example(feed.frame[name])}
                   for name in feed.frame.columns]  # fmt: skip
        return Inspection(
            f"a catalogue feed, {feed.name}: {len(feed.frame)} items", columns, feed.frame.head(SHOWN).to_dicts(),
            {"notes": list(feed.notes)}, seconds=time.perf_counter() - began,
            command=f"ownshelf ingest LOG --items {shlex.quote(source)} --out shop",
        )  # fmt: skip
    files_of(source)
    options = replace(options, head=HEAD_RECORDS)
    try:
        log = open_log(source, options, scratch_folder())
    except DataError as error:
        names = _names(source)
        if not names:
            raise
        columns = [{"name": name, "role": "?", "example": example} for name, example in names.items()]
        return Inspection(
            "not recognised", columns, problem=str(error), seconds=time.perf_counter() - began,
            command=f"ownshelf ingest {shlex.quote(source)} --out shop {ASKED}",
        )  # fmt: skip
    return _read(source, log, options, began)


def _read(source: str, log: OpenedLog, options: LogOptions, began: float) -> Inspection:
    what = f"a log, {log.preset.name}" + (f", told by {log.told}" if log.told else "")
    large = partitions_of(source) > 1
    table: Table = log.source.frame.head(HEAD_ROWS).drop(LINE) if large else source
    columns = _columns(log)
    command = _command(source, options, log)
    try:
        loose = replace(options, max_refused=1.0, preset="generic" if large and not log.told else options.preset)
        dataset = ingest_whole(table, loose, scratch=None)
    except DataError as error:
        return Inspection(what, columns, problem=str(error), seconds=time.perf_counter() - began, command=command)
    summary = dict(dataset.summary)
    if large:
        summary["notes"] = [*summary["notes"], f"rows: only the first {HEAD_ROWS:,} were read"]
    return Inspection(
        what,
        columns,
        dataset.events.sort("time", maintain_order=True).head(SHOWN).drop("user_idx", "item_idx").to_dicts(),
        summary,
        dataset.rejects.head(SHOWN).to_dicts(),
        seconds=time.perf_counter() - began,
        command=command,
    )


def _columns(log: OpenedLog) -> list[dict[str, str]]:
    head = log.source.frame.head(SHOWN).collect()
    roles = {part: role for role, column in log.columns.roles.items() for part in column.split("+")}
    roles |= {column: role for role, column in log.columns.roles.items()}
    roles |= {column: f"of the item: {name}" for name, column in log.columns.attributes.items()}
    kept = set(log.columns.extras)
    return [
        {
            "name": name,
            "role": roles.get(name, "kept with the event" if name in kept else "not read"),
            "example": _example(head[name]),
        }
        for name in log.source.columns
    ]


def _names(source: str) -> dict[str, str]:
    """List columns, or dotted paths of nested records, of a file that is no log as it is, with an example each."""
    _, columns, record = peek(source, _SEPARATORS)
    if record is not None:
        return dict.fromkeys(json_paths(record), "")
    return dict.fromkeys(columns, "")


def _example(column: pl.Series) -> str:
    told = column.drop_nulls().head(1)
    return str(told[0])[:40] if len(told) else ""


def _command(source: str, options: LogOptions, log: OpenedLog) -> str:
    words = ["ownshelf", "ingest", shlex.quote(source), "--out", "shop"]
    if options.preset != LogOptions.preset:
        words += ["--format", options.preset]
    for role, column in (options.mapping or {}).items():
        words += ["--map", shlex.quote(f"{role}={column}")]
    for word, kind in (options.kinds or {}).items():
        words += ["--kinds", shlex.quote(f"{word}={kind}")]
    said = {
        "--time-format": options.time_format, "--time-unit": options.time_unit, "--locale": options.locale,
        "--separator": options.separator, "--kind": options.kind,
        "--timezone": None if options.timezone == LogOptions.timezone else options.timezone,
    }  # fmt: skip
    for name, value in said.items():
        words += [name, shlex.quote(value)] if value else []
    words += ["--no-header"] if options.no_header else []
    words += ["--no-time"] if options.no_time else []
    return " ".join(words)
