"""Plots of a search for settings and of whether it holds: functions of the JSON of `tune` and `validate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from recsys.reports.plots import HELD, OURS, THEIRS

_SHADES = {1: OURS, 3: "#7fb0d6", 9: "#c8d6e2"}

MOST_LEVEL = 4
"""So many dates stand side by side under a panel; more of them lean."""


def plot_trials(result: Mapping[str, Any], path: Path) -> None:
    """Plot every trial's best figure in the order of the search.

    Beside it two standard errors, and where the search began.

    result: `start`, `metric` and `trials`, each {"trial", "share", "mean", "error"}, null for what cannot work.
    """
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.subplots()
    judged = [(place, row) for place, row in enumerate(result["trials"]) if row["mean"] is not None]
    for part in sorted({round(1 / row["share"]) for _, row in judged}):
        of_part = [(place, row) for place, row in judged if round(1 / row["share"]) == part]
        axes.errorbar(
            [place for place, _ in of_part],
            [row["mean"] for _, row in of_part],
            yerr=[2 * row["error"] for _, row in of_part],
            fmt="o", ms=4, lw=0.8, capsize=2, color=_SHADES[part],
            label="all rounds" if part == 1 else f"1/{part} of the rounds",
        )  # fmt: skip
    axes.axhline(result["start"]["mean"], color=THEIRS, lw=1, ls="--", label="the recipe it began with")
    best = max(judged, key=lambda trial: float(trial[1]["mean"]))
    axes.plot(best[0], best[1]["mean"], "o", ms=10, mfc="none", mec=HELD, label="chosen")
    axes.set_xlabel("trial, in the order of the search")
    axes.set_ylabel(f"{result['metric']}, mean and 2 s.e.")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def plot_validation(result: Mapping[str, Any], path: Path) -> None:
    """Plot four panels: devices, rounds, folds in time, and the checks, each figure with its 95 % interval.

    result: as Validation.to_dict of federation/lab/validation.py.
    """
    figure = Figure(figsize=(9.6, 6.2), layout="constrained")
    (devices, rounds), (time, checks) = figure.subplots(2, 2)
    metric = result["metric"]
    _curve(devices, result["by_number_of_devices"], "devices", metric)
    _curve(rounds, result["by_number_of_rounds"], "rounds", metric)
    rows = result["over_time"]["folds"]
    _points(time, [row["until"][:10] for row in rows], [row["personalized"] for row in rows], OURS, "personalized")
    _points(time, [row["until"][:10] for row in rows], [row["popularity"] for row in rows], THEIRS, "popularity")
    time.set_xlabel("window until")
    gap, canary = result["gap"], result["canary"]
    named = [
        (f"{what}:\n{how}", gap[key][part], colour)
        for key, what in (("later", "later\nevents"), ("last_basket", "last\nbasket"))
        if gap[key] is not None
        for part, how, colour in (("trained", "trained", OURS), ("held_out", "held out", HELD))
    ]
    named += [
        ("true items", canary["intact"], OURS),
        ("shuffled\nitems", canary["permuted"], HELD),
        ("popularity", canary["popularity"], THEIRS),
    ]
    for place, (_, row, colour) in enumerate(named):
        _point(checks, place, row, colour)
    checks.set_xticks(range(len(named)), [name for name, _, _ in named], fontsize=7)
    for axes, title in (
        (devices, "by the number of devices"), (rounds, "by the number of rounds"), (time, "over time"),
        (checks, "trained or held out, and trained on shuffled items"),
    ):  # fmt: skip
        axes.set_title(title, fontsize=10)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in (devices, rounds, time):
        axes.set_ylabel(metric)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path, dpi=150)


def _curve(axes: Axes, rows: Sequence[Mapping[str, Any]], what: str, metric: str) -> None:
    x = np.array([row[what] for row in rows], dtype=float)
    for name, colour in (("personalized", OURS), ("popularity", THEIRS)):
        mean = np.array([row[name]["mean"] for row in rows])
        low, high = np.array([row[name]["ci95"] for row in rows]).T
        axes.plot(x, mean, "o-", ms=3.5, color=colour, label=name)
        axes.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
    axes.set_xscale("log")
    axes.set_xticks(x, [f"{value:,.0f}" for value in x], fontsize=8)
    axes.minorticks_off()
    axes.set_xlabel(what)


def _points(axes: Axes, names: Sequence[str], rows: Sequence[Mapping[str, Any]], colour: str, label: str) -> None:
    for place, row in enumerate(rows):
        _point(axes, place, row, colour, label if place == 0 else None)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    if len(names) > MOST_LEVEL:
        axes.tick_params(axis="x", labelrotation=30)
    axes.set_xlim(-0.5, len(names) - 0.5)


def _point(axes: Axes, place: int, row: Mapping[str, Any], colour: str, label: str | None = None) -> None:
    mean, (low, high) = row["mean"], row["ci95"]
    error = [[max(mean - low, 0.0)], [max(high - mean, 0.0)]]
    axes.errorbar([place], [mean], yerr=error, fmt="o", ms=5, lw=1.2, capsize=3, color=colour, label=label)
