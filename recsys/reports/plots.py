"""Plots as functions of the JSON that evaluation and training print; no figure is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

mpl.use("Agg")
OURS, THEIRS, HELD = "#1b6ca8", "#b0b7bf", "#d1495b"


def plot_models(result: Mapping[str, Any], path: Path, metric: str = "ndcg@20") -> None:
    """Plot one row a model with its 95 % interval, all items beside new items, first model on top.

    result: as Evaluation.to_dict. A part that no model has is left out; both parts have the same scale.
    """
    models = result["models"]
    parts = [part for part in ("all", "new") if any(row.get(part) for row in models)]
    height = 1.3 + 0.42 * len(models)
    names = 0.3 + 0.085 * max(len(row["model"]) for row in models)
    figure = Figure(figsize=(4.6 * len(parts) + names, height), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(parts), sharex=True, sharey=True))
    for axes, part in zip(panels, parts, strict=True):
        _bars(axes, models, part, metric)
    first = panels[0]
    first.set_yticks(range(len(models)), [row["model"] for row in models])
    first.set_ylim(len(models) - 0.4, -0.6)
    first.set_xlim(0, max(row[part]["ci95"][metric][1] for part in parts for row in models if row.get(part)) * 1.2)
    protocol = result["protocol"]
    cut = f", cut {protocol['cut'][:10]}" if protocol.get("cut") else ""
    figure.suptitle(f"{metric}, {protocol['split']}{cut}, {protocol['n_users']:,} users, full ranking", fontsize=10)
    figure.savefig(path, dpi=150)


def _bars(axes: Axes, models: Sequence[Mapping[str, Any]], part: str, metric: str) -> None:
    places = [place for place, row in enumerate(models) if row.get(part)]
    rows = [models[place] for place in places]
    means = np.array([row[part][metric] for row in rows])
    low, high = np.array([row[part]["ci95"][metric] for row in rows]).T
    colours = [OURS if row["model"].startswith("personalized") else THEIRS for row in rows]
    axes.barh(places, means, color=colours, height=0.65)
    errors = np.maximum([means - low, high - means], 0.0)  # a mean of one user may be rounded beyond its interval
    axes.errorbar(means, places, xerr=errors, fmt="none", ecolor="#333333", capsize=2.5, lw=1)
    for place, mean, top in zip(places, means, high, strict=True):
        axes.text(max(mean, top), place, f"  {mean:.3f}", va="center", fontsize=8)
    axes.set_title(f"{part} items", fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def plot_training(records: Sequence[Mapping[str, Any]], path: Path, window: int = 10) -> None:
    """Plot NDCG@20 of the devices' last baskets over the rounds.

    Devices that trained stand beside devices that never do.

    Faint dots are rounds, lines means of the last `window` rounds of the same part that measured; where the rounds of
    the intent begin, the line does too. records: RoundRecords as dicts.
    """
    figure = Figure(figsize=(6.2, 3.4), layout="constrained")
    axes = figure.subplots()
    rounds = np.array([record["round"] + 1 for record in records])
    parts = np.array([record["part"] for record in records], dtype=str)
    names = list(dict.fromkeys(parts.tolist())) or ["none"]
    for key, label, colour in (
        ("train_ndcg", "training devices", OURS),
        ("holdout_ndcg", "hold-out devices", HELD),
    ):
        figures = np.array([np.nan if record[key] is None else record[key] for record in records], dtype=float)
        for at, part in enumerate(names):
            measured = np.isfinite(figures) & (parts == part)
            values = figures[measured]
            axes.plot(rounds[measured], values, ".", color=colour, alpha=0.25, ms=4)
            means = [values[max(0, i - window + 1) : i + 1].mean() for i in range(len(values))]
            named = None if at else f"{label}, mean of {window} rounds"
            axes.plot(rounds[measured], means, color=colour, label=named)
    for part in names if len(names) > 1 else ():
        first = rounds[parts == part].min() - 0.5
        axes.axvline(first, color="#b0b7bf", lw=0.8, ls=":")
        axes.text(first, 0.02, f" {part}", transform=axes.get_xaxis_transform(), fontsize=8, color="#555555")
    axes.set_xlabel("round")
    axes.set_ylabel("NDCG@20 of the last basket")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
