"""The recipe and the protocol of a log when nobody says: on the log's scale, and turned by no single event."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.errors import DataError
from data.interactions import MICROS_PER_DAY as DAY
from data.interactions import EventKind, Interactions, interactions
from data.log_statistics import LogStatistics, measure_log
from federation.lab.comparison import compare_models
from federation.lab.defaults import (
    BOUNDARY,
    choose_defaults,
    fitted,
    protocol_for,
    protocol_of,
    recipe_fits,
    scaled,
    settle,
)  # fmt: skip
from federation.lab.questions import question
from federation.lab.recipes import RECIPES, Recipe, recipe
from recsys.model.trend import HALF_LIFE_DAYS
from tests.federation.lab.test_comparison import HOUR, views

STATISTICS = LogStatistics(
    devices=1_000, returning_devices=900, items=500, events=20_000, kind_shares=(0.5, 0.0, 0.5, 0.0, 0.0),
    history_length=15.0, visits=4.0, events_per_visit=5.0, return_share=0.5, gap_days=3.0, repeat_share=0.2,
    known_share=0.5, days=90.0, timed=True,
)  # fmt: skip


def test_shoppers_who_do_not_come_back_are_sessions_whatever_they_do() -> None:
    for kind in (EventKind.VIEW, EventKind.PURCHASE):
        assert choose_defaults(measure_log(views(4, HOUR, kind=kind))).tried == ("sessions",)


def test_shoppers_who_come_back_to_buy_are_purchases_and_likes_are_ratings() -> None:
    weeks = 7 * DAY
    assert choose_defaults(measure_log(views(4, weeks, kind=EventKind.CART))).tried == ("purchases",)
    assert choose_defaults(measure_log(views(4, weeks, kind=EventKind.VIEW))).tried == ("sessions",)
    for kind in (EventKind.LIKE, EventKind.DISLIKE):
        assert choose_defaults(measure_log(views(4, weeks, kind=kind))).tried == ("ratings",)


def test_a_split_in_time_needs_later_devices_that_are_known() -> None:
    assert protocol_for(views(4, HOUR)) == "sessions"
    assert protocol_for(views(4, 20 * DAY)) == "temporal"
    untimed = views(4, HOUR)
    assert protocol_for(replace(untimed, time=np.zeros_like(untimed.time))) == "leave-last-out"
    assert protocol_of("leave-last-out", untimed) == "leave-last-out"
    assert protocol_of("auto", untimed) == "sessions"
    with pytest.raises(DataError, match="protocol='x': must be auto, temporal, sessions, leave-last-out"):
        protocol_of("x", untimed)


@settings(deadline=None, max_examples=60)
@given(back=st.floats(0, 1), bought=st.floats(0, 1), rated=st.floats(0, 1), step=st.floats(0, 0.01))
def test_fits_are_continuous_and_near_a_boundary_both_recipes_are_tried(
    back: float, bought: float, rated: float, step: float
) -> None:
    rated, bought = rated, bought * (1 - rated)
    here = replace(STATISTICS, return_share=back, kind_shares=(1 - bought - rated, 0.0, bought, rated, 0.0))
    there = replace(here, return_share=min(back + step, 1.0))
    for name, fit in recipe_fits(here).items():
        assert abs(recipe_fits(there)[name] - fit) <= step + 1e-12
    fits, tried = recipe_fits(here), choose_defaults(here).tried
    assert sum(fits.values()) == pytest.approx(1.0)
    best = max(fits.values())
    assert set(tried) == {name for name in fits if best - fits[name] < BOUNDARY}


def test_one_purchase_among_the_clicks_of_e_shop_changes_no_choice_and_no_figure() -> None:
    log = Dataset.open("sample:eshop-2008").interactions()
    kinds = log.kind.copy()
    kinds[len(kinds) // 3] = EventKind.PURCHASE
    planted = replace(log, kind=kinds)
    for other in (log, planted):
        chosen = choose_defaults(measure_log(other))
        assert (chosen.tried, chosen.protocol) == (("sessions",), "sessions")
    figures = []
    for other in (log, planted):
        asked = question(other, protocol_for(other))
        chosen = settle(asked.split.train).recipe
        quick = replace(chosen, train=replace(chosen.train, rounds=2, dim=8, intent=None, measure_every=0))
        compared = compare_models(asked, quick, seed=0, models=["personalized"], bootstrap=2)
        figures.append(np.nanmean(compared.evaluation.column("personalized", "ndcg@20")))
    assert figures[0] == pytest.approx(figures[1], abs=1e-4)
    assert figures[0] > 0.05


@pytest.mark.parametrize(("sample", "name"), [("online-retail", "purchases"), ("eshop-2008", "sessions")])
def test_the_logs_on_which_the_recipes_were_chosen_keep_them_as_they_are(sample: str, name: str) -> None:
    log = Dataset.open(f"sample:{sample}").interactions()
    settled = settle(log)
    assert settled.name == name
    assert settled.recipe == RECIPES[name]
    assert settled.participations == 0


def test_a_movie_log_keeps_the_recipe_of_ratings() -> None:
    movies = replace(STATISTICS, devices=943, items=1_682, history_length=106.0, kind_shares=(0.0, 0.0, 0.0, 1.0, 0.0))
    assert choose_defaults(movies).recipe == "ratings"
    assert scaled(RECIPES["ratings"], movies) == RECIPES["ratings"]


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("items", [10, 500, 100_000, 10_000_000])
@pytest.mark.parametrize("length", [1.0, 5.0, 200.0])
def test_the_ridge_of_a_mean_history_never_drowns_it(name: str, items: int, length: float) -> None:
    base, known = RECIPES[name], replace(STATISTICS, items=items, history_length=length)
    found = scaled(base, known)
    profile = found.train.profile
    assert profile.alpha <= base.train.profile.alpha
    assert profile.alpha * items <= 30 * length * (1 + 1e-9)
    assert profile.reg * (length + profile.alpha * items) <= 0.1 * length * (1 + 1e-9)
    assert found.serve.alpha / profile.alpha == pytest.approx(base.serve.alpha / base.train.profile.alpha)
    assert found.serve.reg / profile.reg == pytest.approx(base.serve.reg / base.train.profile.reg)
    assert scaled(found, known).train.profile == profile


@pytest.mark.parametrize("devices", [500, 31_013, 1_000_000])
def test_participation_grows_with_the_fleet(devices: int) -> None:
    for base in RECIPES.values():
        found = scaled(base, replace(STATISTICS, devices=devices)).train
        assert found.rounds * found.cohort_size >= 2 * devices
        assert found.cohort_size >= base.train.cohort_size
        if found.intent is not None:
            assert found.intent.rounds * found.intent.cohort_size >= 2 * devices


def test_a_tenfold_catalogue_of_noise_does_not_take_the_taste_away() -> None:
    """Short histories and many items that nobody had: the recipe falls to the trend, on the log's scale it does not."""
    rng = np.random.default_rng(0)
    n_users, groups = 400, 8
    user = np.repeat(np.arange(n_users), 4)
    item = (user % groups) * 10 + rng.integers(0, 10, len(user))
    log = interactions(user, item, np.tile(np.arange(4), n_users) * DAY, n_users=n_users, n_items=20_000)
    asked = question(log, "temporal", 3 * DAY)
    figures = []
    for found in (RECIPES["purchases"], fitted("purchases", asked.split.train)[0]):
        quick = Recipe(
            replace(found.train, rounds=20, dim=16, measure_every=0), replace(found.serve, repeat_weight=0.0)
        )
        compared = compare_models(asked, quick, seed=0, models=["personalized", "global"], bootstrap=2)
        figures.append(
            [float(np.nanmean(compared.evaluation.column(name, "ndcg@20"))) for name in ("personalized", "global")]
        )
    (before, trend), (after, _) = figures
    assert before < 1.5 * trend
    assert after > 2.0 * trend


