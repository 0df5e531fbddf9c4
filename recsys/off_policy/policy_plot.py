"""The plot of an off-policy report, as a function of its JSON; no figure is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

mpl.use("Agg")
_OURS, _THEIRS, _TRUTH = "#1b6ca8", "#6b7580", "#d1495b"


def plot_off_policy(result: Mapping[str, Any], path: Path) -> None:
    """Plot one row an estimate with its interval.

    What was live is on top, the policy's own log (if any) a band.

    result: as OffPolicyReport.to_dict. An interval that reaches far beyond the others, as that of a clipped estimate
    may, is cut at the edge and its end written beside it.
    """
    truth = result["on_policy"]
    rows = [
        ("what was live", result["logged"]),
        *((estimate["estimator"], estimate) for estimate in result["estimates"]),
    ]
    sharp = [estimate for name, estimate in rows if name != "clipped"] + ([truth] if truth else [])
    edge = 1.25 * max(estimate["high"] for estimate in sharp or [rows[-1][1]])
    left = min(0.0, min(estimate["low"] for _, estimate in rows))
    figure = Figure(figsize=(7.2, 1.3 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    if truth:
        label = f"{result['policy']} in its own log: {truth['value']:.5f}"
        axes.axvspan(truth["low"], truth["high"], color=_TRUTH, alpha=0.15, lw=0)
        axes.axvline(truth["value"], color=_TRUTH, lw=1.2, label=label)
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)
    for place, (name, estimate) in enumerate(rows):
        colour = _THEIRS if name == "what was live" else _OURS
        axes.plot(
            [estimate["low"], min(estimate["high"], edge)], [place, place], color=colour, lw=2, solid_capstyle="butt"
        )
        axes.plot(estimate["value"], place, "o", color=colour, ms=5)
        if estimate["high"] > edge:
            axes.annotate(f"to {estimate['high']:.3g} ", (edge, place), ha="right", va="bottom", fontsize=8)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.6)
    axes.set_xlim(left, edge)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel("mean reward a round, 95 % interval", fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    overlap = result["overlap"]
    figure.suptitle(
        f"{result['policy']} from {result['log']}: {result['rounds']:,} rounds, "
        f"{overlap['effective_rounds']:,.0f} effective, {result['logged']['rewarded']:,} with a reward",
        fontsize=10,
    )
    figure.savefig(path, dpi=150)
