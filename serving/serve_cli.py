"""`ownshelf serve`: the service in this process; over TLS, or in clear on this machine only."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from fastapi import FastAPI

from data.errors import ServingError
from recsys.bundle import Bundle
from serving.app import create_app
from serving.tls import TlsCert, TlsKey, listening_at, uvicorn_tls


def serve_command(
    bundle: Annotated[Path, typer.Argument(help="The current bundle.")],
    older: Annotated[list[Path] | None, typer.Argument(help="Earlier bundles that are still answered.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    federation: Annotated[
        Path | None, typer.Option(help="A file (TOML) that switches live training rounds on; see docs/federation.md.")
    ] = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout when it starts.")] = False,
    seed: Annotated[int, typer.Option(help="Accepted by every command; serving draws nothing at random.")] = 0,
) -> None:
    """Serve recommendations over HTTP. Requests are neither kept nor logged."""
    tls = uvicorn_tls(host, tls_cert, tls_key)
    with live(bundle, older or (), federation, host) as (app, bundles):
        _listen(app, host, port, tls, {"bundle_version": bundles[0].version}, as_json)


@contextmanager
def live(
    bundle: Path, older: Sequence[Path], federation: Path | None, host: str
) -> Iterator[tuple[FastAPI, list[Bundle]]]:
    """The app and what it serves first; with a federation file, rounds go on until the end."""
    if federation is None:
        bundles = [Bundle.load(path) for path in (bundle, *older)]
        yield create_app(bundles), bundles
        return
    if older:
        raise ServingError("older bundles: are those of earlier rounds with --federation; give none")
    from federation.round_loop import RoundLoop
    from serving.federation_file import FederationFile
    from serving.federation_routes import add_federation

    settings = FederationFile.read(federation)
    settings.check_host(host)
    coordinator, desk = settings.start(bundle, int(time.time()))
    bundles = coordinator.bundles()
    app = create_app(bundles)
    add_federation(app, coordinator, desk, settings.intake)
    loop = RoundLoop(coordinator, app.state.shelf.replace, advances=settings.advances)
    loop.start()
    try:
        yield app, bundles
    finally:
        loop.stop()
        coordinator.stop()


def _listen(app: FastAPI, host: str, port: int, tls: dict[str, Any], started: dict[str, str], as_json: bool) -> None:
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, server_header=False, **tls
    )
    socket = config.bind_socket()
    socket.listen(config.backlog)  # whoever reads the line below may ask at once
    started = {"url": listening_at(host, socket.getsockname()[1], tls), **started}
    typer.echo(json.dumps(started) if as_json else "serving bundle {bundle_version} on {url}".format(**started))
    uvicorn.Server(config).run(sockets=[socket])
