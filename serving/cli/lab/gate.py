"""`ownshelf gate`: whether a new bundle may replace the old one, judged on what happened after both were trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer
from rich.table import Table

from data.dataset import Dataset
from data.errors import DataError
from data.split import parse_time
from federation.lab.release.evidence import gather_audience, judge_bundles
from recsys.catalogue.bundle import Bundle
from recsys.fairness.gate import GatePolicy
from recsys.fairness.gate_file import write_gate
from serving.cli.lab.lab import Json, Seed
from serving.cli.output import console, jsonable, print_json

DEFAULT = GatePolicy()
UsersFile = Annotated[
    Path | None, typer.Option("--users", help="csv or parquet: user_id and declared attributes, one row a shopper")
]


def gate_command(
    new: Annotated[Path, typer.Argument(metavar="NEW", help="bundle that is to be served")],
    against: Annotated[Path, typer.Option(help="bundle that is served now")],
    on: Annotated[str, typer.Option(metavar="DATASET", help="log that goes on after both were trained")],
    users: UsersFile = None,
    protocol: Annotated[str, typer.Option(help="auto, temporal, sessions or leave-last-out")] = "auto",
    split_at: Annotated[
        str | None, typer.Option(help="ISO time: judge on what came after; default: until when both learned")
    ] = None,
    quality_margin: Annotated[
        float, typer.Option(help="share of the old quality that may be lost")
    ] = DEFAULT.quality_margin,
    group_margin: Annotated[
        float, typer.Option(help="by how much a group's gap may widen, as a share of the old quality")
    ] = DEFAULT.group_margin,
    tail_floor: Annotated[
        float | None, typer.Option(help="least share of the tail in all list places; default 4/5 of the old share")
    ] = DEFAULT.tail_floor,
    epsilon: Annotated[
        float | None, typer.Option(help="most that a device may have spent; default: what OLD promised")
    ] = DEFAULT.epsilon,
    max_age_days: Annotated[
        float, typer.Option(help="days of the log after what NEW learned from, at most")
    ] = DEFAULT.max_age_days,
    min_group: Annotated[int, typer.Option(help="least shoppers of a group that is judged")] = DEFAULT.min_group,
    k: Annotated[int, typer.Option(min=1, max=1000, help="length of a list")] = 20,
    as_json: Json = False,
    seed: Seed = 0,
) -> None:
    """Judge a new bundle against the old one; writes NEW.gate.json beside it and exits with 1 if a check fails."""
    policy = GatePolicy(
        quality_margin=quality_margin,
        group_margin=group_margin,
        tail_floor=tail_floor,
        min_group=min_group,
        epsilon=epsilon,
        max_age_days=max_age_days,
    )
    candidate, current = Bundle.load(new), Bundle.load(against)
    audience = gather_audience(
        Dataset.open(on),
        [candidate, current],
        attributes=None if users is None else read_users(users),
        protocol=protocol,
        k=k,
        at=None if split_at is None else parse_time(split_at),
    )
    judged = judge_bundles(candidate, current, audience, policy, seed=seed)
    result = jsonable(judged.to_dict() | {"dataset": on, "seed": seed})
    path = write_gate(new, result)
    if as_json:
        print_json(result | {"written": str(path)})
    else:
        print_gate(result)
    if not judged.passed:
        raise typer.Exit(1)


def read_users(path: Path) -> pl.DataFrame:
    """Read a users file, every column as text. Raises DataError for what is no csv or parquet."""
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path).cast(pl.String)
        return pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a csv or parquet file ({type(error).__name__})") from None


def print_gate(result: Mapping[str, Any]) -> None:
    """Print GateResult.to_dict for people."""
    verdict = "passed" if result["passed"] else "blocked"
    table = Table(title=f"{verdict}: {result['new']} against {result['old']}", title_justify="left")
    for name in ("check", "", "p, Holm", "why"):
        table.add_column(name)
    for check in result["checks"]:
        p = "-" if check["p_holm"] is None else f"{check['p_holm']:.3f}"
        table.add_row(check["name"], "ok" if check["passed"] else "FAILED", p, check["reason"])
    console.print(table)
    console.print(f"{result['users']:,} shoppers, split {result['about']['split']}", highlight=False)
