"""`ownshelf ingest`: a log into a dataset folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TaskID

from data.dataset import open_known
from data.log_reading.log_source import LogOptions
from data.log_reading.partitions import ingest_folder
from serving.cli.data.log_options import with_log_options
from serving.cli.options import AsJson
from serving.cli.output import console, print_json, progress


@with_log_options
def ingest_command(
    source: Annotated[
        list[str], typer.Argument(help="log: csv, tsv, parquet, json, jsonl, also packed; files, globs, folders")
    ],
    out: Annotated[Path, typer.Option(help="dataset folder to write")],
    options: LogOptions,
    max_per_day: Annotated[int | None, typer.Option(min=1, help="events a day above which a shopper is a bot")] = None,
    max_refused: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="share of refused rows above which nothing is written; default 0.2"),
    ] = None,
    items: Annotated[
        str | None, typer.Option(help="items file or catalogue feed: csv, jsonl, parquet, xml, html")
    ] = None,
    base: Annotated[str | None, typer.Option(help="earlier dataset whose item and user numbers are kept")] = None,
    partitions: Annotated[
        int | None,
        typer.Option(help="parts of the log in memory one at a time; by default 1, and more for a log above 2 GB"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a log into a dataset: checked, deduplicated, sorted; bad rows go to rejects.jsonl with their reason."""
    options = replace(
        options,
        max_per_day=max_per_day,
        max_refused=max_refused,
        items=items,
        base=None if base is None else open_known(base),
    )
    with progress("rows read", None) as bar:

        def step(what: str, done: int, total: int | None) -> None:
            bar.update(TaskID(0), description=what, completed=done, total=total)

        log = source[0] if len(source) == 1 else source
        made = ingest_folder(log, out, options, partitions=partitions, progress=step)
    summary = made.summary | {"out": str(out), "hash": made.hash}
    if as_json:
        print_json(summary)
        return
    for key, value in summary.items():
        for line in value if isinstance(value, list) else [value]:
            console.print(f"{key:>14}  {line}", highlight=False, markup=False)
