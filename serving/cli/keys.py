"""`ownshelf keys`: keys for shops' backends, and the service's own public key for its custodian."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from data.errors import ServingError
from serving.cli.errors import OneLineErrors
from serving.cli.options import App, AsJson, MaybeFederationPath, State
from serving.state.api_keys import ApiKeys
from serving.state.key_book import open_book
from serving.state.state_url import url_of

app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def create(
    federation: MaybeFederationPath = None,
    state: State = None,
    app_name: App = "shop",
    scopes: Annotated[
        str, typer.Option(help="By comma: app, catalogue, analyst, admin; or device alone, which may be published.")
    ] = "app",
    as_json: AsJson = False,
) -> None:
    """Make an API key. It is shown once; only its hash is stored. A running service takes it within a second."""
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    key = _keys(federation, state).create(app_name, wanted, int(time.time()))
    _print({"key": key, "app": app_name, "scopes": wanted}, key, as_json)


@app.command("list")
def list_(
    federation: MaybeFederationPath = None,
    state: State = None,
    app_name: Annotated[str | None, typer.Option("--app", help="Of one shop only.")] = None,
    as_json: AsJson = False,
) -> None:
    """List every key, without its secret."""
    entries = _keys(federation, state).all(app_name)
    lines = [
        f"{entry.key_id}  {entry.app}  {','.join(entry.scopes)}  {'revoked' if entry.revoked_at else 'good'}"
        for entry in entries
    ]
    _print({"keys": [asdict(entry) for entry in entries]}, "\n".join(lines), as_json)


@app.command()
def revoke(key_id: str, federation: MaybeFederationPath = None, state: State = None, as_json: AsJson = False) -> None:
    """End a key, on every worker within a second. Tokens signed for it stay good in their rounds."""
    _keys(federation, state).revoke(key_id, int(time.time()))
    _print({"revoked": key_id}, f"revoked {key_id}", as_json)


@app.command()
def service(
    folder: Annotated[Path, typer.Argument(help="The service's folder, store.folder of its federation file.")],
    as_json: AsJson = False,
) -> None:
    """Print the public key that the custodian is to know this service by; made if there is none."""
    from federation.storage.key_files import load_or_make_key
    from serving.process.federation_file import SERVICE_KEY

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    public = load_or_make_key(folder / SERVICE_KEY).public.hex()
    _print({"public_key": public}, public, as_json)


@app.command()
def gateway(
    folder: Annotated[Path, typer.Argument(help="The service's folder, store.folder of its federation file.")],
    as_json: AsJson = False,
) -> None:
    """Print the public key that devices seal requests through a relay to (--relay-key); made if there is none."""
    from serving.process.federation_file import gateway_key

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    public = gateway_key(folder).config.public.hex()
    _print({"public_key": public}, public, as_json)


def _keys(federation: Path | None, state: str | None) -> ApiKeys:
    """Open the keys of a federation file's store, or of a state."""
    if federation is not None:
        from serving.process.federation_file import FederationFile  # loads the whole of live training

        return ApiKeys(FederationFile.read(federation).store().engine)
    if state is None:
        raise ServingError("--state: must be given, or --federation")
    return open_book(url_of(state)).keys


def _print(result: dict[str, Any], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(result) if as_json else text)
