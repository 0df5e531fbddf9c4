"""Hostile logs at random: every row is accounted for, no error is a traceback, every summary is strict JSON.

Each log is a file of a random form (csv with odd separators, quotes, encodings and line ends; jsonl, a JSON array,
parquet; packed or not) with random rows of values that logs really hold and readers trip over. It is read in one
piece and in partitions, and both must be the same dataset or the same one-line error.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import random
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from data.dataset import Dataset, read_log
from data.errors import OwnshelfError
from data.log_reading.log_source import LogOptions
from data.log_reading.partitions import ingest_folder

IDS: tuple[Any, ...] = (
    "u1", "u2", "7", "007", "7.0", " u1 ", "", None, "NULL", "nan", "(not set)", "\\N", "0", "-1", "a,b", 'a"b', "a;b",
    "a\nb", "ä€", "😀", "x" * 200, ".", "..", "a\tb", "'", "<NA>", "=1+1", "\ufeffu", "\u200b", "u\u00a0", "1e5",
    "9" * 25,
)  # fmt: skip
TIMES: tuple[Any, ...] = (
    "2024-01-15 10:00:00", "2024-01-15 10:00:00.25", "2024-01-15T10:00:00Z", "2024-01-15T10:00:00+01:00", "2024-01-15",
    "15.01.2024 10:00", "15/01/24", "20240115100000", "20240115", "1705312800", "1705312800000", "1705312800.5", "n/a",
    "", None, "1970-01-01", "1899-12-30", "0", "2024-02-30", "2024-01-15 10:00:00 UTC", "15 Jan 2024 10:00",
    "yesterday", "9" * 30, "-5", "1e400", "2999-01-01",
)  # fmt: skip
WORDS: tuple[Any, ...] = (
    "view", "View", " buy ", "Add To Cart", "purchase", "refund", "stare", "", None, "page_ping", "NULL",
    "remove_from_cart", "Order Completed", "ORDER", "\u0130",
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    "1", "2.5", "$5.00", "1.299,00", "1,299", "-4", "1e400", "inf", "nan", "NaN", "", None, "cheap", "0", "1e13", "٣",
    "--1", "5 €", "(3)", "0x10",
)  # fmt: skip
NESTED: tuple[Any, ...] = (["a"], {"id": 1}, [], {}, True, 5, 1.0, 1.5e300, 10**30, "\ud800", "\u0000", -0.0, 1e22)
COLUMNS = {"user_id": IDS, "item_id": IDS, "time": TIMES, "event": WORDS, "price": NUMBERS, "quantity": NUMBERS}
EXTRA = {"note": IDS, "title": IDS, "available": ("yes", "no", "", None, "in stock", "sold out"), "category": IDS}


def run(rows: int = 20_000, seed: int = 0, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Counts over random logs of `rows` rows in all: read, refused with one line, and what must stay at 0."""
    draw = random.Random(seed)
    counts: Counter[str] = Counter()
    failures: list[str] = []
    while counts["rows"] < rows:
        with tempfile.TemporaryDirectory() as folder:
            wrong = check_one(draw, Path(folder), counts)
        failures += [wrong] if wrong else []
        if counts["files"] % 100 == 0:
            say(f"{counts['files']} files, {counts['rows']} rows, {len(failures)} failures")
    return {**counts, "seed": seed, "failed": len(failures), "failures": failures[:5]}


def check_one(draw: random.Random, folder: Path, counts: Counter[str]) -> str:
    """Read one random log both ways; "" if all holds, else what does not."""
    source, n_rows, exact, form = write_log(draw, folder)
    counts.update(files=1, rows=n_rows)
    counts[form] += 1
    try:
        whole = outcome(lambda: read_log(source, max_refused=1.0))
        cut = outcome(lambda: cut_log(source, folder))
    except Exception:  # noqa: BLE001  # this is what must not happen, and it is reported
        return f"{form}: {traceback.format_exc(limit=-3)}"
    if isinstance(whole, str) or isinstance(cut, str):
        counts["errors"] += 1
        if whole != cut:
            return f"{form}: in one piece {whole!r}, in partitions {cut!r}"
        return f"{form}: {whole!r}" if "internal error" in str(whole) or "\n" in str(whole) else ""
    counts["read"] += 1
    return "" if (wrong := broken(whole, cut, n_rows, exact)) == "" else f"{form}: {wrong}"


