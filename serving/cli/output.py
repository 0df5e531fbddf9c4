"""What a command prints: JSON for machines or a table for people on stdout, progress on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

WIDE = 10_000
"""Columns of a line where no terminal bounds it: whoever reads a pipe wants whole cells."""

console = Console(width=None if sys.stdout.isatty() else WIDE)
errors = Console(stderr=True)


def print_json(value: Any) -> None:
    """Print one JSON document; what is not a number there (nan, infinity) becomes null, or "inf"."""
    typer.echo(text_of(value))


def text_of(value: Any) -> str:
    """Write the JSON text of print_json."""
    return json.dumps(jsonable(value), indent=1, ensure_ascii=False)


def jsonable(value: Any) -> Any:
    """Convert nan to null and infinities to strings, for strict JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Progress]:
    """Show a progress bar on stderr; its one task has id 0. total: None while it is not known."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        bar.add_task(what, total=total)
        yield bar


def models_table(result: Mapping[str, Any], metric: str) -> Table:
    """Make a table of models × parts with intervals, from Evaluation.to_dict."""
    parts = [part for part in ("all", "new", "repeat", "cold") if any(row.get(part) for row in result["models"])]
    table = Table(title=f"{metric}, mean over users and 95 % interval", title_justify="left")
    table.add_column("model", no_wrap=True)
    for part in parts:
        table.add_column(f"{part} items" if part != "cold" else "cold users", justify="right", min_width=9)
    for row in result["models"]:
        cells = []
        for part in parts:
            figures = row.get(part)
            if figures is None:
                cells.append("-")
            else:
                low, high = figures["ci95"][metric]
                cells.append(f"{figures[metric]:.3f}\n[dim]{low:.3f}-{high:.3f}[/dim]".replace("0.", "."))
        table.add_row(row["model"], *cells)
    return table
