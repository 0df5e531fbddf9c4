from __future__ import annotations

from pathlib import Path

import matplotlib.image
import pytest
from matplotlib.figure import Figure

from recsys.plots_of_choice import plot_trials


def test_every_judged_trial_stands_in_the_plot_and_the_chosen_is_circled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    real = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **b: (drawn.append(self), real(self, *a, **b)))
    rows = [(0, 1.0, 0.2), (1, 1 / 9, 0.1), (2, 1 / 9, None), (1, 1 / 3, 0.25)]
    trials = [
        {"trial": trial, "share": share, "mean": mean, "error": None if mean is None else 0.01}
        for trial, share, mean in rows
    ]
    plot_trials({"trials": trials, "start": {"mean": 0.19}, "metric": "ndcg@20"}, tmp_path / "trials.png")
    assert matplotlib.image.imread(tmp_path / "trials.png").std() > 0.01
    (axes,) = drawn[0].axes
    points = {(x, y) for bar in axes.containers for x, y in zip(*bar.lines[0].get_data(), strict=True)}
    assert points == {(0, 0.2), (1, 0.1), (3, 0.25)}
    circle = next(line for line in axes.lines if line.get_label() == "chosen")
    assert [float(value) for value in (*circle.get_xdata(), *circle.get_ydata())] == [3, 0.25]
