"""`ownshelf ingest`: a log into a dataset folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TaskID

from data.dataset import open_known
from data.log_reading.log_source import LogOptions
from data.log_reading.partitions import ingest_folder
from data.log_reading.recognition import AUTO
from serving.cli.options import AsJson
from serving.cli.output import console, print_json, progress
from serving.cli.pairs import pairs

Format = Annotated[str, typer.Option("--format", help="a public log's or export's name, generic, or auto")]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", help="user=COLUMN item=COLUMN time=COLUMN …, repeatable; a.b steps into JSON"),
]
Kinds = Annotated[
    list[str] | None, typer.Option(help="the log's event words: buy=purchase return=-purchase ping=ignore, repeatable")
]
Kind = Annotated[str | None, typer.Option(help="kind of every event where no column says")]
Separator = Annotated[str | None, typer.Option(help="column separator of a text file")]
TimeFormat = Annotated[str | None, typer.Option(help="strptime format of times, the only one then")]
TimeUnit = Annotated[str | None, typer.Option(help="s, ms, us or ns of integer times, the only one then")]
Timezone = Annotated[str, typer.Option(help="zone of times that name none")]
Locale = Annotated[str | None, typer.Option(help="how numbers and dates are written: de_DE, en_US, …")]
Null = Annotated[list[str] | None, typer.Option("--null", help="a word that means nothing, repeatable")]
Guests = Annotated[list[str] | None, typer.Option("--guests", help="a user id that many people share, repeatable")]
NoHeader = Annotated[
    bool, typer.Option("--no-header", help="the first line is a row: columns are column_1, column_2, …")
]
NoTime = Annotated[bool, typer.Option("--no-time", help="the log has no times: its order is that of the file")]
MaxPerDay = Annotated[int | None, typer.Option(min=1, help="events a day above which a shopper is a bot")]
Items = Annotated[str | None, typer.Option(help="items file or catalogue feed: csv, jsonl, parquet, xml, html")]


def ingest_command(
    source: Annotated[
        list[str], typer.Argument(help="log: csv, tsv, parquet, json, jsonl, also packed; files, globs, folders")
    ],
    out: Annotated[Path, typer.Option(help="dataset folder to write")],
    preset: Format = AUTO,
    mapping: Map = None,
    kinds: Kinds = None,
    kind: Kind = None,
    separator: Separator = None,
    time_format: TimeFormat = None,
    time_unit: TimeUnit = None,
    timezone: Timezone = "UTC",
    locale: Locale = None,
    null: Null = None,
    guests: Guests = None,
    no_header: NoHeader = False,
    no_time: NoTime = False,
    max_per_day: MaxPerDay = None,
    max_refused: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="share of refused rows above which nothing is written; default 0.2"),
    ] = None,
    items: Items = None,
    base: Annotated[str | None, typer.Option(help="earlier dataset whose item and user numbers are kept")] = None,
    partitions: Annotated[
        int | None,
        typer.Option(help="parts of the log in memory one at a time; by default 1, and more for a log above 2 GB"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a log into a dataset: checked, deduplicated, sorted; bad rows go to rejects.jsonl with their reason."""
    options = LogOptions(
        preset=preset,
        mapping=pairs("--map", mapping) or None,
        timezone=timezone,
        kind=kind,
        kinds=pairs("--kinds", kinds) or None,
        separator=separator,
        time_format=time_format,
        time_unit=time_unit,
        locale=locale,
        null=null or (),
        guests=guests or (),
        no_header=no_header,
        no_time=no_time,
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
