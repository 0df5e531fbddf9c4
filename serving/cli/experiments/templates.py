"""`ownshelf experiment init` and `quick`: definitions of the commonest tests, to fill in, or to start at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from data.atomic import write_atomically
from data.errors import DataError
from serving.cli.output import console

_REST = """control: {control}
layer: {{name: {layer}, start: 0, stop: 10000}}        # buckets of 10,000; experiments of one layer share no shopper
exposure: {exposure}  # a shopper comes in when a list is shown
segments: [{{name: shopper, fact: purchases, cuts: [1], levels: [new, returning]}}]
outcomes:
  - {{name: bought, event: purchase, measure: any}}
  - {{name: spent, event: purchase, measure: value}}
  - {{name: spent_before, event: purchase, measure: value, before_days: 28}}
{retention_outcome}metrics:
  - {{name: conversion, kind: proportion, numerator: bought, role: primary}}
  - {{name: revenue, numerator: spent, cap: 200, covariate: spent_before, covariate_cap: 200}}   # cap: what few exceed
{retention_metric}looks: {{method: group_sequential, count: {looks}}}   # or always_valid: at any time, and wider
starts_at: {starts_at}
ends_at: {ends_at}
outcome_days: {outcome_days}
minimum_effect: 0.05                              # relative; `ownshelf experiment plan` says whom that needs
privacy: {{epsilon: {epsilon}, min_reports: {min_reports}}}        # of one device, for all looks together
"""
TEMPLATES = {
    "personalized-against-global": (
        "global",
        "# Does a personal list earn more than the one list for everybody?\n"
        "id: {id}\n"
        "arms:\n"
        "  - {{name: global, settings: {{model: global}}}}\n"
        "  - {{name: personal, settings: {{model: personalized}}}}\n",
    ),
    "two-settings": (
        "as_now",
        "# Does one setting of a list do better than what shoppers get now?\n"
        "id: {id}\n"
        "arms:\n"
        "  - {{name: as_now}}\n"
        "  - {{name: more_diverse, settings: {{diversity: 0.3}}}}   # or trend_weight, repeat_weight, bundle_version\n",
    ),
}


_RETENTION_OUTCOME = "  - {name: back_in_week_1, event: list, measure: any, from_day: 7, to_day: 13}\n"
_RETENTION_METRIC = (
    "  - {name: retention, kind: proportion, numerator: back_in_week_1, role: guardrail, margin: 0.02}\n"
)
RETENTION_DAYS = 14

Days = Annotated[int, typer.Option(min=1, max=366, help="Days in which shoppers come in.")]


def fill_in(
    template: str,
    *,
    name: str,
    starts_at: datetime,
    days: int,
    surface: str | None = None,
    layer: str = "",
    looks: int = 5,
    outcome_days: int = RETENTION_DAYS,
    epsilon: float | None = 1.0,
    min_reports: int = 1_000,
) -> str:
    """Write a template's definition as YAML. Retention is left out where outcomes end before the second week does."""
    control, head = TEMPLATES[template]
    whole = outcome_days >= RETENTION_DAYS
    values = {
        "id": name,
        "control": control,
        "layer": layer or name,
        "exposure": "{trigger: list_shown" + ("" if surface is None else f", surface: {surface}") + "}",
        "retention_outcome": _RETENTION_OUTCOME if whole else "",
        "retention_metric": _RETENTION_METRIC if whole else "",
        "looks": looks,
        "outcome_days": outcome_days,
        "epsilon": "null" if epsilon is None else epsilon,
        "min_reports": min_reports,
        "starts_at": _written(starts_at),
        "ends_at": _written(starts_at + timedelta(days=days)),
    }
    return (head + _REST).format(**values)


def _written(moment: datetime) -> str:
    """Write a moment as a date where it is a day's beginning."""
    day = moment.astimezone(UTC)
    return day.date().isoformat() if (day.hour, day.minute, day.second) == (0, 0, 0) else day.isoformat()


def init(
    template: Annotated[str, typer.Argument(help="What is tested: " + ", ".join(TEMPLATES) + ".")],
    out: Annotated[Path, typer.Option(help="The file to write; never one that exists.")] = Path("experiment.yaml"),
    days: Days = 28,
) -> None:
    """Write a definition to fill in, from tomorrow on; `ownshelf experiment validate` says what is wrong with it."""
    if template not in TEMPLATES:
        raise DataError(f"template={template!r}: must be one of {', '.join(TEMPLATES)}")
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    write_new(out, fill_in(template, name=template, starts_at=tomorrow, days=days))
    console.print(f"wrote {out}; next: ownshelf experiment validate {out}", highlight=False)


def write_new(out: Path, text: str) -> None:
    """Write a file that is not there yet. Raises DataError for one that is."""
    if out.exists():
        raise DataError(f"out={out}: exists; choose another file")
    write_atomically(out, text.encode())
