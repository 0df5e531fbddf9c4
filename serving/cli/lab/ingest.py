"""`ownshelf ingest`: a log becomes a dataset folder. Loads what reads logs and no model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import TaskID

from data.dataset import open_known
from data.errors import DataError
from data.log_reading.log_source import LogOptions
from data.log_reading.partitions import ingest_folder
from data.log_reading.recognition import AUTO
from serving.cli.options import AsJson
from serving.cli.output import console, print_json, progress


def ingest_command(
    source: Annotated[Path, typer.Argument(help="log file: csv, tsv, parquet, jsonl")],
    out: Annotated[Path, typer.Option(help="dataset folder to write")],
    preset: Annotated[str, typer.Option("--format", help="a public log's name, generic, or auto")] = AUTO,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="user=COLUMN item=COLUMN time=COLUMN …, repeatable")
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(help="the log's event words: buy=purchase return=-purchase, repeatable"),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="kind of every event where no column says")] = None,
    separator: Annotated[str | None, typer.Option(help="column separator of a text file")] = None,
    time_format: Annotated[str | None, typer.Option(help="strptime format of times")] = None,
    time_unit: Annotated[str | None, typer.Option(help="s, ms, us or ns of integer times")] = None,
    timezone: Annotated[str, typer.Option(help="zone of times that name none")] = "UTC",
    items: Annotated[Path | None, typer.Option(help="catalogue file beside the log")] = None,
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
        items=items,
        base=None if base is None else open_known(base),
    )
    with progress("rows read", None) as bar:

        def step(what: str, done: int, total: int | None) -> None:
            bar.update(TaskID(0), description=what, completed=done, total=total)

        made = ingest_folder(source, out, options, partitions=partitions, progress=step)
    summary = made.summary | {"out": str(out), "hash": made.hash}
    if as_json:
        print_json(summary)
    else:
        for key, value in summary.items():
            lines = value if isinstance(value, list) else [value]
            for line in lines:
                console.print(f"{key:>14}  {line}", highlight=False, markup=False)


def pairs(option: str, entries: list[str] | None) -> dict[str, str]:
    """NAME=VALUE words, several in one argument or one in each.

    What is the log's own may have spaces: columns, which are right of a role in --map, and event words, which are left
    of a kind in --kinds.
    """
    words: list[str] = []
    for entry in entries or []:
        whole = True
        for part in entry.split():
            if words and ("=" not in part if option == "--map" else not whole):
                words[-1] += f" {part}"
            else:
                words.append(part)
            whole = "=" in part
    if wrong := [word for word in words if "=" not in word]:
        raise DataError(f"{option} {wrong[0]}: must be NAME=VALUE")
    return dict(word.split("=", 1) for word in words)
