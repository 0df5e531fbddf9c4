"""`ownshelf plan`: a privacy plan as a file, for the custodian, the service and the devices' policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from data.atomic import write_atomically
from data.errors import ServingError
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import PRIVATE_CLIPS, Clips
from serving.cli.output import console, print_json


def plan_command(
    out: Annotated[Path, typer.Argument(help="The file to write (JSON).")],
    epsilon: Annotated[float, typer.Option(help="ε of an installation's whole life under the plan; inf: no noise.")],
    delta: Annotated[float, typer.Option(help="δ beside it.")] = 1e-6,
    participations: Annotated[int, typer.Option(min=1, help="Rounds an installation takes part in, ever.")] = 6,
    min_reports: Annotated[int, typer.Option(min=1, help="Reports below which nothing is summed.")] = 50,
    max_reports: Annotated[int, typer.Option(min=1, help="Reports of one sum at most.")] = 5_000,
    max_rounds: Annotated[int, typer.Option(min=1, help="Rounds the custodian answers for.")] = 1_000,
    per_period: Annotated[int, typer.Option(min=0, help="Of these, within one period at most; 0: no bound.")] = 0,
    period: Annotated[float, typer.Option(min=0.001, help="Days of a period.")] = 1.0,
    min_items: Annotated[int, typer.Option(min=1, help="Items of a catalogue that may be trained, at least.")] = 100,
    min_dim: Annotated[int, typer.Option(min=1, help="Dimensions of its table, at least.")] = 4,
    clip_rows: Annotated[float, typer.Option(help="L2 bound of an update's rows.")] = PRIVATE_CLIPS.rows,
    clip_counts: Annotated[float, typer.Option(help="Of its counts.")] = PRIVATE_CLIPS.counts,
    clip_second: Annotated[float, typer.Option(help="Of its second moment.")] = PRIVATE_CLIPS.second,
    clip_first: Annotated[float, typer.Option(help="Of its profile.")] = PRIVATE_CLIPS.first,
    overwrite: Annotated[bool, typer.Option(help="Replace the file if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Calibrate the noise to a lifetime ε and write the plan that all three parties agree on."""
    if out.exists() and not overwrite:
        raise ServingError(f"{out}: exists already; a plan is agreed on once, or pass --overwrite")
    plan = PrivacyPlan.calibrated(
        epsilon,
        delta,
        participations,
        Clips(clip_rows, clip_counts, clip_second, clip_first),
        min_reports=min_reports,
        max_reports=max_reports,
        max_rounds=max_rounds,
    )
    plan = replace(
        plan,
        max_per_period=per_period,
        period_s=max(1, round(period * 86_400)),
        min_items=min_items,
        min_dim=min_dim,
    )
    write_atomically(out, (plan.to_json() + "\n").encode())
    statement = plan.statement() | {"plan": str(out)}
    if as_json:
        print_json(statement)
    else:
        for name, value in statement.items():
            console.print(f"{name:>18}  {value}", highlight=False)
