from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from recsys.reports.search_plots import plot_trials, plot_validation


def drawn_by(plot: Callable[[Any, Path], None], result: Any, folder: Path) -> Figure:
    """The figure that a plot saves, which must not be blank."""
    drawn: list[Figure] = []
    real = Figure.savefig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, *a, **b: (drawn.append(self), real(self, *a, **b)))
        plot(result, folder / "plot.png")
    assert matplotlib.image.imread(folder / "plot.png").std() > 0.01
    return drawn[0]


def test_every_judged_trial_stands_in_the_plot_and_the_chosen_is_circled(tmp_path: Path) -> None:
    rows = [(0, 1.0, 0.2), (1, 1 / 9, 0.1), (2, 1 / 9, None), (1, 1 / 3, 0.25)]
    trials = [
        {"trial": trial, "share": share, "mean": mean, "error": None if mean is None else 0.01}
        for trial, share, mean in rows
    ]
    (axes,) = drawn_by(plot_trials, {"trials": trials, "start": {"mean": 0.19}, "metric": "ndcg@20"}, tmp_path).axes
    points = {(x, y) for bar in axes.containers for x, y in zip(*bar.lines[0].get_data(), strict=True)}
    assert points == {(0, 0.2), (1, 0.1), (3, 0.25)}
    circle = next(line for line in axes.lines if line.get_label() == "chosen")
    assert [float(value) for value in (*circle.get_xdata(), *circle.get_ydata())] == [3, 0.25]


def test_a_validation_has_a_panel_for_each_question_and_no_gap_where_nobody_trained(tmp_path: Path) -> None:
    def row(mean: float) -> dict[str, object]:
        return {"mean": mean, "ci95": [mean - 0.01, mean + 0.01], "devices": 9}

    both = {"personalized": row(0.3), "popularity": row(0.1)}
    result = {
        "metric": "ndcg@20",
        "over_time": {"folds": [{"until": f"2011-0{month}-01", **both} for month in (1, 2, 3)]},
        "by_number_of_devices": [{"devices": 10, **both}, {"devices": 100, **both}],
        "by_number_of_rounds": [{"rounds": 1, **both}, {"rounds": 9, **both}],
        "gap": {"later": None, "last_basket": {"trained": row(0.4), "held_out": row(0.35)}},
        "canary": {name: row(0.1) for name in ("intact", "permuted", "popularity")},
    }
    figures = []
    for later in (None, {"trained": row(0.4), "held_out": row(0.35)}):
        result["gap"] = {**result["gap"], "later": later}  # type: ignore[dict-item]
        figures.append(drawn_by(plot_validation, result, tmp_path))
    few, many = ([tick.get_text() for tick in figure.axes[3].get_xticklabels()] for figure in figures)
    assert len(few) == 5
    assert len(many) == 7
    assert few == [name for name in many if "later" not in name]
    FigureCanvasAgg(figures[1]).draw()
    boxes = [tick.get_window_extent() for tick in figures[1].axes[3].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    line = figures[0].axes[0].lines[0]
    assert line.get_xdata().tolist() == [10, 100]
    assert line.get_ydata().tolist() == [0.3, 0.3]
