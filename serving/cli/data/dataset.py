"""`ownshelf dataset`: a dataset folder that is there already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from data.erasure import erase_users
from serving.cli.errors import OneLineErrors
from serving.cli.options import AsJson
from serving.cli.output import console, print_json

app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def options() -> None:
    """Change a dataset folder that is there already."""


@app.command("erase-user")
def erase_user(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="folder made by ingest")],
    users: Annotated[list[str], typer.Argument(metavar="USER…", help="ids as the log wrote them")],
    as_json: AsJson = False,
) -> None:
    """Remove shoppers' events and ids for good; the numbers of all others stay, and the log is the shop's to clean."""
    counts = erase_users(dataset, users)
    if as_json:
        print_json(counts)
    else:
        console.print(f"erased {counts['users']} users with {counts['events']} events from {dataset}", highlight=False)
