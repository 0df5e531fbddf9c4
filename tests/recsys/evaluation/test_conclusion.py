"""What an evaluation says in a sentence: the winner, by how much, where not, and what to try."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from recsys.evaluation.conclusion import SIMPLE, conclude, say
from recsys.evaluation.evaluation import Evaluation

METRIC = "ndcg@20"
N = 400


def evaluation(figures: Mapping[str, Mapping[str, float]]) -> Evaluation:
    """Means by model and part, each user ± .05 about them at random; a part left out is nan for that model."""
    parts = list(dict.fromkeys(part for of in figures.values() for part in of))
    values = {
        model: {
            part: {
                METRIC: of[part] + 0.05 * np.random.default_rng(place).choice([-1.0, 1.0], N)
                if part in of
                else np.full(N, np.nan)
            }
            for part in parts
        }
        for place, (model, of) in enumerate(figures.items())
    }
    return Evaluation({"bootstrap": 400, "seed": 0}, np.arange(N), values, {})


def test_the_best_simple_baseline_of_each_part_is_the_rival_and_all_outcomes_are_told() -> None:
    found = conclude(
        evaluation(
            {
                "personalized": {"all": 0.40, "new": 0.10, "again": 0.50},
                "popularity": {"all": 0.20, "new": 0.05, "again": 0.1},
                "global": {"all": 0.25, "new": 0.15, "again": 0.1},
                "own_counter": {"all": 0.30, "new": 0.12, "again": 0.5},
                "central": {"all": 0.90, "new": 0.90, "again": 0.9},
            }
        ),
        METRIC,
    )
    assert [(one.part, one.baseline, one.outcome) for one in found] == [
        ("all", "own_counter", "ahead"),
        ("new", "global", "behind"),
        ("again", "own_counter", "level"),
    ]
    assert found[0].difference.difference == pytest.approx(0.10, abs=0.01)
    words = say(found, METRIC)
    assert words.startswith("On this log, by ndcg@20: personalized wins on all items (0.4")
    assert "on items new to the shopper global wins (0.1" in words
    assert "no clear difference to the best simple baseline on the order of items had before (own_counter 0.5" in words
    assert "A simple baseline beats the personalized lists there: try `ownshelf tune`" in words


def test_where_nothing_beats_it_nothing_is_to_be_tried() -> None:
    found = conclude(evaluation({"personalized": {"all": 0.4}, "popularity": {"all": 0.2}}), METRIC)
    assert "try" not in say(found, METRIC)
    assert found[0].to_dict()["outcome"] == "ahead"
    assert found[0].to_dict()["baseline"] == "popularity"


def test_a_part_without_figures_is_left_out_and_repeat_is_not_concluded_from() -> None:
    found = conclude(
        evaluation(
            {"personalized": {"all": 0.4, "repeat": 0.1}, "popularity": {"all": 0.2, "repeat": 0.9, "cold": 0.1}}
        ),
        METRIC,
    )
    assert [one.part for one in found] == ["all"]


def test_of_equal_models_a_clear_difference_is_concluded_no_more_often_than_the_level_says() -> None:
    """Two parts a draw, 200 draws: of families where nothing differs, at most about 5 % have any outcome but level."""
    wrong = 0
    for draw in range(200):
        rng = np.random.default_rng(draw)
        values = {
            model: {part: {METRIC: rng.normal(0.3, 0.1, 60)} for part in ("all", "new")}
            for model in ("personalized", "global")
        }
        found = conclude(Evaluation({"bootstrap": 200, "seed": draw}, np.arange(60), values, {}), METRIC)
        wrong += any(one.outcome != "level" for one in found)
    assert wrong <= 22  # 10 expected; P(more than 22 of 200 at 5 %) < .001


def test_without_simple_baselines_the_sentence_says_so() -> None:
    assert SIMPLE[0] == "popularity"
    assert say((), METRIC).startswith("No simple baseline was measured")