def test_reasons_name_the_choice_and_every_change() -> None:
    log = views(4, HOUR)
    log = replace(log, n_items=50_000)
    found = settle(log)
    said = " | ".join(found.reasons)
    assert "recipe sessions: 0% of a history is carts and purchases" in said
    assert "protocol sessions: only" in said
    assert "α 0.05 → 0.0024: 4.0 items a history, 50,000 in all" in said
    assert found.recipe.train.trend_half_life == HALF_LIFE_DAYS
    assert recipe("sessions").train.profile.alpha == 0.05


def mixed(n_users: int = 120) -> Interactions:
    """Half of the shoppers come back, and half of what they do is buying: two recipes fit about as well."""
    user = np.repeat(np.arange(n_users), 6)
    place = np.tile(np.arange(6), n_users)
    time = user * HOUR + place * np.where(user % 2, 3 * DAY, HOUR // 10)
    kind = np.where(place % 2, EventKind.PURCHASE, EventKind.VIEW)
    item = (user % 5) * 6 + (place + user) % 6
    return interactions(user, item, time, n_users=n_users, n_items=30, kind=kind)


def test_near_a_boundary_the_better_one_on_held_out_devices_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = {
        name: Recipe(replace(one.train, rounds=4, dim=4, cohort_size=20, intent=None, measure_every=0), one.serve)
        for name, one in RECIPES.items()
    }
    monkeypatch.setitem(RECIPES, "sessions", quick["sessions"])
    monkeypatch.setitem(RECIPES, "purchases", quick["purchases"])
    log, steps = mixed(), 0

    def count() -> None:
        nonlocal steps
        steps += 1

    found = settle(log, on_step=count)
    assert set(found.defaults.tried) == {"sessions", "purchases"}
    assert steps == 4  # two recipes on two folds
    assert found.participations > 0
    assert "of the two," in " ".join(found.reasons)
    assert f"recipe {found.defaults.recipe}" in found.reasons[0]
    figures = dict(re.findall(r"(sessions|purchases) (0\.\d+)", " ".join(found.reasons)))
    assert float(figures[found.name]) == max(map(float, figures.values()))


def test_what_is_too_small_to_try_both_on_gets_the_best_fit_and_says_so() -> None:
    found = settle(mixed(n_users=12))
    assert len(found.defaults.tried) == 2
    assert found.name == found.defaults.recipe
    assert "for there is too little to try both on (" in " ".join(found.reasons)
    assert found.participations == 0


def test_without_validation_nothing_but_the_statistics_decides() -> None:
    found = settle(mixed(), validate=False)
    assert (found.name, found.participations) == (found.defaults.tried[0], 0)
    assert not any("of the two" in reason for reason in found.reasons)
