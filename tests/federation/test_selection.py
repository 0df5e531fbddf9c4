"""Federated cross-validation: it finds the setting that is better on new devices and later events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.errors import FederationError
from data.split import temporal
from federation.recipe import RECIPES, Recipe, recipe
from federation.selection import cross_validate, select, serving_grid, training_grid
from tests.federation.test_simulation import CONFIG, PROFILE, tastes
from tests.federation.test_update import NOW

BASE = Recipe(replace(CONFIG, measure_every=0, rounds=20), PROFILE)
SPLIT = temporal(tastes(), NOW * 3 // 4)


def test_it_ranks_a_working_setting_above_a_broken_one() -> None:
    swamped = replace(PROFILE, reg=1e6)
    broken = Recipe(replace(BASE.train, profile=swamped), swamped)
    found = cross_validate(SPLIT, [broken, BASE], folds=2, seed=0)
    assert found.best == BASE
    assert found.mean[0] - found.mean[1] > 2 * found.error[0]


def test_candidates_that_share_their_training_share_their_tables() -> None:
    tables = []
    candidates = [BASE, replace(BASE, serve=replace(PROFILE, reg=0.02))]
    cross_validate(SPLIT, candidates, folds=3, on_step=lambda: tables.append(1))
    assert len(tables) == 3


def test_participations_of_every_table_are_counted() -> None:
    one = cross_validate(SPLIT, [BASE], folds=2)
    other = Recipe(replace(BASE.train, dim=4), BASE.serve)
    two = cross_validate(SPLIT, [BASE, other], folds=2)
    assert 0 < one.participations < two.participations


def test_the_test_side_of_a_measuring_device_never_reaches_training() -> None:
    """Shuffling what the last fold does later changes its score, not the tables: all other folds score the same."""
    fold = np.random.default_rng([0, 5]).integers(0, 2, SPLIT.train.n_users)
    shuffled = SPLIT.test.item_idx.copy()
    rows = np.flatnonzero(fold[SPLIT.test.user_idx] == 1)
    shuffled[rows] = np.random.default_rng(1).permutation(shuffled[rows])
    other = replace(SPLIT, test=replace(SPLIT.test, item_idx=shuffled))
    means = [cross_validate(split, [BASE], folds=2).mean[0] for split in (SPLIT, other)]
    assert means[0] != means[1]


def test_select_returns_the_best_of_its_last_stage() -> None:
    quick = Recipe(replace(BASE.train, rounds=6, dim=4), PROFILE)
    best, stages = select(SPLIT, quick, folds=2)
    assert best == stages[-1].best
    assert len(stages) == 4
    assert all((np.diff(stage.mean) <= 0).all() for stage in stages)


def test_grids_hold_the_start_and_change_what_they_say() -> None:
    assert BASE in list(training_grid(BASE))
    assert len(list(training_grid(BASE))) == 9
    assert all(candidate.train == BASE.train for candidate in serving_grid(BASE))


def test_too_few_folds_and_unknown_recipes_are_clear_errors() -> None:
    with pytest.raises(FederationError, match="folds=1"):
        cross_validate(SPLIT, [BASE], folds=1)
    with pytest.raises(FederationError, match="recipe='x': must be one of purchases, sessions, ratings"):
        recipe("x")
    assert recipe("purchases") is RECIPES["purchases"]
