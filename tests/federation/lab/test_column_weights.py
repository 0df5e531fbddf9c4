"""The columns of the plain score are weighed by devices that never trained: the intent, and the trend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from data.interactions import MICROS_PER_DAY, Interactions, interactions
from federation.lab import column_weights
from federation.lab.column_weights import FEWEST, ColumnWeights, choose_column_weights
from federation.simulation.cohort import holdout_devices
from federation.simulation.training import Training, train
from recsys.model.intent_config import IntentConfig
from recsys.model.trend import trend
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


def figure(found: ColumnWeights, share: float, trend_weight: float = 0.0) -> float:
    return found.figures[share, trend_weight]


def test_where_the_next_event_follows_from_the_last_the_intent_stays() -> None:
    log = chains()
    training = trained(log)
    found = choose_column_weights(training, SERVE, log)
    assert figure(found, 0.5) > 1.2 * figure(found, 0.0)
    assert found.config.intent_share > 0
    kept = choose_column_weights(training, found.config, log)
    assert kept.config == found.config
    assert kept.reason == ""


def test_where_only_the_taste_counts_the_intent_is_given_up_and_it_is_said() -> None:
    log = chains()
    training = trained(log)
    scrambled = training.table.item_embeddings.copy()
    intent = training.table.part("intent")
    scrambled[:, intent] = np.random.default_rng(0).permutation(scrambled[:, intent])  # an intent that misleads
    training = replace(training, table=replace(training.table, item_embeddings=scrambled))
    found = choose_column_weights(training, SERVE, log)
    assert found.config.intent_share == 0.0
    assert figure(found, 0.0) > 1.2 * figure(found, 0.95)
    assert found.reason.startswith("intent's share 0.95 → 0")
    assert f"last baskets of {found.devices} held-out devices with NDCG@20" in found.reason


def fashions(n_users: int = 400, n_items: int = 60, events: int = 12) -> Interactions:
    """Whoever comes at a time takes what is in fashion then: each tenth of the log has six items of its own."""
    rng = np.random.default_rng(3)
    begin = rng.random(n_users)
    at = np.minimum(begin[:, None] + np.sort(rng.random((n_users, events)), axis=1) * 0.5, 1.4999)
    item = (np.floor(at / 0.15) * 6).astype(np.int64) % n_items + rng.integers(0, 6, at.shape)
    time = (at * 100 * MICROS_PER_DAY).astype(np.int64)
    return interactions(
        np.repeat(np.arange(n_users), events), item.ravel(), time.ravel(), n_users=n_users, n_items=n_items
    )


def test_where_fashion_counts_the_trend_gets_a_weight() -> None:
    log = fashions()
    training = trained(log)
    noise = np.random.default_rng(0).normal(size=training.table.item_embeddings.shape).astype(np.float32)
    training = replace(training, table=replace(training.table, item_embeddings=noise))  # a taste that says nothing
    found = choose_column_weights(training, SERVE, log)
    assert found.config.trend_weight > 0
    assert found.figures[found.config.intent_share, found.config.trend_weight] > 1.2 * figure(found, 0.95)
    assert "trend's weight 0 →" in found.reason


def test_trends_have_not_seen_the_baskets_they_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    log, asked = fashions(), []

    def spy(past: Interactions, now: int, half_life: float) -> Any:
        asked.append(now)
        assert past.n_events == 0 or past.time.max() < now
        return trend(past, now, half_life)

    monkeypatch.setattr(column_weights, "trend", spy)
    choose_column_weights(trained(log), SERVE, log)
    assert 1 < len(asked) <= column_weights.MOMENTS


def test_only_devices_that_never_trained_judge() -> None:
    log = chains()
    training = trained(log)
    judging = holdout_devices(240, 0.3, 0)
    found = choose_column_weights(training, SERVE, log)
    assert FEWEST <= found.devices <= judging.sum()
    items = log.item_idx.copy()
    trained_on = ~judging[log.user_idx]
    items[trained_on] = np.random.default_rng(1).permutation(items[trained_on])
    other = choose_column_weights(training, SERVE, replace(log, item_idx=items))
    for share in (0.0, 0.5, 0.95):  # without a trend nothing that the others did counts
        assert figure(other, share) == pytest.approx(figure(found, share))


def test_few_devices_leave_the_recipe_as_it_is() -> None:
    log = tastes(n_users=FEWEST)
    few = choose_column_weights(trained(log), SERVE, log)
    assert (few.config, few.reason, few.figures) == (SERVE, "", {})


def test_a_recipe_without_intent_is_tried_with_other_trends_alone() -> None:
    log = tastes(n_users=240)
    found = choose_column_weights(train(log, CONFIG, seed=0, now=NOW), PROFILE, log)
    assert {share for share, _ in found.figures} <= {PROFILE.intent_share}


def test_a_log_without_times_has_no_trend_to_weigh_and_one_list_for_all_no_columns() -> None:
    log = chains()
    untimed = replace(log, time=np.zeros_like(log.time))
    training = train(log, replace(TRAIN, intent=None, profile=PROFILE), seed=0, now=NOW)
    found = choose_column_weights(training, PROFILE, untimed)
    assert found.devices >= FEWEST
    assert len(set(found.figures.values())) == 1
    assert found.config == PROFILE
    for_all = replace(training, config=replace(training.config, strategy="global"))
    assert choose_column_weights(for_all, PROFILE, log).figures == {}
    nobody = replace(training, config=replace(training.config, holdout_share=0.0))
    assert choose_column_weights(nobody, PROFILE, log).config == PROFILE
