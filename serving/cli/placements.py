"""`ownshelf placements`: check a file of surfaces, look at the lists it makes, set it in a running service."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from data.atomic import write_atomically
from data.errors import ServingError
from federation.device.device import Device
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import decode_catalogue, encode_catalogue
from recsys.lists.placements.placement import NO_PLACEMENTS, Placements
from recsys.lists.placements.placements_file import check_against, content_hash, read_placements, to_dict
from serving.cli.errors import OneLineErrors
from serving.cli.options import AsJson
from serving.cli.output import console, print_json

app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, pretty_exceptions_enable=False)
File = Annotated[Path, typer.Argument(help="placements.yaml")]
TIMEOUT_S = 30.0


@app.command()
def check(
    file: File,
    bundle: Annotated[Path | None, typer.Option(help="Check the fields against this bundle's catalogue too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read a file strictly; every mistake is named with its place."""
    placements = read_placements(file)
    held = None
    if bundle is not None:
        opened = Bundle.load(bundle)
        check_against(placements, opened.catalogue)
        sizes = [len(encode_catalogue(replace(opened, placements=some))) for some in (NO_PLACEMENTS, placements)]
        held = (sizes[1] - sizes[0]) / opened.table.n_items
    told = {
        "placements": {name: placement.source for name, placement in placements.placements.items()},
        "attributes": list(placements.carried),
        "hash": content_hash(placements),
        "bytes_an_item": held,
    }
    if as_json:
        print_json(told)
        return
    for name, placement in placements.placements.items():
        console.print(f"{name}: {placement.source}, {placement.top_k} items", highlight=False, markup=False)
    carried = f"; devices hold {', '.join(placements.carried)}" if placements.carried else ""
    size = "" if held is None else f", {held:.1f} bytes an item"
    console.print(f"{len(placements.placements)} placements are good{carried}{size}", highlight=False, markup=False)


@app.command()
def preview(
    bundle: Annotated[Path, typer.Argument(help="A bundle.")],
    file: Annotated[Path | None, typer.Option("--file", help="placements.yaml; the bundle's own by default.")] = None,
    home: Annotated[Path | None, typer.Option(help="A device of one's own, to see its lists too.")] = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("placements.html"),
) -> None:
    """Write one HTML page: each placement for a new shopper, three typical histories, and one's own device."""
    from serving.cli.placement_preview import preview_page

    opened = Bundle.load(bundle)
    if file is not None:
        placements = read_placements(file)
        check_against(placements, opened.catalogue)
        opened = replace(opened, placements=placements)
    catalogue = decode_catalogue(encode_catalogue(opened))  # what a device really holds
    own = None if home is None else Device.open(home).state
    write_atomically(out, preview_page(catalogue, own, int(time.time() * 1e6)).encode())
    console.print(f"{out}", highlight=False, markup=False)


@app.command("set")
def set_(
    file: File,
    service: Annotated[str, typer.Option(help="Address of the service.")],
    key: Annotated[str | None, typer.Option(envvar="OWNSHELF_API_KEY", help="API key that may put items.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set a running service's placements; devices have them at their next refresh, without a new bundle."""
    told = _put(service, key, read_placements(file))
    if as_json:
        typer.echo(json.dumps(told))
    else:
        console.print(f"{len(told['placements'])} placements set, {told['hash'][:16]}", highlight=False, markup=False)


def _put(service: str, key: str | None, placements: Placements) -> dict[str, Any]:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    try:
        with httpx.Client(base_url=service, headers=headers, timeout=TIMEOUT_S, trust_env=False) as client:
            answer = client.put("/v1/placements", json=to_dict(placements))
            body = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ServingError(f"service: cannot be asked ({type(error).__name__})") from None
    if answer.status_code != 200:
        raise ServingError(f"service: {body.get('error', {}).get('message', answer.status_code)}")
    return dict(body)
