"""What is served where hardly any device can prove weights: trend and own items, or what the few judge better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.interactions import MICROS_PER_DAY as DAY
from data.interactions import Interactions, interactions
from federation.lab.mixing import learn_mix
from federation.lab.questions import question
from federation.lab.recipes import RECIPES
from federation.simulation.training import train
from recsys.mix.features import FEATURES
from recsys.mix.model import MixModel
from recsys.mix.priors import CAUTIOUS, LISTS, PRIORS, cautious_weights, prior_weights

QUICK = {
    name: replace(one, train=replace(one.train, rounds=20, dim=12, intent=None, measure_every=0))
    for name, one in RECIPES.items()
}


def visits(n_users: int, days: list[int], groups: int = 6, items: int = 60, chosen: float = 0.9) -> Interactions:
    """Each user has three events of the own group of items on each of the days."""
    rng = np.random.default_rng(0)
    n = 3 * len(days)
    user = np.repeat(np.arange(n_users), n)
    own = (user % groups) + groups * rng.integers(0, items // groups, len(user))
    item = np.where(rng.random(len(user)) < chosen, own, rng.integers(0, items, len(user)))
    time = np.tile(np.repeat(days, 3), n_users) * DAY + user
    return interactions(user, item, time, n_users=n_users, n_items=items)


def learned(log: Interactions, name: str, at: int) -> MixModel:
    asked = question(log, "temporal", at)
    recipe = QUICK[name]
    table = train(asked.split.train, recipe.train, seed=0, now=asked.now).table
    return learn_mix(asked, recipe, name, table, seed=0)


@pytest.mark.parametrize("name", PRIORS)
def test_where_nobody_has_come_back_the_trend_leads_and_is_said_to_be_cautious(name: str) -> None:
    """All that is known is one visit each, so no earlier question has an answer."""
    found = learned(visits(120, [0, 30]), name, 20 * DAY)
    assert found.served == dict.fromkeys(LISTS, CAUTIOUS)
    assert found.devices == 0
    for listed in LISTS:
        np.testing.assert_array_equal(found.weights[listed], cautious_weights(name, listed, seen=False))
        weights = dict(zip(FEATURES, found.weights[listed].tolist(), strict=True))
        assert weights["trend_7d"] + weights["trend_90d"] > 0
        assert weights["taste"] == weights["taste_rank"] == weights["next"] == weights["near"] == 0


def test_a_few_devices_with_a_strong_taste_are_served_what_they_judge_better() -> None:
    found = learned(visits(70, [0, 10, 20, 30], chosen=1.0), "ratings", 25 * DAY)
    assert 0 < found.devices < 100
    assert found.served["new"] == "prior"
    np.testing.assert_array_equal(found.weights["new"], prior_weights("ratings", "new"))


def test_a_few_devices_of_no_taste_at_all_stay_with_the_cautious_weights() -> None:
    found = learned(visits(70, [0, 10, 20, 30], chosen=0.0), "ratings", 25 * DAY)
    assert 0 < found.devices < 100
    assert set(found.served.values()) <= {CAUTIOUS, "prior"}
    skewed = visits(70, [0, 10, 20, 30], chosen=0.0)
    popular = replace(skewed, item_idx=(skewed.item_idx // 12 % 60).astype(np.int32))  # five items, whoever asks
    mixed = np.where(np.random.default_rng(1).random(skewed.n_events) < 0.7, popular.item_idx, skewed.item_idx)
    assert learned(replace(skewed, item_idx=mixed.astype(np.int32)), "ratings", 25 * DAY).served["new"] == CAUTIOUS


@pytest.mark.parametrize("name", PRIORS)
def test_a_few_who_came_back_let_the_other_signals_order_equals(name: str) -> None:
    weights = dict(zip(FEATURES, cautious_weights(name, "new").tolist(), strict=True))
    assert weights["trend_7d"] + weights["trend_90d"] > weights["taste"] + weights["taste_rank"] > 0


def test_own_items_lead_the_list_of_all_items_but_for_ratings() -> None:
    place = FEATURES.index("own")
    assert cautious_weights("purchases", "all")[place] > 0
    assert cautious_weights("sessions", "all")[place] > 0
    assert cautious_weights("ratings", "all")[place] < 0
    assert all(cautious_weights(name, "new")[place] == 0 for name in PRIORS)
