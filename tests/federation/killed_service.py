"""Services that are killed, kill -9, at a chosen write: the program of killed_custodian with another command in it."""

from __future__ import annotations

import typer

import serving.federation_file
import serving.federation_routes
from serving.serve_cli import serve_command
from tests.federation.killed_custodian import main

LOADED = (serving.federation_file, serving.federation_routes)
"""What `serve` imports when it runs, imported once for all."""

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(serve_command)

if __name__ == "__main__":
    main(app)
