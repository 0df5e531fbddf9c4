"""What is compared how: the recipe and the protocol that a log gets when nobody says."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import DataError, FederationError
from data.interactions import MICROS_PER_DAY, EventKind, Interactions, interactions
from federation.lab.comparison import compare_models, protocol_for, question, recipe_for
from federation.lab.recipes import Recipe
from federation.simulation.training import TrainConfig

HOUR = MICROS_PER_DAY // 24


def views(visits: int, gap: int, n_users: int = 40, kind: EventKind = EventKind.VIEW) -> Interactions:
    """Each user views an item `visits` times, one every `gap` µs; users begin a day after each other."""
    users = np.repeat(np.arange(n_users), visits)
    time = users * MICROS_PER_DAY + np.tile(np.arange(visits), n_users) * gap
    return interactions(
        users, (users + time // gap) % 7, time, n_users=n_users, n_items=7, kind=np.full(len(users), kind)
    )


def test_views_are_sessions_only_where_most_users_are_seen_on_one_day():
    short, long = views(4, HOUR), views(4, 20 * MICROS_PER_DAY)
    assert [recipe_for(log) for log in (short, long)] == ["sessions", "sessions"]
    assert [protocol_for("sessions", log) for log in (short, long)] == ["sessions", "temporal"]
    assert protocol_for("purchases", short) == "temporal"


def test_the_kinds_of_events_decide_the_recipe():
    assert recipe_for(views(2, HOUR, kind=EventKind.CART)) == "purchases"
    assert recipe_for(views(2, HOUR, kind=EventKind.LIKE)) == "ratings"


def test_nobody_is_asked_about_less_than_most_returning_users():
    log = views(10, 7 * MICROS_PER_DAY)
    asked = question(log, protocol_for(recipe_for(log), log))
    assert np.count_nonzero(asked.split.test.counts) > log.n_users / 2


def test_a_protocol_that_finds_no_sessions_names_the_other():
    log = views(10, 7 * MICROS_PER_DAY)
    with pytest.raises(DataError, match=r"1970-\d\d-\d\d.*test has no sessions; .*temporal"):
        question(log, "sessions")


def test_dislikes_alone_are_refused_before_anything_is_trained():
    log = views(10, 7 * MICROS_PER_DAY, kind=EventKind.DISLIKE)
    with pytest.raises(FederationError, match="dislikes only"):
        compare_models(question(log, "temporal"), Recipe(TrainConfig(rounds=0)), seed=0)
