"""`ownshelf audit`: which shoppers and which items a bundle serves worse, with groups from a private sum."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from data.dataset import Dataset
from data.split import parse_time
from federation.lab.release.audit import audit_release, floor_cost
from federation.lab.release.evidence import gather_audience
from recsys.catalogue.bundle import Bundle
from recsys.fairness.exposure_floor import ExposureFloor
from serving.cli.lab.gate import UsersFile, read_users
from serving.cli.lab.lab import Delta, Json, Seed
from serving.cli.output import console, jsonable, print_json


def audit_command(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="log that goes on after the bundle was trained")],
    bundle: Annotated[Path, typer.Option(help="bundle whose lists are audited")],
    users: UsersFile = None,
    split_at: Annotated[str | None, typer.Option(help="ISO time; default: until when the bundle learned")] = None,
    floor: Annotated[
        float | None, typer.Option(help="also hold the tail at this share of list places, and say what it costs")
    ] = None,
    epsilon: Annotated[float, typer.Option(min=1e-3, help="ε of a device for the whole audit")] = 4.0,
    delta: Delta = 1e-6,
    k: Annotated[int, typer.Option(min=1, max=1000, help="length of a list")] = 20,
    as_json: Json = False,
    seed: Seed = 0,
) -> None:
    """Audit a bundle's lists: by groups of shoppers and their intersections, and by kinds of items."""
    loaded, opened = Bundle.load(bundle), Dataset.open(dataset)
    attributes = None if users is None else read_users(users)
    at = None if split_at is None else parse_time(split_at)
    audience = gather_audience(opened, [loaded], attributes=attributes, k=k, at=at)
    lists = audience.lists_of(loaded)
    audit = audit_release(audience, lists, opened.catalogue, epsilon=epsilon, delta=delta, seed=seed)
    cost = None if floor is None else floor_cost(audience, loaded, ExposureFloor(floor), seed=seed)
    result = jsonable(
        audit.to_dict()
        | {"floor": None if cost is None else cost.to_dict(), "dataset": opened.name, "bundle": loaded.version}
    )
    if as_json:
        print_json(result)
    else:
        print_audit(result)


def print_audit(result: Mapping[str, Any]) -> None:
    """Print Audit.to_dict for people."""
    table = Table(title="groups of shoppers; gap: the others' mean NDCG less the group's", title_justify="left")
    for name in ("group", "shoppers", "NDCG", "gap", "p, Holm"):
        table.add_column(name)
    hidden = 0
    for row in result["groups"]:
        if row["shoppers"] is None:
            hidden += 1
            continue
        low, high = row["gap_ci95"]
        gap = f"{row['gap']:+.3f} [dim]{low:+.3f} to {high:+.3f}[/dim]"
        table.add_row(row["group"], f"{row['shoppers']:.0f}", f"{row['ndcg']:.3f}", gap, f"{row['p_holm']:.4f}")
    console.print(table)
    privacy, items = result["privacy"], result["items"]
    console.print(
        f"{hidden} groups are hidden: too small, or others would tell them; ε of a device {privacy['epsilon']:g}",
        highlight=False,
    )
    bands = Table(title="exposure of items, weighted by position, and what they earned", title_justify="left")
    for name in ("items", "number", "exposure", "earned"):
        bands.add_column(name)
    for kind, rows in items["bands"].items():
        for row in rows:
            share, earned = f"{row['exposure']:.1%}", f"{row['earned']:.1%}"
            bands.add_row(f"{kind}: {row['band']}", f"{row['items']:,}", share, earned)
    console.print(bands)
    console.print(
        f"tail {items['tail_share']:.1%} of exposure, coverage {items['coverage']:.1%}, Gini {items['gini']:.3f}, "
        f"EE-D {items['ee_d']:.4f}, EE-R {items['ee_r']:.4f}",
        highlight=False,
    )
    if result["floor"] is not None:
        held = result["floor"]
        console.print(
            f"with a floor of {held['floor']:.1%} the tail has {held['share']:.1%} (before {held['share_before']:.1%}) "
            f"of shoppers' lists, at a price of {held['price']:.3f} and {held['loss']:+.2%} of their NDCG lost",
            highlight=False,
        )
