"""The plot of a search for settings, as a function of the JSON that `tune` prints; no figure is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from recsys.plots import HELD, OURS, THEIRS

_SHADES = {1: OURS, 3: "#7fb0d6", 9: "#c8d6e2"}


def plot_trials(result: Mapping[str, Any], path: Path) -> None:
    """Every trial's best figure in the order of the search, two standard errors around it, and where it began.

    result: `start`, `metric` and `trials`, each {"trial", "share", "mean", "error"}, null for what cannot work.
    """
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.subplots()
    judged = [(place, row) for place, row in enumerate(result["trials"]) if row["mean"] is not None]
    for part in sorted({round(1 / row["share"]) for _, row in judged}):
        some = [(place, row) for place, row in judged if round(1 / row["share"]) == part]
        axes.errorbar(
            [place for place, _ in some],
            [row["mean"] for _, row in some],
            yerr=[2 * row["error"] for _, row in some],
            fmt="o", ms=4, lw=0.8, capsize=2, color=_SHADES[part],
            label="all rounds" if part == 1 else f"1/{part} of the rounds",
        )  # fmt: skip
    axes.axhline(result["start"]["mean"], color=THEIRS, lw=1, ls="--", label="the recipe it began with")
    best = max(judged, key=lambda one: float(one[1]["mean"]))
    axes.plot(best[0], best[1]["mean"], "o", ms=10, mfc="none", mec=HELD, label="chosen")
    axes.set_xlabel("trial, in the order of the search")
    axes.set_ylabel(f"{result['metric']}, mean and 2 s.e.")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
