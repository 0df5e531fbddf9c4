"""The plot of the modes of asking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

COLOURS = {"device": "#333333", "profile": "#d1495b", "nobody": "#999999", "cluster": "#1b6ca8", "noised": "#e8a33d"}
DEFAULTS = ("1 of 256, M 2000", "PrivUnit, ε 8, 64 directions, M 2000")
"""Settings that a device takes when it is not told otherwise."""


def plot(figures: dict[str, Any], path: Path) -> None:
    """Recall against both leaks, a panel a shop and leak: the upper left corner is where one wants to be."""
    shops = sorted({one["items"] for one in figures["rows"]})
    figure = Figure(figsize=(9.6, 3.7 * len(shops)), layout="constrained")
    panels = figure.subplots(len(shops), 2, squeeze=False)
    for place, items in enumerate(shops):
        for side, (leak, name) in enumerate((("reidentified", "re-identified"), ("auc", "membership AUC"))):
            axes = panels[place][side]
            for mode, colour in COLOURS.items():
                rows = [one for one in figures["rows"] if (one["items"], one["mode"]) == (items, mode)]
                laplacian = ["Laplace" in one["setting"] for one in rows]
                for marker, kept in (("o", False), ("x", True)):
                    shown = [one for one, is_laplace in zip(rows, laplacian, strict=True) if is_laplace is kept]
                    attacks = [one for one in shown if "attack" in one["setting"]]
                    plain = [one for one in shown if "attack" not in one["setting"]]
                    for some_rows, mark in ((plain, marker), (attacks, "^")):
                        if some_rows:
                            label = {
                                "o": "the same for everybody" if mode == "nobody" else mode,
                                "x": "noised, metric Laplace",
                                "^": f"{mode}, messages averaged",
                            }[mark]
                            xs, ys = [one[leak] for one in some_rows], [one["recall@20"] for one in some_rows]
                            axes.scatter(xs, ys, s=34, color=colour, marker=mark, label=label, alpha=0.85, lw=1.2)
            chosen = [one for one in figures["rows"] if one["items"] == items and one["setting"] in DEFAULTS]
            axes.scatter(
                [one[leak] for one in chosen],
                [one["recall@20"] for one in chosen],
                s=110,
                facecolors="none",
                edgecolors="#111111",
                lw=1.2,
                label="what a device does by default",
            )
            axes.set_title(f"{items:,} items", fontsize=10, loc="left")
            axes.set_xlabel(
                name
                + (f" (of {figures['users']:,}; chance {1 / figures['users']:.4f})" if side == 0 else " (chance .5)"),
                fontsize=9,
            )
            axes.set_ylabel("recall@20 after re-ranking", fontsize=9)
            axes.set_ylim(0, 1.05)
            if side == 0:
                axes.set_xscale("log")
            axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path, dpi=150)
