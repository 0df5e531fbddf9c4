from __future__ import annotations

import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from data.split import temporal
from recsys.evaluation.baselines import popularity, recent_popularity
from recsys.evaluation.evaluation import evaluate
from recsys.reports.plots import plot_models, plot_training
from tests.recsys.logs import tastes_log

PNG = b"\x89PNG\r\n\x1a\n"


def part(mean: float, low: float, high: float) -> dict[str, object]:
    return {"ndcg@20": mean, "ci95": {"ndcg@20": [low, high]}}


RESULT = {
    "protocol": {"split": "temporal", "cut": "2011-11-09T00:00:00+00:00", "n_users": 1234},
    "models": [
        {"model": "personalized", "all": part(0.365, 0.35, 0.38), "new": part(0.119, 0.11, 0.13)},
        {"model": "cold_only", "all": part(0.2, 0.19, 0.21), "new": None},
        {"model": "popularity", "all": part(0.088, 0.08, 0.09), "new": part(0.035, 0.03, 0.04)},
    ],
}


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


def picture(path: Path) -> np.ndarray:
    assert path.read_bytes()[:8] == PNG
    return matplotlib.image.imread(path)


def record(number: int, train: float | None, held: float | None, part: str = "taste") -> dict[str, object]:
    return {"round": number, "train_ndcg": train, "holdout_ndcg": held, "part": part}


def test_models_stand_from_top_to_bottom_with_their_figures(tmp_path, drawn):
    plot_models(RESULT, tmp_path / "models.png")
    assert picture(tmp_path / "models.png").std() > 0.01
    all_items, new_items = drawn[0].axes
    assert [axes.get_title() for axes in (all_items, new_items)] == ["all items", "new items"]
    names = {label.get_text(): place for label, place in zip(
        all_items.get_yticklabels(), all_items.get_yticks(), strict=True)}  # fmt: skip
    assert sorted(names, key=lambda name: all_items.transData.transform((0, names[name]))[1], reverse=True) == [
        "personalized", "cold_only", "popularity",
    ]  # fmt: skip
    assert [bar.get_width() for bar in all_items.patches] == [0.365, 0.2, 0.088]
    assert [text.get_text().strip() for text in new_items.texts] == ["0.119", "0.035"]
    assert [bar.get_y() + bar.get_height() / 2 for bar in new_items.patches] == pytest.approx([0, 2])
    assert all_items.get_xlim() == new_items.get_xlim()
    assert "ndcg@20, temporal, cut 2011-11-09, 1,234 users" in drawn[0].get_suptitle()


def test_our_arms_have_another_colour(tmp_path, drawn):
    plot_models(RESULT, tmp_path / "models.png")
    ours, *others = [bar.get_facecolor() for bar in drawn[0].axes[0].patches]
    assert ours not in others
    assert len(set(others)) == 1


@pytest.mark.parametrize(
    "models",
    [
        [{"model": "alone", "all": part(0.5, 0.5, 0.5), "new": None}],
        [{"model": "rounded", "all": part(0.1 + 0.2, 0.3, 0.3), "new": part(0.3, 0.1 + 0.2, 0.1 + 0.2)}],
        [{"model": "m" * 40, "new": part(0.1, 0.0, 0.3)}] * 12,
    ],
)
def test_odd_tables_are_drawn_too(tmp_path, models):
    plot_models(
        {"protocol": {"split": "leave_last_out", "cut": None, "n_users": 1}, "models": models}, tmp_path / "m.png"
    )
    assert picture(tmp_path / "m.png").std() > 0.01


def test_what_evaluation_prints_can_be_drawn_from_its_json_alone(tmp_path, drawn):
    log = tastes_log(0, n_users=60)
    split = temporal(log, int(np.quantile(log.time, 0.8)))
    assert split.at is not None
    evaluation = evaluate([recent_popularity(split.train, split.at), popularity(split.train)], split, bootstrap=50)
    plot_models(json.loads(json.dumps(evaluation.to_dict())), tmp_path / "models.png", "recall@20")
    means = [row["all"]["recall@20"] for row in evaluation.to_dict()["models"]]
    assert [bar.get_width() for bar in drawn[0].axes[0].patches] == pytest.approx(means)


def test_the_same_json_makes_the_same_picture(tmp_path):
    plot_models(RESULT, tmp_path / "a.png")
    plot_models(RESULT, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_training_has_a_dot_a_round_and_the_mean_of_those_that_measured(tmp_path, drawn):
    records = [record(0, 0.1, None), record(1, 0.2, float("nan")), record(2, 0.6, 0.3), record(3, 0.4, 0.5)]
    plot_training(records, tmp_path / "t.png", window=2)
    assert picture(tmp_path / "t.png").std() > 0.01
    dots, line, held_dots, held_line = drawn[0].axes[0].lines
    assert dots.get_xdata().tolist() == [1, 2, 3, 4]
    assert dots.get_ydata().tolist() == [0.1, 0.2, 0.6, 0.4]
    assert list(line.get_ydata()) == pytest.approx([0.1, 0.15, 0.4, 0.5])
    assert held_dots.get_xdata().tolist() == [3, 4]
    assert list(held_line.get_ydata()) == pytest.approx([0.3, 0.4])


@pytest.mark.parametrize(
    "records",
    [
        [],
        [record(0, None, None)],
        [record(number, 0.1 if number % 15 == 0 else None, None) for number in range(60)],  # measured now and then
    ],
)
def test_training_that_measured_seldom_or_never_is_drawn_too(tmp_path, records):
    plot_training(records, tmp_path / "t.png")
    assert picture(tmp_path / "t.png").std() > 0.01


def test_the_curve_of_the_intent_begins_where_its_rounds_do(tmp_path, drawn):
    """The mean of two rounds does not reach over from one part to the other."""
    records = [
        record(0, 0.1, None),
        record(1, 0.3, None),
        record(2, 0.5, None, "intent"),
        record(3, 0.7, None, "intent"),
    ]
    plot_training(records, tmp_path / "t.png", window=2)
    lines = [line for line in drawn[0].axes[0].lines if len(line.get_xdata()) and line.get_label().startswith("train")]
    assert [list(line.get_ydata()) for line in lines] == [pytest.approx([0.1, 0.2])]
    _, _, _, intent, *_ = drawn[0].axes[0].lines
    assert intent.get_xdata().tolist() == [3, 4]
    assert list(intent.get_ydata()) == pytest.approx([0.5, 0.6])
    assert [text.get_text().strip() for text in drawn[0].axes[0].texts] == ["taste", "intent"]
