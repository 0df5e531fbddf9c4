"""Change logs on the command line: who acts, and how a log is printed."""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from dataclasses import asdict

import typer

from data.split import iso
from federation.storage.change_log import ChangeEntry


def print_changes(entries: Sequence[ChangeEntry], as_json: bool) -> None:
    """Print a log, oldest entry first; `head` is the hash that seals it all."""
    rows = [{"sequence": entry.sequence, **asdict(entry.change), "hash": entry.hash} for entry in entries]
    if as_json:
        typer.echo(json.dumps({"changes": rows, "head": rows[-1]["hash"] if rows else None}))
        return
    for row in rows:
        when, version = iso(row["at"] * 1_000_000), row["version"] or "-"
        typer.echo(f"{row['sequence']:>4}  {when}  {row['action']:<18}{version:<18}{row['who']}  {row['why']}")


def operator() -> str:
    """Name the user of this machine who runs the command; `unknown` where the machine has no name for it."""
    try:
        return getpass.getuser()[:64] or "unknown"
    except (KeyError, OSError, ImportError):  # a container's user may have no entry
        return "unknown"
