"""Plots of experiments as functions of the JSON of plan, analysis and benchmark; no figure is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator, PercentFormatter

mpl.use("Agg")
_COLOURS = {"fixed": "#8a929b", "group_sequential": "#1b6ca8", "always_valid": "#d1495b", "fixed_peeked": "#8a929b"}
_NAMES = {
    "fixed": "one fixed look",
    "group_sequential": "planned looks",
    "always_valid": "watched at any time",
    "fixed_peeked": "a t-test looked at again and again",
}


def plot_effects(analysis: Mapping[str, Any], path: Path, metric: str) -> None:
    """Plot `effects_figure` into a file."""
    effects_figure(analysis, metric).savefig(path, dpi=150)


def effects_figure(analysis: Mapping[str, Any], metric: str) -> Figure:
    """Draw a metric's effect relative to control over the looks, with its interval; one panel an arm.

    analysis: as Analysis.to_dict. Absolute where an effect is not known relative to control. Blue bars leave 0
    out; looks at which nothing may be said yet have a dot and no bar.
    """
    points = [point for point in analysis["history"] if point["metric"] == metric]
    arms = list(dict.fromkeys(point["arm"] for point in points))
    figure = Figure(figsize=(4.2 * max(len(arms), 1), 3.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, max(len(arms), 1), sharey=True))
    relative = all(point["relative_low"] is not None for point in points)
    low, middle, high = ("relative_low", "relative", "relative_high") if relative else ("low", "effect", "high")
    for axes, arm in zip(panels, arms, strict=False):
        rows = [point for point in points if point["arm"] == arm]
        axes.axhline(0.0, color="#333333", lw=0.8)
        for row in rows:
            if row[low] is not None and row[high] is not None and row[high] < 5 * abs(rows[-1][high] or 1.0) + 1.0:
                colour = "#b0b7bf" if row[low] <= 0 <= row[high] else _COLOURS["group_sequential"]
                axes.plot([row["look"]] * 2, [row[low], row[high]], color=colour, lw=2.2, solid_capstyle="butt")
            axes.plot(row["look"], row[middle], "o", color="#333333", ms=4)
        axes.set_title(f"{arm} against control", fontsize=9)
        axes.set_xlabel("look")
        axes.set_xlim(0.5, analysis["looks"] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        axes.spines[["top", "right"]].set_visible(False)
        if relative:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    panels[0].set_ylabel("effect relative to control" if relative else "effect")
    figure.suptitle(
        f"{metric}, {analysis['method'].replace('_', ' ')}, {1 - analysis['alpha']:.0%} interval", fontsize=10
    )
    return figure


def plot_plan(plan: Mapping[str, Any], path: Path) -> None:
    """Plot the least effect that can be shown against shoppers, one panel a metric, one line a design.

    plan: as recsys.experiments.rehearsal.planning.plan. Dashed lines are without the covariate.
    """
    rows = plan["metrics"]
    figure = Figure(figsize=(4.0 * len(rows), 3.3), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(rows)))
    for axes, row in zip(panels, rows, strict=True):
        for design, ways in row["designs"].items():
            for way, figures in ways.items():
                x = [point["shoppers"] for point in figures["curve"]]
                y = [point["minimum_effect"] for point in figures["curve"]]
                dashed = way == "plain" and len(ways) > 1
                axes.plot(x, y, "--" if dashed else "-", color=_COLOURS[design], lw=1.2 if dashed else 1.8,
                          label=None if dashed else _NAMES[design])  # fmt: skip
        axes.axhline(plan["minimum_effect"], color="#333333", lw=0.8)
        axes.set_title(
            row["metric"]
            + (f", covariate −{row['covariate']['reduction']:.0%} variance" if "covariate" in row else ""),
            fontsize=9,
        )
        axes.set_xlabel("shoppers of both arms")
        _logarithmic(axes)
        axes.set_yticks(
            [t for t in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if _within(t, axes.get_ylim())]
        )
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    panels[0].set_ylabel(f"effect shown with power {plan['power']:.0%}")
    panels[0].legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=150)


def plot_any_look(figures: Mapping[str, Any], path: Path) -> None:
    """Plot how often A/A experiments show something at one look or another, by metric and method. The line is alpha."""
    rates = figures["aa_any_look"]
    metrics = list(next(iter(rates.values())))
    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    axes = figure.subplots()
    for place, (method, values) in enumerate(rates.items()):
        x = np.arange(len(metrics)) + (place - (len(rates) - 1) / 2) * 0.27
        bars = axes.bar(x, [values[m] for m in metrics], width=0.25, color=_COLOURS[method], label=_NAMES[method])
        axes.bar_label(bars, labels=[f"{values[m]:.1%}" for m in metrics], fontsize=7, padding=1)
    axes.axhline(0.05, color="#333333", lw=0.9)
    axes.set_xticks(range(len(metrics)), [m.replace("_", " ") for m in metrics])
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylabel("experiments without effect\nthat show one")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.0, 1.2), ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def plot_widths(figures: Mapping[str, Any], path: Path) -> None:
    """Plot what privacy widens an interval by. Against ε, shoppers, coordinates and batches, one panel each."""
    curves = figures["width_curves"]
    titles = {
        "epsilon": "ε of the whole experiment",
        "shoppers_per_arm": "shoppers in each arm",
        "coordinates": "coordinates of an arm",
        "batches": "batches",
    }
    figure = Figure(figsize=(10.5, 3.5), layout="constrained")
    panels = figure.subplots(1, len(titles), sharey=True)
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        for (label, points), style in zip(curves[key].items(), ("-o", "--s", ":^"), strict=False):
            x, y = zip(*((point["x"], point["ratio"]) for point in points), strict=True)
            axes.plot(x, y, style, ms=3.5, lw=1.5, color=_line(len(axes.lines)), label=label)
        axes.axhline(1.0, color="#333333", lw=0.8)
        axes.set_xlabel(title)
        axes.set_xscale("log")
        axes.set_xticks(x, [_short(value) for value in x], fontsize=7)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(0.0, 1.0))
    panels[0].set_ylabel("width / width without noise")
    panels[0].set_ylim(0.9, 3.0)
    figure.savefig(path, dpi=150)


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _line(place: int) -> str:
    colours: Sequence[str] = ("#1b6ca8", "#d1495b", "#8a929b")
    return colours[place % 3]


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 10 else f"{x:g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
