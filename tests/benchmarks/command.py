"""`ownshelf bench NAME`: run a benchmark of this folder and print its figures; the package has no part in it."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Annotated

import typer

from data.errors import OwnshelfError
from serving.cli.output import console, errors, jsonable, print_json

FOLDER = Path(__file__).resolve().parent


def bench_command(
    name: Annotated[str, typer.Argument(help="name of a benchmark, such as simulation")],
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable JSON on stdout")] = False,
    seed: Annotated[int, typer.Option(help="seed of every draw")] = 0,
    members: Annotated[str, typer.Option(help="zoo: names of members, comma-separated; default all")] = "",
) -> None:
    """Run a benchmark of the repository."""
    known = sorted(path.stem.replace("_", "-") for path in FOLDER.glob("*.py") if "def run(" in path.read_text())
    if name not in known:
        raise OwnshelfError(f"bench {name!r}: must be one of {', '.join(known)}")
    module = importlib.import_module(f"tests.benchmarks.{name.replace('-', '_')}")
    accepted = inspect.signature(module.run).parameters
    if members and "members" not in accepted:
        raise OwnshelfError(f"bench {name}: has no members to choose from; leave --members out")
    offered = {
        "seed": seed,
        "members": members,
        "say": lambda text: errors.print(f"[dim]{text}[/dim]", highlight=False),
    }
    figures = module.run(**{key: value for key, value in offered.items() if key in accepted})
    machine = importlib.import_module("tests.benchmarks").machine()
    if as_json:
        print_json({"bench": name, "figures": figures, "machine": machine})
    elif hasattr(module, "show"):
        module.show(figures, console)
    else:
        console.print_json(data=jsonable({"bench": name, "figures": figures, "machine": machine}))
