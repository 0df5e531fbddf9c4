"""The canary sings when answers reach a model beside its events, and is silent when they do not."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import DataError
from data.split import temporal
from recsys.evaluation.baselines import item_knn, popularity
from recsys.evaluation.canary import Chance, canary, shuffle_items
from recsys.evaluation.evaluation import evaluate
from tests.benchmarks.overfitting import Told
from tests.federation.learning.test_taste_update import random_log
from tests.recsys.logs import tastes_log

CUT = 80 * 86_400_000_000
SEEDS = range(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_honest_model_falls_to_popularity_and_raises_no_alarm(seed: int) -> None:
    split = temporal(tastes_log(seed), CUT)
    intact = evaluate([item_knn(split.train)], split, bootstrap=2)
    found = canary(split, item_knn, seed=seed)
    assert not found.alarm
    assert np.nanmean(found.permuted) < np.nanmean(intact.column("popularity", "ndcg@20"))
    assert np.nanmean(found.permuted) < 0.7 * np.nanmean(intact.column("item_knn", "ndcg@20"))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_model_that_knows_one_answer_in_six_is_found(seed: int) -> None:
    split = temporal(tastes_log(seed), CUT)
    assert canary(split, lambda log: Told(split, log, 1 / 6), seed=seed).alarm


def test_popularity_is_its_own_level_whatever_is_shuffled() -> None:
    split = temporal(tastes_log(1), CUT)
    found = canary(split, popularity, permutations=2)
    np.testing.assert_array_equal(found.permuted, found.popularity)
    assert found.excess.difference == 0
    assert found.luck == 0
    assert not found.alarm


def test_a_lucky_list_of_a_small_shop_raises_no_alarm() -> None:
    """Sixty items, nothing to learn: a list is lucky for all devices at once, which resampling devices cannot see."""
    alarms = 0
    for seed in range(15):
        split = temporal(tastes_log(seed, n_users=100, n_items=60, events=10, noise=1.0), CUT)
        found = canary(split, item_knn, seed=seed)
        alarms += found.alarm
        low, high = found.interval
        assert low < found.excess.low < found.excess.high < high
    assert alarms <= 1


def test_shuffling_keeps_users_times_kinds_and_popularity_by_kind_and_breaks_the_rest() -> None:
    log = random_log(3)
    mixed = shuffle_items(log, np.random.default_rng(0))
    for name in ("offsets", "kind", "time", "quantity"):
        np.testing.assert_array_equal(getattr(mixed, name), getattr(log, name))
    for kind in np.unique(log.kind):
        before, after = log.item_idx[log.kind == kind], mixed.item_idx[log.kind == kind]
        np.testing.assert_array_equal(np.sort(after), np.sort(before))
    assert (mixed.item_idx != log.item_idx).mean() > 0.3


def test_chance_is_the_same_in_any_batch_and_even_over_items() -> None:
    log = tastes_log(0, n_items=20)
    whole = Chance(4).scores(log, np.arange(300), 0)
    np.testing.assert_array_equal(whole[7:9], Chance(4).scores(log, np.array([7, 8]), 0))
    firsts = np.bincount(whole.argmax(axis=1), minlength=20)
    assert firsts.max() < 15 + 4 * np.sqrt(15)


def test_no_permutation_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="permutations=1"):
        canary(temporal(tastes_log(0), CUT), popularity, permutations=1)
