"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FederationPath = Annotated[
    Path, typer.Option("--federation", help="The file that `ownshelf serve --federation` is given.")
]
MaybeFederationPath = Annotated[
    Path | None, typer.Option("--federation", help="The file that `ownshelf serve --federation` is given.")
]
State = Annotated[
    str | None,
    typer.Option("--state", envvar="OWNSHELF_STATE", help="The folder or URL that `ownshelf serve --state` is given."),
]
App = Annotated[str, typer.Option("--app", help="The shop (tenant) that the key belongs to.")]
Why = Annotated[str, typer.Option(help="Why, for the change log.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
