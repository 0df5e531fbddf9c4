"""`ownshelf experiment init`: definitions of the commonest tests, to be filled in."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from data.atomic import write_atomically
from data.errors import DataError
from serving.cli.output import console

_REST = """control: {control}
layer: {{name: {id}, start: 0, stop: 10000}}        # buckets of 10,000; experiments of one layer share no shopper
exposure: {{trigger: list_shown}}                   # a shopper comes in when a list is shown
segments: [{{name: shopper, fact: purchases, cuts: [1], levels: [new, returning]}}]
outcomes:
  - {{name: bought, event: purchase, measure: any}}
  - {{name: spent, event: purchase, measure: value}}
  - {{name: spent_before, event: purchase, measure: value, before_days: 28}}
  - {{name: back_in_week_1, event: session, measure: any, from_day: 7, to_day: 13}}
metrics:
  - {{name: conversion, kind: proportion, numerator: bought, role: primary}}
  - {{name: revenue, numerator: spent, cap: 200, covariate: spent_before, covariate_cap: 200}}   # cap: what few exceed
  - {{name: retention, kind: proportion, numerator: back_in_week_1, role: guardrail, margin: 0.02}}
looks: {{method: group_sequential, count: 5}}       # or always_valid: watched at any time, and wider
starts_at: {starts_at}
ends_at: {ends_at}
outcome_days: 14
minimum_effect: 0.05                              # relative; `ownshelf experiment plan` says whom that needs
privacy: {{epsilon: 1.0, min_reports: 1000}}        # of one device, for all looks together
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


def init(
    template: Annotated[str, typer.Argument(help="What is tested: " + ", ".join(TEMPLATES) + ".")],
    out: Annotated[Path, typer.Option(help="The file to write; never one that exists.")] = Path("experiment.yaml"),
    days: Annotated[int, typer.Option(min=1, max=366, help="Days in which shoppers come in, from tomorrow on.")] = 28,
) -> None:
    """Write a definition to fill in; `ownshelf experiment validate` says what is wrong with it."""
    if template not in TEMPLATES:
        raise DataError(f"template={template!r}: must be one of {', '.join(TEMPLATES)}")
    if out.exists():
        raise DataError(f"out={out}: exists; choose another file")
    tomorrow = datetime.fromtimestamp(time.time(), UTC).date() + timedelta(days=1)
    control, head = TEMPLATES[template]
    values = {"id": template, "control": control, "starts_at": tomorrow, "ends_at": tomorrow + timedelta(days=days)}
    write_atomically(out, (head + _REST).format(**values).encode())
    console.print(f"wrote {out}; next: ownshelf experiment validate {out}", highlight=False)
