"""Services that are killed, kill -9, at a chosen write: the program of killed_custodian with another command in it."""

from __future__ import annotations

import typer

import serving.http.resources.federation_routes
import serving.process.federation_file
from serving.cli.serve import serve_command
from tests.federation.custodian.killed_custodian import main

LOADED = (serving.process.federation_file, serving.http.resources.federation_routes)
"""What `serve` imports when it runs, imported once for all."""

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(serve_command)

if __name__ == "__main__":
    main(app)
