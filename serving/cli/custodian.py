"""`ownshelf custodian`: the second party of the private sum, a process of its own that loads no model and no torch."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from data.errors import ServingError
from federation.custodian.custodian import Custodian
from federation.custodian.policy import ExperimentTerms
from federation.learning.privacy_plan import PrivacyPlan
from federation.protocol.transport import is_loopback
from federation.storage.key_files import read_public_key
from serving.cli.errors import OneLineCommand
from serving.http.custodian.custodian_app import CustodianSettings, create_custodian_app
from serving.http.wire_protocol import BoundedHttp
from serving.process.core_dumps import forbid_core_dumps
from serving.process.tls import TlsCert, TlsKey, listening_at, uvicorn_tls

log = logging.getLogger("ownshelf.federation")

EXPIRE_EVERY_S = 3_600.0

program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
"""The command as a program of its own: `python -m serving.cli.custodian`."""


@program.command("custodian", cls=OneLineCommand)
def custodian_command(
    folder: Annotated[Path, typer.Argument(help="Its own folder: signing key, round keys, database. Made if missing.")],
    plan: Annotated[Path, typer.Option(help="The privacy plan (JSON) it answers for; fixed by the first start.")],
    service_key: Annotated[
        str, typer.Option(help="The service's public key: 64 hexadecimal digits, or a file of them.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8001,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    database: Annotated[
        str | None, typer.Option(help="postgresql://… ; default: an SQLite file in the folder.")
    ] = None,
    experiments: Annotated[
        Path | None,
        typer.Option(help="Terms (JSON) on which it signs windows of experiments: docs/experiments.md; else none."),
    ] = None,
    max_body_mb: Annotated[
        int, typer.Option(min=1, help="Largest batch it reads; no task that could have a larger one is signed.")
    ] = 128,
    accept_restore: Annotated[
        bool, typer.Option("--accept-restore", help="Go on with a database restored from a backup: docs/operate.md.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout when it listens.")] = False,
) -> None:
    """Run the custodian, which opens seeds, adds noise and keeps the privacy ledger, where the service cannot read."""
    forbid_core_dumps()
    tls, promise, service = uvicorn_tls(host, tls_cert, tls_key), read_plan(plan), read_public_key(service_key)
    terms = None if experiments is None else read_terms(experiments)
    noisy = promise.private and (terms is None or math.isfinite(terms.max_epsilon))
    if not noisy and not is_loopback(host):
        raise ServingError(f"host={host}: must be this machine (127.0.0.1) with privacy off (noise_multiplier=0)")
    os.umask(0o077)  # report ids and ledger are nobody else's on this machine
    max_bytes = max_body_mb * 2**20
    custodian = Custodian.open(
        folder, promise, int(time.time()), database, terms, max_batch_bytes=max_bytes, accept_restore=accept_restore
    )
    ended = threading.Event()
    keeping = threading.Thread(target=_expire, args=(custodian, ended), daemon=True)
    keeping.start()
    try:
        http = create_custodian_app(custodian, service, CustodianSettings(max_bytes))
        _listen(http, custodian, host, port, tls, as_json)
    finally:
        ended.set()
        keeping.join()
        custodian.shut()


def _expire(custodian: Custodian, ended: threading.Event) -> None:
    """Destroy what nobody closed, every hour: a service that has died must not keep a key alive."""
    while not ended.wait(EXPIRE_EVERY_S):
        try:
            custodian.expire(int(time.time()))
        except SQLAlchemyError as error:
            log.error("expiry: %s, tried again", type(error).__name__)


def read_plan(path: Path) -> PrivacyPlan:
    """Read the plan of a JSON file."""
    try:
        return PrivacyPlan.from_json(path.read_bytes())
    except OSError as error:
        raise ServingError(f"plan={path}: cannot be read ({type(error).__name__})") from None


def read_terms(path: Path) -> ExperimentTerms:
    """Read the terms of a JSON file."""
    try:
        return ExperimentTerms.from_json(path.read_bytes())
    except OSError as error:
        raise ServingError(f"experiments={path}: cannot be read ({type(error).__name__})") from None


def _listen(app: FastAPI, custodian: Custodian, host: str, port: int, tls: dict[str, Any], as_json: bool) -> None:
    config = uvicorn.Config(
        app,
        http=BoundedHttp,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        proxy_headers=False,
        ws="none",
        **tls,
    )
    socket = config.bind_socket()
    socket.listen(config.backlog)  # whoever reads the line below may ask at once
    started = {
        "url": listening_at(host, socket.getsockname()[1], tls),
        "public_key": custodian.key.public.hex(),
        "private": custodian.plan.private,
    }
    typer.echo(json.dumps(started) if as_json else "custodian on {url}, public key {public_key}".format(**started))
    # The accountant takes longer to load than all the rest: ready before the first answer needs it.
    threading.Thread(target=custodian.plan.epsilon_after, args=(1,), daemon=True).start()
    uvicorn.Server(config).run(sockets=[socket])


if __name__ == "__main__":
    program()
