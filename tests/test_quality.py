"""Quality floors on the bundled real logs, relative to popularity, to item-kNN and to central training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.dataset import Dataset
from data.split import parse_time
from federation.lab.comparison import ComparisonResult, compare_models
from federation.lab.questions import question
from federation.lab.recipes import recipe


@pytest.fixture(scope="module")
def retail() -> ComparisonResult:
    asked = question(Dataset.open("sample:online-retail").interactions(), "temporal", parse_time("2011-11-09"))
    models = ["personalized", "personalized_no_repeat", "global", "local", "central"]
    return compare_models(asked, recipe("purchases"), seed=0, models=models, bootstrap=200)


def figure(compared: ComparisonResult, model: str, part: str = "all") -> float:
    return float(np.nanmean(compared.evaluation.column(model, compared.metric, part)))


def test_federated_is_central_after_at_most_six_participations(retail: ComparisonResult) -> None:
    assert retail.training.participations.max() <= 6
    assert figure(retail, "personalized") >= 1.01 * figure(retail, "central")


def test_personalized_beats_recent_popularity_on_all_and_on_new_items(retail: ComparisonResult) -> None:
    assert figure(retail, "personalized") >= 2.4 * figure(retail, "global")
    assert figure(retail, "personalized_no_repeat") >= 2.0 * figure(retail, "global")  # the mix without own history
    assert figure(retail, "personalized", "new") >= 1.5 * figure(retail, "global", "new")


def test_the_plain_score_without_the_repeat_counter_beats_recent_popularity(retail: ComparisonResult) -> None:
    asked = question(Dataset.open("sample:online-retail").interactions(), "temporal", parse_time("2011-11-09"))
    chosen, models = replace(recipe("purchases"), mix=None), ["personalized_no_repeat", "global"]
    plain = compare_models(asked, chosen, seed=0, models=models, bootstrap=200, table=retail.training.table)
    assert figure(plain, "personalized_no_repeat") >= 2.1 * figure(plain, "global")


def test_recent_popularity_beats_popularity_of_all_time(retail: ComparisonResult) -> None:
    assert figure(retail, "global") > 1.4 * figure(retail, "popularity")


def test_federation_adds_what_a_lone_device_cannot_know(retail: ComparisonResult) -> None:
    assert figure(retail, "personalized", "new") >= 1.15 * figure(retail, "local", "new")


def test_sessions_never_seen_in_training_are_served_better_than_by_item_knn() -> None:
    asked = question(Dataset.open("sample:eshop-2008").interactions(), "sessions", parse_time("2008-07-01"))
    found = compare_models(asked, recipe("sessions"), seed=0, models=["personalized", "item_knn"], bootstrap=2)
    assert figure(found, "personalized") >= 1.3 * figure(found, "item_knn")
    assert figure(found, "personalized") >= 2.2 * figure(found, "popularity")
