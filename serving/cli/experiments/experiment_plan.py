"""`ownshelf experiment plan`: shoppers, days and least effects of an experiment, from a log's own variance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from data.atomic import write_atomically
from recsys.experiments.definition.definition_file import read_experiment
from serving.cli.experiments.experiment_rehearsal import Epsilon, Json, On, with_epsilon
from serving.cli.experiments.service_commands import File
from serving.cli.output import console, jsonable, print_json


def plan(
    file: File,
    on: On,
    epsilon: Epsilon = None,
    out: Annotated[Path | None, typer.Option(help="folder for plan.json and plan.png")] = None,
    as_json: Json = False,
) -> None:
    """Plan an experiment on a log: how many shoppers and days its minimum effect needs, with and without covariate."""
    from data.dataset import Dataset
    from federation.lab.rehearsal import plan_on
    from recsys.experiments.analysis.experiment_plots import plot_plan

    found = plan_on(Dataset.open(on), with_epsilon(read_experiment(file), epsilon))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "plan.json", json.dumps(jsonable(found), indent=1).encode())
        plot_plan(found, out / "plan.png")
    if as_json:
        print_json(found)
    else:
        console.print("\n".join(lines_of(found)), highlight=False, markup=False, soft_wrap=True)


def lines_of(plan: dict[str, Any]) -> list[str]:
    """Put a plan in words: every metric by the experiment's own method and by one fixed look."""
    lines = [
        f"{plan['experiment']} on {plan['dataset']}: {plan['log_shoppers']:,} shoppers in {plan['log_days']:g} "
        f"days, {plan['shoppers_per_day']:,.1f} a day in control and one arm; {plan['minimum_effect']:.1%} with "
        f"power {plan['power']:.0%} at alpha {plan['alpha']:g}"
    ]
    for row in plan["metrics"]:
        lines.append(f"{row['metric']} ({row['role']}): {row['value']:.4g}, standard deviation {row['sd']:.4g}")
        lines += _covariate_lines(row)
        for design in ("fixed", plan["method"]):
            for way, needed in row["designs"][design].items():
                lines.append(
                    f"  {design.replace('_', ' ')}, {way.replace('_', ' ')}: {needed['shoppers']:,} shoppers, "
                    f"{needed['days']:,.0f} days (expected {needed['expected_days']:,.0f})"
                )
    return lines


def _covariate_lines(row: dict[str, Any]) -> list[str]:
    """Say what a metric's covariate takes of the variance, and warn where noise hides its coefficient."""
    if "covariate" not in row:
        return []
    from recsys.experiments.rehearsal.log_planning import UNSURE

    under, error = row["covariate"], row["covariate"]["coefficient_error"]
    lines = [
        f"  the covariate takes {row['reduction']:.1%} of the variance away, with noise {under['reduction']:.1%} at "
        f"{under['shoppers']:,} shoppers"
    ]
    if error > UNSURE:
        lines.append(
            f"  warning: noise leaves its coefficient uncertain by {error:.0%} of itself there: lower the caps, "
            "sum fewer metrics, look less often, or leave the covariate out"
        )
    return lines
