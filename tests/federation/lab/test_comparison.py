"""What is compared how: what a protocol asks, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import DataError, FederationError
from data.interactions import MICROS_PER_DAY, EventKind, Interactions, interactions
from federation.lab.comparison import compare_models
from federation.lab.defaults import protocol_for
from federation.lab.questions import question
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


def test_nobody_is_asked_about_less_than_most_returning_users():
    log = views(10, 7 * MICROS_PER_DAY)
    asked = question(log, protocol_for(log))
    assert np.count_nonzero(asked.split.test.counts) > log.n_users / 2


def test_a_protocol_that_finds_no_sessions_names_the_other():
    log = views(10, 7 * MICROS_PER_DAY)
    with pytest.raises(DataError, match=r"1970-\d\d-\d\d.*test has no sessions; .*temporal"):
        question(log, "sessions")


def test_dislikes_alone_are_refused_before_anything_is_trained():
    log = views(10, 7 * MICROS_PER_DAY, kind=EventKind.DISLIKE)
    with pytest.raises(FederationError, match="dislikes only"):
        compare_models(question(log, "temporal"), Recipe(TrainConfig(rounds=0)), seed=0)
