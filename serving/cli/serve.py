"""`ownshelf serve`: the service, in this process or in several; over TLS, or in clear on this machine only."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from recsys.catalogue.bundle import Bundle
from serving.cli.serve_options import with_settings
from serving.process.core_dumps import forbid_core_dumps
from serving.process.log_lines import write_log_lines
from serving.process.running_service import Job, live, rounds_advanced
from serving.process.settings import read_settings, unknown_variables
from serving.process.tls import listening_at, uvicorn_tls
from serving.process.workers import Listener, run_here, run_workers
from serving.state.state_url import copies_folder

OPEN_WARNING = (
    "requests need no API key: whoever reaches this port may ask, and change items; "
    "`ownshelf keys create --state FOLDER`, then serve with --state and --require-keys"
)


@with_settings
def serve_command(
    bundle: Annotated[Path, typer.Argument(help="The current bundle.")],
    older: Annotated[list[Path] | None, typer.Argument(help="Earlier bundles that are still answered.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Say what is wrong with all this, and start nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout when it starts.")] = False,
    **options: Any,
) -> None:
    """Serve recommendations over HTTP. Bodies, queries and items of requests are neither kept nor logged.

    Every option is also an environment variable, OWNSHELF_ and its name; the option counts.
    """
    if check:
        from serving.process.serve_check import print_checks

        raise typer.Exit(print_checks(bundle, tuple(older or ()), options, as_json))
    forbid_core_dumps()
    for sentence in unknown_variables():
        typer.echo(f"warning: {sentence}", err=True)
    job = Job(bundle, tuple(older or ()), read_settings(options))
    tls = uvicorn_tls(job.settings.host, job.settings.tls_cert, job.settings.tls_key)
    job.check()
    write_log_lines(job.settings.log_level)
    with tempfile.TemporaryDirectory(prefix="ownshelf-bundles-") as passing:
        _serve(replace(job, copies=_copies_folder(job) or Path(passing)), tls, as_json)


def _copies_folder(job: Job) -> Path | None:
    """Choose where bundles are copied to; None for a folder that goes with the process."""
    url = job.settings.state_url()
    return job.settings.bundle_folder or (None if url is None else copies_folder(url))


def _serve(job: Job, tls: dict[str, Any], as_json: bool) -> None:
    if job.settings.workers == 1:
        with live(job) as (app, bundles):
            listener = Listener.open(app, job.settings, tls)
            _say(job, listener, bundles, tls, as_json)
            run_here(listener)
        return
    if job.settings.federation is None:
        bundles = [Bundle.load(folder) for folder in (job.bundle, *job.older)]
        _share(job, bundles, tls, as_json)
    else:
        with rounds_advanced(job.settings, job.bundle) as bundles:
            _share(job, bundles, tls, as_json)


def _share(job: Job, bundles: list[Bundle], tls: dict[str, Any], as_json: bool) -> None:
    listener = Listener.open(job, job.settings, tls)
    _say(job, listener, bundles, tls, as_json)
    run_workers(listener)


def _say(job: Job, listener: Listener, bundles: list[Bundle], tls: dict[str, Any], as_json: bool) -> None:
    host, port = listener.config.host, listener.socket.getsockname()[1]
    started = {"url": listening_at(host, port, tls), "bundle_version": bundles[0].version}
    typer.echo(json.dumps(started) if as_json else "serving bundle {bundle_version} on {url}".format(**started))
    sys.stdout.flush()
    if job.is_open:
        typer.echo(f"warning: {OPEN_WARNING}", err=True)
