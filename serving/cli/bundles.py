"""`ownshelf bundles`: which bundles a running service has, and which is current."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from data.errors import ServingError
from federation.storage.bundle_copies import BundleCopies
from federation.storage.change_log import Reason
from federation.storage.objects import open_objects
from recsys.catalogue.bundle import Bundle
from serving.cli.changes import operator, print_changes
from serving.cli.errors import OneLineErrors
from serving.cli.options import App, AsJson, State, Why
from serving.state.bundle_store import BundleStore
from serving.state.state_url import url_of
from serving.state.stores import Stores

Override = Annotated[
    bool, typer.Option("--override", help="Although it has not passed the gate; needs --why, which is logged.")
]

app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(help="A bundle.")],
    state: State = None,
    app_name: App = "shop",
    activate: Annotated[bool, typer.Option(help="Make it current.")] = True,
    objects: Annotated[
        str | None, typer.Option(envvar="OWNSHELF_OBJECTS", help="The object store of `ownshelf serve --objects`.")
    ] = None,
    why: Why = "",
    override: Override = False,
    as_json: AsJson = False,
) -> None:
    """Serve a bundle beside the others; a running service takes it within a second, and no request fails."""
    store = _store(state)
    if objects is not None:
        with tempfile.TemporaryDirectory(prefix="ownshelf-bundles-") as passing:
            loaded = Bundle.load(folder)
            BundleCopies(Path(passing) / "copies", open_objects(objects)).add(loaded.version, folder, loaded.version)
    version = store.add(app_name, folder, int(time.time()), activate=activate, reason=Reason(operator(), why, override))
    _print({"version": version, "current": activate}, f"{version}  {'current' if activate else 'added'}", as_json)


@app.command("list")
def list_(state: State = None, app_name: App = "shop", as_json: AsJson = False) -> None:
    """List the bundles of a shop, the last added first."""
    store = _store(state)
    active = store.active(app_name)
    rows = [asdict(bundle) | {"current": bundle == active} for bundle in store.all(app_name)]
    lines = [f"{row['version']}  {row['name']}  {'current' if row['current'] else ''}" for row in rows]
    _print({"bundles": rows}, "\n".join(lines), as_json)


@app.command()
def activate(
    version: Annotated[str, typer.Argument(help="A bundle of the list, or `previous`.")],
    state: State = None,
    app_name: App = "shop",
    why: Why = "",
    override: Override = False,
    as_json: AsJson = False,
) -> None:
    """Make another bundle current; where the policy asks for it, one that has passed the gate."""
    chosen = _store(state).activate(app_name, version, int(time.time()), Reason(operator(), why, override))
    _print({"current": chosen}, f"current: {chosen}", as_json)


@app.command()
def retire(
    version: Annotated[str, typer.Argument(help="A bundle of the list, not the current one.")],
    state: State = None,
    app_name: App = "shop",
    as_json: AsJson = False,
) -> None:
    """Serve a bundle no more; devices that hold it are told to fetch the current one. Its folder stays."""
    _store(state).retire(app_name, version)
    _print({"retired": version}, f"retired: {version}", as_json)


@app.command()
def policy(
    state: State = None,
    app_name: App = "shop",
    require_gate: Annotated[
        bool | None, typer.Option(help="Whether a new bundle must have passed the gate against the current one.")
    ] = None,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Read or set what a bundle needs to become current."""
    store = _store(state)
    if require_gate is not None:
        store.require_gate(app_name, require_gate, int(time.time()), Reason(operator(), why))
    required = store.requires_gate(app_name)
    text = "a new bundle must have passed the gate" if required else "a new bundle needs no gate"
    _print({"require_gate": required}, text, as_json)


@app.command()
def changes(state: State = None, app_name: App = "shop", as_json: AsJson = False) -> None:
    """List who made which bundle current, when and why; checks the chain of hashes first."""
    print_changes(_store(state).changes(app_name), as_json)


def _store(state: str | None) -> BundleStore:
    if state is None:
        raise ServingError("--state: must be the folder or URL that `ownshelf serve --state` is given")
    return Stores.open(url_of(state)).bundles


def _print(result: dict[str, Any], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(result) if as_json else text)
