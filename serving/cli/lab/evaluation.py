"""What `ownshelf evaluate` is asked and what it says: models, targets, the table and the sentence at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data.errors import DataError
from data.interactions import EventKind
from recsys.evaluation.arm_names import DEFAULT_ARMS
from serving.cli.output import console, models_table


def parse_target(word: str) -> EventKind | None:
    """Parse the kind of event that --target names; None for `any`. Raises DataError for another word."""
    kinds = {kind.name.lower(): kind for kind in EventKind if kind != EventKind.DISLIKE}
    if word != "any" and word not in kinds:
        raise DataError(f"target={word!r}: must be any, {', '.join(kinds)}")
    return kinds.get(word)


def models_asked(models: str, baselines: str) -> list[str]:
    """List the models of --models, by default those of `evaluate`, and the further ones of --baselines."""
    wanted, more = ([word for word in text.split(",") if word] for text in (models, baselines))
    return [*(wanted or DEFAULT_ARMS), *more] if more else wanted


def print_evaluation(result: Mapping[str, Any], metric: str) -> None:
    """Print the JSON of an evaluation for people: table, protocol, what no figure counts, reasons, the sentence."""
    console.print(models_table(result, metric))
    figures = result["protocol"]
    ranking = "in full" if figures["ranking"] == "full" else "by sampled metrics"
    console.print(
        f"{figures['n_users']:,} users, {figures['candidates']:,} items ranked {ranking}, split {figures['split']}"
        + (f" at {figures['cut']}" if figures["cut"] else "")
        + f"; at most {result['training']['max_participations']} participations a device",
        highlight=False,
    )
    if figures["unseen_test_items"]:
        console.print(
            f"items that occur only after the split: {figures['unseen_test_items']:,} "
            f"({figures['unseen_test_targets']:,} targets): nothing that learned before it can list them, and no "
            "figure counts them",
            highlight=False,
        )
    for reason in result["reasons"]:
        console.print(reason, highlight=False, markup=False)
    console.print(result["conclusion"]["sentence"], highlight=False, markup=False)
