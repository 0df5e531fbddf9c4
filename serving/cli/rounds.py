"""`ownshelf rounds`: what became of the rounds, and going back to an earlier bundle."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from federation.storage.change_log import Reason
from serving.cli.changes import operator, print_changes
from serving.cli.errors import OneLineErrors
from serving.cli.options import AsJson, FederationPath, Why
from serving.process.federation_file import FederationFile

app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command("list")
def list_(
    federation: FederationPath,
    n: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest rounds, newest first."""
    rows = [
        {
            "round": summary.number,
            "state": summary.state,
            "reports": summary.counted,
            "failure": summary.failure,
            **summary.record,
        }
        for summary in FederationFile.read(federation).store().rounds(n)
    ]
    lines = [f"{row['round']:>5}  {row['state']:<10}{row['reports']:>8}  {_notes(row)}" for row in rows]
    _print({"rounds": rows}, "\n".join(lines), as_json)


def _notes(row: dict[str, Any]) -> str:
    """Say why a round failed, or what it was published without."""
    missing = row.get("missing_blocks", 0)
    return row["failure"] or (f"without {missing} block(s)" if missing else "")


@app.command()
def releases(federation: FederationPath, as_json: AsJson = False) -> None:
    """List the kept bundles, newest first."""
    store = FederationFile.read(federation).store().releases
    active = store.active()
    rows = [
        {"version": release.version, "steps": release.steps, "active": release == active} for release in store.all()
    ]
    lines = [f"{row['version']}  {row['steps']:>5} steps  {'active' if row['active'] else ''}" for row in rows]
    _print({"releases": rows}, "\n".join(lines), as_json)


@app.command()
def activate(
    version: Annotated[str, typer.Argument(help="A kept bundle, or `previous`.")],
    federation: FederationPath,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Serve a kept bundle again and train on from it; a running service follows within a second."""
    store = FederationFile.read(Path(federation)).store()
    chosen = store.activate(version, int(time.time()), Reason(operator(), why))
    _print({"active": chosen}, f"active: {chosen}", as_json)


@app.command()
def changes(federation: FederationPath, as_json: AsJson = False) -> None:
    """List which round or person made which bundle current, when and why; checks the chain of hashes first."""
    print_changes(FederationFile.read(federation).store().releases.changes(), as_json)


@app.command()
def adopt(federation: FederationPath, as_json: AsJson = False) -> None:
    """Make this storage and these keys the store's own, while no host runs: after a restore, or a change of keys."""
    FederationFile.read(Path(federation)).adopt()
    _print({"adopted": True}, "adopted: hosts with another storage or other keys are refused from now on", as_json)


def _print(result: dict[str, Any], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(result) if as_json else text)
