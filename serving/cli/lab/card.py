"""`ownshelf card`: what a bundle is, how well it serves whom, and what it cost, on one page for everybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from data.atomic import write_atomically
from data.dataset import Dataset
from federation.lab.release.card import describe_release
from federation.lab.release.card_page import card_html, card_markdown
from recsys.catalogue.bundle import Bundle
from serving.cli.lab.gate import UsersFile, read_users
from serving.cli.lab.lab import Json, Seed
from serving.cli.output import console, jsonable, print_json


def card_command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="bundle to describe")],
    on: Annotated[
        str | None,
        typer.Option(metavar="DATASET", help="log that goes on after it was trained; else nothing is measured"),
    ] = None,
    previous: Annotated[Path | None, typer.Option(help="bundle before it, to say what changed")] = None,
    licence: Annotated[str | None, typer.Option(help="licence of the data; bundled logs have theirs")] = None,
    users: UsersFile = None,
    k: Annotated[int, typer.Option(min=1, max=1000, help="length of a list")] = 20,
    out: Annotated[Path | None, typer.Option(help="folder for the pages; default: beside the bundle")] = None,
    as_json: Json = False,
    seed: Seed = 0,
) -> None:
    """Write the model card: NAME.card.html, NAME.card.md and their figures, NAME.card.json."""
    described = describe_release(
        Bundle.load(bundle),
        dataset=None if on is None else Dataset.open(on),
        previous=None if previous is None else Bundle.load(previous),
        licence=licence,
        attributes=None if users is None else read_users(users),
        k=k,
        seed=seed,
    )
    card = jsonable(described)
    folder = bundle.absolute().parent if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    name = bundle.absolute().name
    pages = {"html": card_html(card), "md": card_markdown(card), "json": json.dumps(card, indent=1, ensure_ascii=False)}
    for ending, text in pages.items():
        write_atomically(folder / f"{name}.card.{ending}", text.encode())
    if as_json:
        print_json(card)
        return
    for ending in pages:
        console.print(str(folder / f"{name}.card.{ending}"), highlight=False, markup=False)
    for sentence in card["limits"]:
        console.print(sentence, highlight=False, markup=False)
