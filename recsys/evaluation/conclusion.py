"""What an evaluation says in a sentence: where personalized lists win, by how much, and where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from recsys.evaluation.evaluation import Evaluation, compare
from recsys.evaluation.statistics import PairedDifference, holm

SIMPLE = ("popularity", "global", "own_counter", "item_knn", "transition")
"""Baselines that anybody writes in an hour; personalized lists that lose to one of them are not worth their cost."""
CONCLUDED = ("all", "new", "again", "cold")
"""Parts that say which list is better; `repeat` only says which one bets more of its places on own items."""
LEVEL = 0.05
"""Of the family of all parts, after Holm (1979)."""
WHERE = {
    "all": "all items",
    "new": "items new to the shopper",
    "again": "the order of items had before",
    "cold": "shoppers without a history",
}

Outcome = Literal["ahead", "level", "behind"]


@dataclass(frozen=True)
class PartConclusion:
    """One part of an evaluation: a model against the best simple baseline there, over the same users.

    baseline: its name, best by mean on the very users that are compared, which flatters it. figure, baseline_figure:
    means over the users of the part; difference: paired, with its interval; p_holm: corrected for all parts.
    """

    part: str
    model: str
    baseline: str
    figure: float
    baseline_figure: float
    difference: PairedDifference
    p_holm: float

    @property
    def outcome(self) -> Outcome:
        """Ahead or behind where the difference is clear at LEVEL, else level."""
        if self.p_holm > LEVEL:
            return "level"
        return "ahead" if self.difference.difference > 0 else "behind"

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values: part, model, baseline, their figures, difference, ci95, users, p_holm, outcome."""
        return {
            "part": self.part,
            "model": self.model,
            "baseline": self.baseline,
            "figure": self.figure,
            "baseline_figure": self.baseline_figure,
            "difference": self.difference.difference,
            "ci95": [self.difference.low, self.difference.high],
            "users": self.difference.users,
            "p_holm": self.p_holm,
            "outcome": self.outcome,
        }


def conclude(
    evaluation: Evaluation, metric: str, *, model: str = "personalized", simple: Sequence[str] = SIMPLE
) -> tuple[PartConclusion, ...]:
    """Compare a model with the best of the simple baselines in every part that both have figures of.

    simple: names; those that the evaluation does not have are left out. Nothing comes back where there is none of them.
    """
    names = [name for name in simple if name in evaluation.models and name != model]
    comparisons: list[tuple[str, str, float, float, PairedDifference]] = []
    for part in CONCLUDED:
        if part not in evaluation.values[model]:
            continue
        figures = evaluation.column(model, metric, part)
        rivals = {name: evaluation.column(name, metric, part) for name in names}
        means = {name: float(np.nanmean(values)) for name, values in rivals.items() if not np.isnan(values).all()}
        if np.isnan(figures).all() or not means:
            continue
        best = max(means, key=lambda name: means[name])
        comparisons.append(
            (part, best, float(np.nanmean(figures)), means[best], compare(evaluation, model, best, metric, part))
        )
    adjusted = holm([difference.p_value for *_, difference in comparisons])
    return tuple(
        PartConclusion(part, model, best, figure, other, difference, float(p))
        for (part, best, figure, other, difference), p in zip(comparisons, adjusted, strict=True)
    )


def say(conclusions: Sequence[PartConclusion], metric: str) -> str:
    """Say it in one sentence for people; what to try follows where a simple baseline wins."""
    if not conclusions:
        return "No simple baseline was measured, so nothing says whether personalized lists are worth their cost here."
    parts = {
        outcome: [conclusion for conclusion in conclusions if conclusion.outcome == outcome]
        for outcome in ("ahead", "level", "behind")
    }
    words = []
    if parts["ahead"]:
        gains = ", ".join(f"on {WHERE[conclusion.part]} {_figures(conclusion)}" for conclusion in parts["ahead"])
        words.append(f"{conclusions[0].model} wins {gains}")
    if parts["behind"]:
        losses = ", ".join(
            f"on {WHERE[conclusion.part]} {conclusion.baseline} wins {_figures(conclusion)}"
            for conclusion in parts["behind"]
        )
        words.append(losses)
    if parts["level"]:
        ties = ", ".join(
            f"{WHERE[conclusion.part]} ({conclusion.baseline} {conclusion.baseline_figure:.3f})"
            for conclusion in parts["level"]
        )
        words.append(f"no clear difference to the best simple baseline on {ties}")
    sentence = f"On this log, by {metric}: " + "; ".join(words) + "."
    if parts["behind"]:
        sentence += (
            " A simple baseline beats the personalized lists there: try `ownshelf tune`, another --recipe or a "
            "longer log before you serve them."
        )
    return sentence


def _figures(conclusion: PartConclusion) -> str:
    gap = conclusion.difference
    return (
        f"({conclusion.figure:.3f}, {conclusion.baseline} {conclusion.baseline_figure:.3f}, "
        f"difference {gap.difference:+.3f}, {gap.low:+.3f} to {gap.high:+.3f})"
    )
