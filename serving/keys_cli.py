"""`ownshelf keys`: keys for shops' backends, and the service's own public key for its custodian."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.api_keys import ApiKeys
from serving.federation_file import FederationFile
from serving.one_line import OneLineErrors

app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, pretty_exceptions_enable=False)

File = Annotated[Path, typer.Option("--federation", help="The file that `ownshelf serve --federation` is given.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Seed = Annotated[int, typer.Option(help="Accepted by every command; keys are never seeded.")]


@app.command()
def create(
    federation: File,
    issuer: Annotated[str, typer.Option(help="Name of the shop; its tokens carry it.")] = "shop",
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """Make an API key. It is shown once; only its hash is stored."""
    key = ApiKeys(_of(federation)).create(issuer, int(time.time()))
    _print({"key": key, "issuer": issuer}, key, as_json)


@app.command("list")
def list_(federation: File, as_json: AsJson = False, seed: Seed = 0) -> None:
    """Every key, without its secret."""
    entries = ApiKeys(_of(federation)).all()
    lines = [f"{one.key_id}  {one.issuer}  {'revoked' if one.revoked_at else 'good'}" for one in entries]
    _print({"keys": [asdict(one) for one in entries]}, "\n".join(lines), as_json)


@app.command()
def revoke(key_id: str, federation: File, as_json: AsJson = False, seed: Seed = 0) -> None:
    """End a key. Tokens it minted stay good until they expire."""
    ApiKeys(_of(federation)).revoke(key_id, int(time.time()))
    _print({"revoked": key_id}, f"revoked {key_id}", as_json)


@app.command()
def service(
    folder: Annotated[Path, typer.Argument(help="The service's folder, store.folder of its federation file.")],
    as_json: AsJson = False,
    seed: Seed = 0,
) -> None:
    """The public key that the custodian is to know this service by; made if there is none."""
    from federation.key_files import load_or_make_key
    from serving.federation_file import SERVICE_KEY

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    public = load_or_make_key(folder / SERVICE_KEY).public.hex()
    _print({"public_key": public}, public, as_json)


def _of(federation: Path) -> Any:
    return FederationFile.read(federation).store().engine


def _print(result: dict[str, Any], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(result) if as_json else text)