def broken(whole: Dataset, cut: Dataset, n_rows: int, exact: bool) -> str:
    """What does not hold of a dataset, "" if all does. n_rows: written; exact: each is one row of the file."""
    told = whole.summary
    refused = sum(told["rejected"].values())
    if told["rows"] != told["events"] + told["duplicates"] + told["cancellations"] + refused:
        return f"the law: {told}"
    if len(whole.rejects) != refused or len(whole.log) != told["events"]:
        return f"the rejects: {len(whole.rejects)} of {refused}"
    if exact and told["rows"] != n_rows:
        return f"{n_rows} rows were written, {told['rows']} read"
    if (whole.hash, told) != (cut.hash, cut.summary) or not whole.rejects.equals(cut.rejects):
        return f"in partitions it differs: {told} {cut.summary}"
    json.dumps(told, allow_nan=False)
    json.dumps(whole.catalogue.to_dicts(), allow_nan=False)
    json.dumps(whole.rejects.to_dicts(), allow_nan=False)
    return ""


def outcome(read: Callable[[], Dataset]) -> Dataset | str:
    """A dataset, or the one line of the error."""
    try:
        return read()
    except OwnshelfError as error:
        return str(error)


def cut_log(source: Any, folder: Path) -> Dataset:
    """The log by way of three partitions."""
    ingest_folder(source, folder / "cut", LogOptions(max_refused=1.0), partitions=3, batch_rows=5)
    return Dataset.open(folder / "cut")


def write_log(draw: random.Random, folder: Path) -> tuple[Any, int, bool, str]:
    """A random log: its source, its rows, whether a reader must find exactly these, and its form."""
    good = draw.random()
    names = [*COLUMNS, *draw.sample(list(EXTRA), draw.randint(0, 3))]
    pools = {**COLUMNS, **EXTRA}
    rows = [
        {name: pools[name][0] if draw.random() < good else draw.choice(pools[name]) for name in names}
        for _ in range(draw.choice([1, 5, 20, 60]))
    ]
    form = draw.choice(["csv", "csv", "odd csv", "jsonl", "jsonl", "array", "frame"])
    if form == "frame":
        return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String)), len(rows), True, form
    if form in ("jsonl", "array"):
        rows = [{k: draw.choice(NESTED) if draw.random() < 0.03 else v for k, v in row.items()} for row in rows]
        lines = [json.dumps(row, ensure_ascii=draw.random() < 0.5) for row in rows]
        if form == "array":
            return _put(draw, folder, "log.json", "[" + ",\n".join(lines) + "]"), len(rows), True, form
        for at in range(len(lines)):
            if draw.random() < 0.02:
                lines[at] = draw.choice(
                    ['{"user_id": ', "[1]", "null", '{"user_id": 1e999}', "NaN", '{"a": 1} {"b": 2}', "x"]
                )
        blank = draw.random() < 0.1
        return _put(draw, folder, "log.jsonl", ("\n\n" if blank else "\n").join(lines) + "\n"), len(rows), True, form
    separator = draw.choice(",;\t|")
    text = io.StringIO()
    quoting = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=draw.choice(["\n", "\r\n"]))
    writer.writerow(names)
    writer.writerows([["" if row[name] is None else row[name] for name in names] for row in rows])
    content = text.getvalue()
    if form == "odd csv":
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(content))
            content = content[:at] + draw.choice(['"', "\n", separator, "\r", "é", "\\", '""']) + content[at:]
    return _put(draw, folder, "log.csv", content), len(rows), form == "csv", form


def _put(draw: random.Random, folder: Path, name: str, content: str) -> Path:
    encoding = draw.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"])
    if name != "log.csv" and encoding == "cp1252":
        encoding = "utf-8"
    raw = content.encode(encoding, "replace" if encoding == "cp1252" else "surrogatepass")
    packing = draw.choice(["", "", "", ".gz", ".bz2"])
    packed = {"": raw, ".gz": gzip.compress(raw), ".bz2": bz2.compress(raw)}[packing]
    path = folder / f"{name}{packing}"
    path.write_bytes(packed)
    return path
