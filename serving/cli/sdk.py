"""`ownshelf sdk`: the browser SDK's files for a shop's own host, with the hashes that pin them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from data.atomic import write_atomically
from data.errors import ServingError
from recsys.reports.templates import render
from serving.browser.files import PAGES, browser_files, integrity
from serving.cli.output import print_json

INTEGRITY, SNIPPET = "integrity.json", "snippet.html"


def sdk_command(
    folder: Annotated[Path, typer.Argument(help="Where the files go, as a shop's host will serve them.")],
    at: Annotated[str, typer.Option(help="Path or address under which they will be served.")] = "/ownshelf/",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Write the browser SDK, for the shop's own host: whoever serves a page's code sees what the page sees."""
    if folder.exists() and not folder.is_dir():
        raise ServingError(f"{folder}: is a file; choose a folder")
    base = at.rstrip("/") + "/"
    folder.mkdir(parents=True, exist_ok=True)
    files = browser_files("dist")
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / name, content)
    hashes = {name: integrity(content) for name, content in files.items() if name.endswith(".js")}
    write_atomically(folder / INTEGRITY, (json.dumps(hashes, indent=1, sort_keys=True) + "\n").encode())
    write_atomically(folder / SNIPPET, snippet(base, hashes).encode())
    if as_json:
        print_json({"folder": str(folder), "integrity": hashes})
        return
    for name, value in hashes.items():
        typer.echo(f"{name}  {value}")
    typer.echo(f"{folder / SNIPPET}: what goes into the head of a page; the hashes pin every file that it loads")


def snippet(base: str, hashes: dict[str, str]) -> str:
    """Write the head of a page that loads the SDK from `base` and nothing that has other hashes."""
    pinned = {base + name: value for name, value in sorted(hashes.items())}
    return render(PAGES, SNIPPET, pinned=pinned, index=base + "index.js", hash=hashes["index.js"])
