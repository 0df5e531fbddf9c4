"""Replay with federated rounds: what the trainer learns day by day, and arms by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from data.errors import DataError, FederationError
from federation.lab.recipes import Recipe, privately, recipe
from federation.lab.replay import mixed_arm, named_arm, replay
from federation.learning.item_step import StepState, item_step
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.simulation.continual import ContinualTrainer
from federation.simulation.intent_sums import sum_intent_updates
from federation.simulation.taste_sums import sum_updates
from federation.simulation.training import TrainConfig
from recsys.evaluation.arm_names import REPLAY_ARMS
from recsys.model.histories import merge_histories
from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.log_profiles import closed_form
from recsys.replay import ReplayConfig
from tests.recsys.logs import tastes_log
from tests.recsys.replay.replay_logs import small_dataset

SMALL = Recipe(TrainConfig(dim=4, rounds=5))


def test_a_round_is_the_item_step_of_the_cohorts_updates_and_survives_being_arrays() -> None:
    log = tastes_log(0, n_users=40, n_items=30)
    now = int(log.time.max()) + 1
    trainer = ContinualTrainer(TrainConfig(dim=4, rounds=5, clips=Clips(1.0, 2.0, 1.0, 1.0)), seed=3)
    state = trainer.round(trainer.start(30), log, now, 0)
    state = trainer.round({name: array.copy() for name, array in state.items()}, log, now, 1)
    expected, config = StepState.start(30, 4, 3), trainer.config
    for number in range(2):
        table = ItemTable(expected.item_embeddings, np.zeros(30, np.float32), expected.mean_profile)
        solver = closed_form(table, config.profile)
        sums = sum_updates(solver, merge_histories(log, config.profile, now), np.arange(40), config.clips)
        step = config.step.step_at(number, 5)
        expected = item_step(expected, sums, config.step, alpha=config.profile.alpha, reg=config.profile.reg, step=step)
    np.testing.assert_array_equal(
        trainer.table(state, np.zeros(30, np.float32)).item_embeddings, expected.item_embeddings
    )


def test_a_round_trains_the_current_intent_too_where_the_recipe_has_one() -> None:
    log = tastes_log(2, n_users=40, n_items=30)
    now = int(log.time.max()) + 1
    config = replace(recipe("sessions").train, dim=4, rounds=5)
    assert config.intent is not None
    trainer = ContinualTrainer(config, seed=3)
    start = trainer.start(30)
    table = trainer.table(trainer.round(start, log, now, 0), np.zeros(30, np.float32))
    taste, output = StepState.start(30, 4, 3), StepState.start(30, 4 * len(config.profile.intent_pools), 4)
    sums = sum_intent_updates(
        taste.item_embeddings, output.item_embeddings, log, np.arange(40), config.profile, config.intent, config.clips
    )
    expected = item_step(
        output, sums, config.step, alpha=config.intent.alpha, reg=config.intent.reg, step=config.step.step
    )
    np.testing.assert_array_equal(table.rows_of(INTENT), expected.item_embeddings)
    alone = ContinualTrainer(replace(config, intent=None), seed=3)
    only = alone.table(alone.round(alone.start(30), log, now, 0), np.zeros(30, np.float32))
    np.testing.assert_array_equal(table.rows_of(TASTE), only.item_embeddings)


def test_daily_rounds_make_a_shelf_that_beats_a_table_nobody_trained_and_the_trend() -> None:
    dataset = small_dataset(5, n_users=60, n_items=40, n_events=2_500, days=40, undone=0.0)
    log = tastes_log(1, n_users=60, n_items=40, events=2_500 // 60 + 1, groups=4, noise=0.1)
    order = np.argsort(dataset.log["user_idx"].to_numpy(), kind="stable")
    users = dataset.log["user_idx"].to_numpy()[order]
    place = np.arange(len(users)) - np.searchsorted(users, users)
    items = log.item_idx[np.minimum(log.offsets[users] + place, log.offsets[users + 1] - 1)]
    tasted = replace(dataset, log=dataset.log.with_columns(item_idx=items))
    found = replay(
        tasted,
        ("personalized_no_repeat", "local", "global"),
        ReplayConfig(k=5, bootstrap=100, start_us=int(dataset.log["time"].to_physical().quantile(0.5) or 0)),
        settings=replace(SMALL, train=replace(SMALL.train, rounds=20, dim=8)),
    )
    new = found.cuts.filter(cut="history", bucket="new", metric="ndcg@5")
    value = dict(new.select("arm", "value").rows())
    assert value["personalized_no_repeat"] > 1.2 * max(value["local"], value["global"])
    assert found.rounds["cohort"].sum() > 0
    assert found.rounds["max_participations"].to_list() == sorted(found.rounds["max_participations"])


def test_every_named_arm_answers() -> None:
    dataset = small_dataset(6, n_events=120)
    found = replay(dataset, REPLAY_ARMS, ReplayConfig(k=3, bootstrap=100), settings=SMALL)
    assert found.arms == REPLAY_ARMS
    assert found.lists.filter(metric="diversity@3", arm="central")["value"].is_not_null().all()
    with pytest.raises(DataError, match="arm='magic'"):
        named_arm("magic", SMALL, 3, 0)


def test_a_private_training_is_refused() -> None:
    config = privately(recipe("purchases"), epsilon=5.0, delta=1e-6, n_devices=1000).train
    assert isinstance(config.privacy, PrivacyPlan)
    with pytest.raises(FederationError, match="privacy"):
        ContinualTrainer(config)


def test_the_mix_is_learned_from_what_came_before_the_start_and_replayed_from_there() -> None:
    dataset = small_dataset(5, n_events=300)
    log = dataset.interactions()
    start = int(np.quantile(log.time, 0.6))
    mixed = replace(SMALL, mix="purchases")
    config = ReplayConfig(k=3, bootstrap=100, start_us=start)
    found = replay(dataset, ["personalized", "mixed"], config, settings=mixed)
    assert found.arms == ("personalized", "mixed")
    assert found.events.filter(arm="mixed")["rank"].drop_nulls().len() > 0
    early = replace(dataset, log=dataset.log.filter(pl.col("time").to_physical() < start))
    ours, theirs = (mixed_arm(one, mixed, config).mix for one in (dataset, early))
    assert ours is not None
    assert theirs is not None
    assert ours.settings == theirs.settings  # nothing that came later was looked at
    with pytest.raises(DataError, match="needs a start"):
        replay(dataset, ["mixed"], replace(config, start_us=None), settings=mixed)
    with pytest.raises(DataError, match="the recipe has no mix"):
        replay(dataset, ["mixed"], config, settings=SMALL)
