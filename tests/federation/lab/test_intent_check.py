"""The intent is checked before it is served: kept where the next event follows from the last, not where it does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.interactions import Interactions, interactions
from federation.lab.intent_check import FEWEST, check_intent
from federation.simulation.cohort import holdout_devices
from federation.simulation.training import Training, train
from recsys.model.intent_config import IntentConfig
from tests.federation.learning.test_taste_update import NOW
from tests.federation.simulation.test_training import CONFIG, PROFILE, tastes

SERVE = replace(PROFILE, intent_pools=(0.5, 0.0), intent_share=0.95, trend_weight=0.0)
TRAIN = replace(
    CONFIG, rounds=20, measure_every=0, profile=SERVE, holdout_share=0.3,
    intent=IntentConfig(rounds=15, cohort_size=200, max_participations=15),
)  # fmt: skip


def chains(n_users: int = 240, n_items: int = 40, events: int = 10) -> Interactions:
    """Everybody walks through the items, from a place of their own: the next item follows from the last one alone."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(n_users), events)
    item = (rng.integers(0, n_items, n_users)[user] + np.tile(np.arange(events), n_users)) % n_items
    time = np.tile(np.arange(events), n_users) * 60_000_000 + user
    return interactions(user, item, time, n_users=n_users, n_items=n_items)


def trained(log: Interactions) -> Training:
    return train(log, TRAIN, seed=0, now=NOW)


def test_where_the_next_event_follows_from_the_last_the_intent_stays() -> None:
    log = chains()
    training = trained(log)
    found = check_intent(training, SERVE, log)
    assert found.figures[0.95] > 1.2 * found.figures[0.0]
    assert found.config.intent_share > 0
    kept = check_intent(training, found.config, log)
    assert kept.config == found.config
    assert kept.reason == ""


def test_where_only_the_taste_counts_the_intent_is_given_up_and_it_is_said() -> None:
    log = tastes(n_users=240)
    training = trained(log)
    scrambled = training.table.item_embeddings.copy()
    intent = training.table.part("intent")
    scrambled[:, intent] = np.random.default_rng(0).permutation(scrambled[:, intent])  # an intent that misleads
    training = replace(training, table=replace(training.table, item_embeddings=scrambled))
    found = check_intent(training, SERVE, log)
    assert found.config.intent_share == 0.0
    assert found.figures[0.0] > 1.2 * found.figures[0.95]
    assert found.reason.startswith(
        f"intent's share 0.95 → 0: foretells last baskets of {found.devices} held-out devices"
    )


def test_only_devices_that_never_trained_judge() -> None:
    log = tastes(n_users=240)
    training = trained(log)
    judging = holdout_devices(240, 0.3, 0)
    assert check_intent(training, SERVE, log).devices == judging.sum()
    others = log.where(judging[log.user_idx])  # without those that trained the figures are the same
    assert check_intent(training, SERVE, others).figures == pytest.approx(check_intent(training, SERVE, log).figures)


def test_few_devices_or_no_intent_leave_the_recipe_as_it_is() -> None:
    log = tastes(n_users=FEWEST)
    few = check_intent(trained(log), SERVE, log)
    assert (few.config, few.reason, few.figures) == (SERVE, "", {})
    plain = train(log, CONFIG, seed=0, now=NOW)
    assert check_intent(plain, PROFILE, log).config == PROFILE
