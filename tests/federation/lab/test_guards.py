"""Guards of a search: what a figure is bought with is seen, and refused with words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.interactions import MICROS_PER_DAY as DAY
from data.interactions import EventKind, Interactions, interactions
from federation.lab.folds import Folds
from federation.lab.guards import FEWEST, GUARDED, PartSum, refusal
from federation.lab.recipes import Recipe
from federation.lab.search_space import Parameter
from federation.lab.selection import cross_validate
from federation.lab.tuning import Budget, tune
from tests.federation.simulation.test_training import CONFIG, PROFILE


def part(mean: float, devices: int = 400, spread: float = 0.2) -> PartSum:
    return PartSum(devices, mean * devices, (mean**2 + spread**2) * devices)


BEGUN = {name: part(0.1) for name in GUARDED}
TREND = {name: part(0.05) for name in GUARDED}


def test_mean_and_error_by_hand() -> None:
    # 0, 0, 1, 1: mean 1/2, variance 1/4, error √(1/4 / 4) = 1/4
    values = PartSum(4, 2, 2)
    assert (values.mean, values.error) == (0.5, 0.25)
    assert values + PartSum(1, 1, 1) == PartSum(5, 3, 3)


def test_a_part_below_the_interval_of_the_start_is_refused_by_name_and_figure() -> None:
    # error .2 / √400 = .01, so the lower end is .1 − 1.96 · .01 = .0804
    assert refusal(BEGUN | {"new": part(0.081)}, BEGUN, TREND) == ""
    assert refusal(BEGUN | {"new": part(0.079), "cold": part(0.01)}, BEGUN, TREND) == (
        "new 0.079 is below 0.080, the lower end of what it began with; "
        "cold 0.010 is below 0.080, the lower end of what it began with"
    )


def test_below_the_trend_is_refused_where_the_start_was_not() -> None:
    loose = {name: part(0.1, devices=40, spread=0.5) for name in GUARDED}  # its interval reaches below 0
    found = loose | {"tail": part(0.06, devices=40)}
    assert refusal(found, loose, {name: part(0.07, devices=40) for name in GUARDED}) == (
        "tail 0.060 is below the trend's 0.070"
    )
    assert refusal(found, loose, {name: part(0.2, devices=40) for name in GUARDED}) == ""  # the start is below it too


def test_a_part_of_few_devices_refuses_nothing() -> None:
    few = {name: part(0.1, devices=FEWEST - 1) for name in GUARDED}
    assert refusal({name: part(0.0, devices=FEWEST - 1) for name in GUARDED}, few, few) == ""
    assert refusal({}, BEGUN, TREND) == ""


@given(st.floats(0.0, 1.0), st.floats(0.0, 0.5), st.floats(0.0, 1.0), st.integers(FEWEST, 10_000))
def test_what_one_began_with_is_never_refused(mean: float, spread: float, plain: float, devices: int) -> None:
    start = {name: part(mean, devices, spread) for name in GUARDED}
    assert refusal(start, start, {name: part(plain, devices) for name in GUARDED}) == ""


def habits(n_users: int = 240) -> Interactions:
    """Users who mostly buy again what they had, and now and then one of ten bestsellers that they did not have yet."""
    rng = np.random.default_rng(3)
    user = np.repeat(np.arange(n_users), 24)
    own = 10 + (user * 17 + rng.integers(0, 4, len(user)) * 29) % 190
    item = np.where(rng.random(len(user)) < 0.8, own, rng.integers(0, 10, len(user)))
    kind = np.full(len(user), EventKind.PURCHASE)
    time = np.tile(np.arange(24), n_users) * DAY
    return interactions(user, item, time, n_users=n_users, n_items=200, kind=kind)


def folds() -> Folds:
    return Folds(habits(), "temporal", windows=((16 * DAY, 24 * DAY),), devices=2)


SWAMPED = replace(PROFILE, reg=1e3, trend_weight=3.0, repeat_weight=0.3)
"""A taste that says nothing: new items are found by the trend alone, own ones by the counter."""
START = Recipe(replace(CONFIG, measure_every=0, rounds=4, dim=4, profile=SWAMPED), SWAMPED)
NO_TREND = (Parameter("trend_weight", ("serve.trend_weight",), choices=(0.0,)),)


def test_a_setting_that_destroys_new_items_is_refused_with_words_though_its_figure_is_higher() -> None:
    harmful = replace(START, serve=replace(SWAMPED, trend_weight=0.0))
    judged = cross_validate(folds(), [START, harmful])
    new = {recipe: judged.parts_of(recipe)["new"].mean for recipe in (START, harmful)}
    assert judged.best == harmful
    assert new[harmful] < 0.3 * new[START]
    refused = dict(zip(judged.candidates, judged.refusals(judged.parts_of(START)), strict=True))
    assert refused[START] == ""
    assert refused[harmful].startswith(f"new {new[harmful]:.3f} is below ")
    assert judged.best_allowed(START) == START


def test_a_search_keeps_what_it_began_with_where_every_better_figure_is_bought() -> None:
    tuned = tune(folds(), START, Budget(trials=1, settings=12), space=NO_TREND, seed=1)
    assert tuned.best == START
    trial, mean, why = max(tuned.refusals, key=lambda refused: refused[1])
    assert mean > tuned.winner.mean
    assert why.startswith("new 0.")
    table = tuned.to_frame()
    assert table.filter("chosen")["note"].to_list() == [""]
    assert table.filter(table["note"] == why)["mean"].max() == mean
    assert trial == 0
