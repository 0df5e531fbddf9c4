"""`ownshelf inspect`: what a file is and how it would be read, before anything is written."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from data.inspection import Inspection, inspect_file
from data.log_reading.log_source import LogOptions
from serving.cli.data.log_options import with_log_options
from serving.cli.options import AsJson
from serving.cli.output import console, print_json


@with_log_options
def inspect_command(
    source: Annotated[str, typer.Argument(help="file, glob or folder of a log, or a catalogue feed")],
    options: LogOptions,
    as_json: AsJson = False,
) -> None:
    """Say what a file is, what each column would be, ten rows as read, and what would be refused; writes nothing."""
    told = inspect_file(source, options)
    if as_json:
        print_json(_plain(asdict(told)))
        return
    _print(told)


def _print(told: Inspection) -> None:
    _say(f"{told.what}; read in {told.seconds:.1f} s")
    columns = Table("column", "read as", "example")
    for column in told.columns:
        columns.add_row(*(escape(column[part]) for part in ("name", "role", "example")))
    console.print(columns)
    if told.rows:
        names = [name for name in told.rows[0] if any(row[name] is not None for row in told.rows)]
        rows = Table(*map(escape, names), title="first rows as read")
        for row in told.rows:
            rows.add_row(*("" if row[name] is None else escape(str(row[name])) for name in names))
        console.print(rows)
    for row in told.refused:
        _say(f"refused: line {row['line']}: {row['reason']}" + (f": {row['value']!r}" if row["value"] else ""))
    for note in (told.summary or {}).get("notes", []):
        _say(f"note: {note}")
    if told.problem:
        _say(f"cannot be read yet: {told.problem}")
    _say(f"next: {told.command}")


def _say(line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _plain(value: Any) -> Any:
    """Moments as text, for JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
