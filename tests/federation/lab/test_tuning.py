"""Tuning: what a search finds, what it may look at, and that stopping it costs nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from data.errors import FederationError
from data.interactions import Interactions
from data.split import known_at
from federation.lab.folds import Folds
from federation.lab.recipes import RECIPES, Recipe
from federation.lab.result_cache import ResultCache
from federation.lab.search_space import SPACE, Parameter, near, recipe_at, setting, space_for
from federation.lab.tuning import KEEP, Budget, Trial, TuningResult, tune
from tests.federation.lab.test_defaults import STATISTICS
from tests.federation.learning.test_taste_update import NOW
from tests.federation.simulation.test_training import CONFIG, PROFILE, tastes

LOG = tastes(n_users=120)
CUT = NOW * 3 // 4
QUICK = Recipe(replace(CONFIG, measure_every=0, rounds=9, dim=4, cohort_size=60), PROFILE)
SMALL = Budget(trials=6, settings=2)


def found_in(log: Interactions = LOG, start: Recipe = QUICK, budget: Budget = SMALL, **more: object) -> TuningResult:
    folds = Folds(known_at(log, CUT), "temporal", devices=2)
    return tune(folds, start, budget, **more)  # type: ignore[arg-type]


def test_it_finds_the_way_out_of_a_bad_start() -> None:
    """λ is a thousand times too large; the space reaches back."""
    swamped = replace(PROFILE, reg=PROFILE.reg * 1e5)
    start = Recipe(replace(QUICK.train, profile=swamped), swamped)
    space = (Parameter("reg", ("train.profile.reg", "serve.reg"), low=1e-6, high=1.0, log=True, factor=True),)
    tuned = found_in(start=start, budget=Budget(trials=10, settings=1), space=space)
    before = tuned.trials[0].judged
    assert tuned.winner.mean > before.mean[0] + 4 * before.error[0]
    assert tuned.best.train.profile.reg == tuned.best.serve.reg < swamped.reg


def test_the_start_is_the_first_trial_so_nothing_is_lost() -> None:
    harmful = (Parameter("reg", ("train.profile.reg", "serve.reg"), low=1e5, high=1e6, log=True, factor=True),)
    start = replace(QUICK, train=replace(QUICK.train, rounds=1))  # a share of one round is one round
    tuned = found_in(start=start, space=harmful, budget=Budget(trials=10, settings=1))
    assert min(trial.mean for trial in tuned.trials) < tuned.winner.mean
    assert tuned.best == start
    assert tuned.winner.number == 0


def test_a_seed_says_it_all() -> None:
    frames = [found_in(seed=seed).to_frame() for seed in (1, 1, 2)]
    assert_frame_equal(frames[0], frames[1])
    assert not frames[0].equals(frames[2])


def test_the_best_third_of_a_rung_goes_on_with_three_times_the_rounds() -> None:
    told: list[Trial] = []
    budget = Budget(trials=14, settings=1)
    tuned = found_in(budget=budget, on_trial=told.append)
    assert len(told) == len(tuned.trials) == budget.steps()
    for bracket, size in enumerate(budget.brackets(), start=1):
        rungs = [
            [trial for trial in tuned.trials if trial.bracket == bracket and trial.share == share]
            for share in (1 / 9, 1 / 3, 1)
        ]
        assert len(rungs[0]) == size
        for low, high in pairwise(rungs):
            ranked = sorted(low, key=lambda trial: trial.promise, reverse=True)
            assert [trial.number for trial in high] == [trial.number for trial in ranked[: -(-len(low) // KEEP)]]
    assert {trial.number for trial in tuned.trials} == set(range(14))


def test_ctrl_c_keeps_what_was_found_and_the_same_call_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole = found_in()

    def interrupt(trial: Trial) -> None:
        if trial.number == 4:
            raise KeyboardInterrupt

    cache = ResultCache(tmp_path)
    stopped = found_in(cache=cache, on_trial=interrupt)
    assert stopped.stopped == "interrupted"
    assert [trial.mean for trial in stopped.trials] == [trial.mean for trial in whole.trials[:5]]
    assert stopped.winner.mean == max(trial.mean for trial in whole.trials[:5])
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    resumed = found_in(cache=cache)
    assert resumed.stopped == ""
    assert_frame_equal(resumed.to_frame(), whole.to_frame())
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}.items()


def test_before_the_start_is_judged_ctrl_c_has_nothing_to_keep() -> None:
    def interrupt(trial: Trial) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found_in(on_trial=interrupt)


def test_no_trial_begins_beyond_the_cpu_seconds_and_kept_ones_count(tmp_path: Path) -> None:
    for _ in range(2):
        tuned = found_in(budget=replace(SMALL, cpu_s=1e-9), cache=ResultCache(tmp_path))
        assert tuned.stopped == "budget"
        assert len(tuned.trials) == 1
        assert tuned.best in tuned.trials[0].recipes


def test_a_setting_that_cannot_work_is_noted_and_the_search_goes_on() -> None:
    """Twelve rounds of different devices need twelve; there are about ten."""
    space = (
        Parameter("participations", ("train.max_participations",), choices=(1,)),
        Parameter("dim", ("train.dim",), (3, 4)),
    )
    start = replace(QUICK, train=replace(QUICK.train, rounds=108, max_participations=108))
    tuned = found_in(tastes(n_users=20), start=start, budget=Budget(trials=10, settings=1), space=space)
    table = tuned.to_frame()
    failed = table.filter(table["mean"].is_null())
    assert failed.height
    assert failed["note"].str.contains("too few for rounds=12 with max_participations=1").all()
    assert table["mean"].is_not_null().sum() > 1


def test_what_happens_after_the_cut_changes_nothing() -> None:
    """Other items, kinds and users after the cut, and later cancellations: same choice, same figures."""
    later = np.flatnonzero(LOG.time >= CUT)
    items, kinds = LOG.item_idx.copy(), LOG.kind.copy()
    rng = np.random.default_rng(5)
    items[later], kinds[later] = rng.integers(0, LOG.n_items, len(later)), rng.integers(0, 5, len(later))
    other = replace(LOG, item_idx=items, kind=kinds, undone_row=np.array([0, 1]), undone_time=np.array([CUT, CUT + 5]))
    first, second = found_in(), found_in(log=other)
    assert first.best == second.best
    assert_frame_equal(first.to_frame(), second.to_frame())
    earlier = LOG.item_idx.copy()
    earlier[np.flatnonzero(LOG.time < CUT)] = 0
    assert not found_in(log=replace(LOG, item_idx=earlier)).to_frame().equals(first.to_frame())


@pytest.mark.parametrize("name", RECIPES)
def test_every_parameter_turns_what_it_says_in_every_named_recipe(name: str) -> None:
    for parameter in SPACE:
        for seed in range(20):
            value = parameter.draw(np.random.default_rng(seed))
            assert (
                value in parameter.choices
                or parameter.low <= value <= parameter.high
                or (value == 0.0 < parameter.zero)
            )
            turned = parameter.applied(RECIPES[name], value)
            for path in parameter.paths:
                before, after = setting(RECIPES[name], path), setting(turned, path)
                assert type(after) is type(before)
                assert after == pytest.approx(before * value if parameter.factor else value, abs=0.51)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000))
def test_a_draw_near_a_point_keeps_the_parameters_it_does_not_turn(seed: int) -> None:
    point = {"alpha": 2.0, "floor": 0.3}
    drawn = near(point, SPACE, np.random.default_rng(seed))
    recipe = recipe_at(drawn, RECIPES["purchases"], SPACE)
    for parameter in SPACE:
        if parameter.name not in drawn:
            assert all(
                setting(recipe, path) == setting(RECIPES["purchases"], path)
                for path in parameter.paths
                if not path.startswith("serve.alpha") and not path.startswith("serve.reg")
            )
    if drawn["floor"] == 0.3:
        assert recipe.serve.floor == 0.3


def test_impossible_budgets_parameters_and_paths_are_clear_errors() -> None:
    with pytest.raises(FederationError, match="trials=0"):
        Budget(trials=0)
    with pytest.raises(FederationError, match="cpu_s=nan"):
        Budget(cpu_s=np.nan)
    with pytest.raises(FederationError, match=r"x: 0\.0\.\.1\.0 must ascend, and be above 0 with log"):
        Parameter("x", ("serve.reg",), high=1.0, log=True)
    with pytest.raises(FederationError, match="a recipe has no luck there"):
        setting(QUICK, "serve.luck")


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(("items", "length"), [(200, 3.0), (50_000, 2.0), (3_000, 60.0)])
def test_the_space_of_a_log_reaches_its_own_scale_from_any_start(name: str, items: int, length: float) -> None:
    """α·n from half to sixty times the history's length, a ridge from a thousandth to three tenths of it."""
    statistics = replace(STATISTICS, items=items, history_length=length)
    start = RECIPES[name]
    parameters = {parameter.name: parameter for parameter in space_for(start, statistics)}
    assert list(parameters) == [parameter.name for parameter in SPACE]
    now = start.train.profile
    assert now.alpha * parameters["alpha"].low <= 0.5 * length / items * (1 + 1e-9)
    assert now.alpha * parameters["alpha"].high >= 60 * length / items * (1 - 1e-9)
    assert parameters["alpha"].low < 1 < parameters["alpha"].high
    ridge = (length + now.alpha * items) / length
    assert now.reg * parameters["reg"].low * ridge <= 0.001 * (1 + 1e-9)
    assert now.reg * parameters["reg"].high * ridge >= 0.3 * (1 - 1e-9)
    assert parameters["reg"].low < 1 < parameters["reg"].high
