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

HIDDEN = 0.05
"""Chance that noise hides a metric's variance from which a warning is due."""


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

    made = plan_on(Dataset.open(on), with_epsilon(read_experiment(file), epsilon))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / "plan.json", json.dumps(jsonable(made), indent=1).encode())
        if any("problem" not in row for row in made["metrics"]):
            plot_plan(made, out / "plan.png")
    if as_json:
        print_json(made)
    else:
        console.print("\n".join(lines_of(made)), highlight=False, markup=False, soft_wrap=True)


def lines_of(values: dict[str, Any]) -> list[str]:
    """Return a plan in words: every metric by the experiment's own method and by one fixed look."""
    lines = [
        f"{values['experiment']} on {values['dataset']}: {values['log_shoppers']:,} shoppers in {values['log_days']:g} "
        f"days, {values['shoppers_per_day']:,.1f} a day in control and one arm; {values['minimum_effect']:.1%} with "
        f"power {values['power']:.0%} at alpha {values['alpha']:g}"
    ]
    for row in values["metrics"]:
        if "problem" in row:
            lines.append(f"{row['metric']} ({row['role']}): not planned: {row['problem']}")
            continue
        lines.append(f"{row['metric']} ({row['role']}): {row['value']:.4g}, standard deviation {row['sd']:.4g}")
        lines += _covariate_lines(row)
        for design in ("fixed", values["method"]):
            for way, needed in row["designs"][design].items():
                lines.append(
                    f"  {design.replace('_', ' ')}, {way.replace('_', ' ')}: {needed['shoppers']:,} shoppers, "
                    f"{needed['days']:,.0f} days (expected {needed['expected_days']:,.0f})"
                )
        lines += _declared_lines(row, values)
    if values["centres"]:
        centres = values["centres"]
        told = ", ".join(f"{name} {value:g}" for name, value in centres["columns"].items())
        lines.append(
            f"suggested centres: {told}: the primary metric then needs {centres['shoppers']:,} shoppers instead of "
            f"{centres['before']:,}"
        )
    return lines


def _declared_lines(row: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """Return what the declared dates can show, and what skewness and noise do by then."""
    lines = []
    if "declared" in row:
        lines.append(
            f"  by the declared dates: {row['declared']['shoppers']:,} shoppers in "
            f"{values['declared_days']:,.0f} days, least effect {row['declared']['minimum_effect']:.1%}"
        )
    if row["skew"]:
        skew = row["skew"]
        cap = "no cap is enough" if skew["cap"] is None else f"cap it at {skew['cap']:.4g}"
        lines.append(
            f"  warning: skewness {skew['skewness']:.1f}: {skew['size']:.1%} false alarms instead of "
            f"{skew['alpha']:.1%} with {' against '.join(f'{n:,}' for n in skew['arms'])} shoppers: {cap}, or have "
            f"{skew['shoppers']:,} in the smaller arm"
        )
    if row["hidden_variance"] > HIDDEN:
        lines.append(
            f"  warning: noise hides its variance in {row['hidden_variance']:.0%} of arms of that size, where its "
            "interval is the widest that caps allow: lower the caps, declare centres, look less often, or have more "
            "shoppers"
        )
    return lines


def _covariate_lines(row: dict[str, Any]) -> list[str]:
    """Return what a metric's covariate takes of the variance, and a warning where noise hides its coefficient."""
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
