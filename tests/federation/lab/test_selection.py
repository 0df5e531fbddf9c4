"""Federated cross-validation: it finds the setting that is better on new devices and later events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.errors import FederationError
from data.interactions import Interactions
from data.log_statistics import measure_log
from federation.lab.folds import Folds
from federation.lab.recipes import RECIPES, Recipe, recipe
from federation.lab.result_cache import ResultCache
from federation.lab.selection import (
    PROFILE_STAGES,
    TABLES_OF_SELECT,
    cross_validate,
    judge,
    select,
    serving_grid,
    training_grid,
)
from tests.federation.learning.test_taste_update import NOW
from tests.federation.simulation.test_training import CONFIG, PROFILE, tastes

BASE = Recipe(replace(CONFIG, measure_every=0, rounds=20), PROFILE)
LOG = tastes()


def folds(devices: int = 2, log: Interactions = LOG) -> Folds:
    return Folds(log, "temporal", windows=((NOW * 3 // 4, NOW),), devices=devices)


def test_it_ranks_a_working_setting_above_a_broken_one() -> None:
    swamped = replace(PROFILE, reg=1e6)
    broken = Recipe(replace(BASE.train, profile=swamped), swamped)
    found = cross_validate(folds(), [broken, BASE], seed=0)
    assert found.best == BASE
    assert found.mean[0] - found.mean[1] > 2 * found.error[0]


def test_candidates_that_share_their_training_share_their_tables() -> None:
    tables = []
    candidates = [BASE, replace(BASE, serve=replace(PROFILE, reg=0.02))]
    cross_validate(folds(3), candidates, on_step=lambda: tables.append(1))
    assert len(tables) == 3


def test_participations_of_every_table_are_counted() -> None:
    one = cross_validate(folds(), [BASE])
    other = Recipe(replace(BASE.train, dim=4), BASE.serve)
    two = cross_validate(folds(), [BASE, other])
    assert 0 < one.participations < two.participations


def test_what_a_measuring_device_does_later_changes_its_own_fold_only() -> None:
    """Shuffling what the last fold does later changes its figure, not the tables: the other fold's figure stays."""
    last = np.random.default_rng([0, 5]).integers(0, 2, LOG.n_users) == 1
    rows = np.flatnonzero(last[LOG.user_idx] & (LOG.time >= NOW * 3 // 4))
    items = LOG.item_idx.copy()
    items[rows] = np.random.default_rng(1).permutation(items[rows])
    figures = []
    for log in (LOG, replace(LOG, item_idx=items)):
        both = [judge(fold, BASE.train, [BASE.serve], seed=0)[1] for fold in folds(log=log)]
        figures.append([np.nanmean(one.column("0", "ndcg@20")) for one in both])
    assert figures[0][0] == figures[1][0]
    assert figures[0][1] != figures[1][1]


def test_means_and_errors_are_those_of_the_devices() -> None:
    found = cross_validate(folds(), [BASE], seed=0)
    every = np.concatenate([judge(f, BASE.train, [BASE.serve], seed=0)[1].column("0", "ndcg@20") for f in folds()])
    assert found.mean[0] == pytest.approx(np.nanmean(every))
    assert found.error[0] == pytest.approx(np.nanstd(every) / np.sqrt((~np.isnan(every)).sum()))
    assert found.devices == (~np.isnan(every)).sum()


def test_selection_that_was_stopped_goes_on_to_the_same_recipe(tmp_path: Path) -> None:
    quick = Recipe(replace(BASE.train, rounds=3, dim=4), PROFILE)
    whole, stages = select(folds(), quick)
    steps = 0

    def stop_at_the_ninth() -> None:
        nonlocal steps
        steps += 1
        if steps == 9:
            raise KeyboardInterrupt

    cache = ResultCache(tmp_path / "kept")
    with pytest.raises(KeyboardInterrupt):
        select(folds(), quick, cache=cache, on_step=stop_at_the_ninth)
    kept = {path: path.stat().st_mtime_ns for path in sorted((tmp_path / "kept").iterdir())}
    assert len(kept) == 9
    resumed, again = select(folds(), quick, cache=cache)
    assert resumed == whole
    assert [stage.mean.tolist() for stage in again] == [stage.mean.tolist() for stage in stages]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_kept_figure_is_not_read_for_another_log_seed_or_setting(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    quick = Recipe(replace(BASE.train, rounds=2, dim=4), PROFILE)
    cross_validate(folds(), [quick], cache=cache)
    items = LOG.item_idx.copy()
    items[0] = (items[0] + 1) % LOG.n_items
    others = [
        (folds(log=replace(LOG, item_idx=items)), quick, 0),
        (folds(), quick, 1),
        (folds(), replace(quick, serve=replace(PROFILE, trend_weight=0.3)), 0),
        (folds(), replace(quick, train=replace(quick.train, rounds=3)), 0),
    ]
    for number, (asked, recipe_, seed) in enumerate(others):
        cross_validate(asked, [recipe_], seed=seed, cache=cache)
        assert len(list(tmp_path.iterdir())) == 2 * (number + 2)


def test_a_damaged_result_says_which_file_to_remove(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    assert cache.get_or_compute({"a": 1}, lambda: {"b": (1, 2)}) == {"b": [1, 2]}
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-4])
    with pytest.raises(FederationError, match=f"{kept.name}: not a readable result"):
        cache.get_or_compute({"a": 1}, lambda: {"b": 2})


def test_select_returns_the_best_of_its_last_stage() -> None:
    quick = Recipe(replace(BASE.train, rounds=6, dim=4), PROFILE)
    best, stages = select(folds(), quick)
    assert best == stages[-1].best
    assert len(stages) == 4
    assert all((np.diff(stage.mean) <= 0).all() for stage in stages)


def test_grids_hold_the_start_and_change_what_they_say() -> None:
    grid = list(training_grid(BASE, measure_log(LOG)))
    assert grid[0] == BASE
    assert len(grid) + PROFILE_STAGES == TABLES_OF_SELECT
    assert all(candidate.train == BASE.train for candidate in serving_grid(BASE))


def test_too_few_folds_and_unknown_recipes_are_clear_errors() -> None:
    with pytest.raises(FederationError, match="folds=1"):
        cross_validate(folds(1), [BASE])
    with pytest.raises(FederationError, match="recipe='x': must be one of purchases, sessions, ratings"):
        recipe("x")
    assert recipe("purchases") is RECIPES["purchases"]


def test_the_grid_of_training_does_not_depend_on_what_it_begins_with() -> None:
    """What is ten times off comes to the same settings: on the scale of the log, not in factors of the start."""
    statistics = measure_log(LOG)
    off = Recipe(replace(BASE.train, profile=replace(BASE.train.profile, alpha=50.0, reg=20.0)), BASE.serve)
    here, there = (
        [(one.train.profile.alpha, one.train.profile.reg) for one in training_grid(start, statistics)][1:]
        for start in (BASE, off)
    )
    np.testing.assert_allclose(here, there)
    m, n = statistics.history_length, statistics.items
    shares = [reg * (m + alpha * n) / m for alpha, reg in here]
    np.testing.assert_allclose(shares, [0.003, 0.02, 0.1] * 3)
