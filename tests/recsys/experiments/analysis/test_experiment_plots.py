from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from recsys.experiments.analysis.analysis import analyse
from recsys.experiments.analysis.experiment_plots import plot_any_look, plot_effects, plot_plan, plot_widths
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.rehearsal.planning import plan
from tests.recsys.experiments.experiments import experiment, looks, rows

MADE = experiment()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures saved by the test, for a look at what is in them."""
    figures: list[Figure] = []
    real = Figure.savefig

    def keep(self: Figure, *args: object, **kwargs: object) -> None:
        figures.append(self)
        real(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def test_effects_over_time_have_a_dot_a_look_and_a_bar_where_something_may_be_said(tmp_path: Path, drawn: list[Figure]):
    found = analyse(MADE, looks(MADE, {"global_list": [0.1], "personal": [0.14]}, per_look=1000)).to_dict()
    plot_effects(found, tmp_path / "e.png", "conversion")
    assert matplotlib.image.imread(tmp_path / "e.png").size > 0
    (axes,) = drawn[0].axes
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == [1, 2, 3, 4, 5]
    assert axes.get_title() == "personal against control"


def test_a_plan_has_a_panel_a_metric_and_a_line_a_design(tmp_path: Path, drawn: list[Figure]):
    sums = ArmSums.from_rows(rows(3000, 0.1, np.random.default_rng(0)), MADE.metrics)
    plot_plan(plan(MADE, sums, 500.0), tmp_path / "p.png")
    assert [axes.get_title() for axes in drawn[0].axes] == ["conversion", "revenue", "load"]
    assert all(len(axes.lines) == 4 for axes in drawn[0].axes)  # three designs and the minimum effect


def test_rates_and_widths_are_drawn_from_the_benchmarks_json(tmp_path: Path, drawn: list[Figure]):
    rates = {method: {"conversion": 0.05, "revenue": 0.04} for method in ("group_sequential", "fixed_peeked")}
    points = [{"x": 1, "ratio": 1.1}, {"x": 2, "ratio": 1.4}]
    kinds = ("epsilon", "shoppers_per_arm", "coordinates", "batches")
    plot_any_look({"aa_any_look": rates}, tmp_path / "a.png")
    plot_widths({"width_curves": {kind: {"one": points, "other": points} for kind in kinds}}, tmp_path / "w.png")
    assert len(drawn[0].axes[0].patches) == 4
    assert [len(axes.lines) for axes in drawn[1].axes] == [3, 3, 3, 3]
