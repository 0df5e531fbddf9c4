"""The mix is learned one step earlier: it never sees what it will be asked, nor a second table under a plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.errors import FederationError
from data.interactions import EventKind
from federation.lab.comparison import compare_models
from federation.lab.mixing import learn_mix, participations_of, shipped_mix
from federation.lab.questions import question
from federation.lab.recipes import MIX_PARTICIPATIONS, PAIR_PARTICIPATIONS, TABLE_PARTICIPATIONS, Recipe, privately
from federation.simulation.pair_sums import private_transitions
from federation.simulation.table_sums import sum_popularity
from federation.simulation.training import TrainConfig, train
from recsys.mix.mix_tables import build_tables, no_attributes, round_transitions, tables_from
from recsys.mix.mixed_arm import Mixed
from recsys.mix.priors import CAUTIOUS
from recsys.model.profile_config import ProfileConfig
from recsys.model.transitions import no_transitions
from recsys.model.trend import trend_of
from tests.recsys.logs import tastes_log

QUICK = Recipe(TrainConfig(dim=6, rounds=6, cohort_size=60, measure_every=0), ProfileConfig(), "purchases")


def bought(seed: int, **shape):
    log = tastes_log(seed, **shape)
    return replace(log, kind=np.full(log.n_events, EventKind.PURCHASE, dtype=np.uint8))


def test_the_weights_do_not_depend_on_what_comes_after_the_split():
    log = bought(0)
    asked = question(log, "temporal")
    ours = learn_mix(asked, QUICK, "purchases", seed=0)
    rng = np.random.default_rng(1)
    shuffled = np.where(log.time >= asked.split.at, rng.integers(0, log.n_items, log.n_events), log.item_idx)
    other = question(replace(log, item_idx=shuffled.astype(np.int32)), "temporal", asked.split.at)
    theirs = learn_mix(other, QUICK, "purchases", seed=0)
    assert ours.settings == theirs.settings
    assert ours.devices >= 100
    np.testing.assert_array_equal(ours.tables.trends, theirs.tables.trends)


@pytest.mark.parametrize("protocol", ["temporal", "sessions", "leave-last-out"])
def test_an_earlier_question_is_of_the_same_kind_and_ends_before_the_later_one(protocol):
    log = bought(2, n_users=400)
    if protocol == "sessions":  # everybody is seen for a day
        user = log.user_idx.astype(np.int64)
        log = replace(log, time=user * 10**10 + np.arange(log.n_events) - np.repeat(log.offsets[:-1], log.counts))
    asked = question(log, protocol)
    before = asked.earlier()
    assert (before.protocol, before.given, before.target) == (asked.protocol, asked.given, asked.target)
    assert before.split.train.n_events + before.split.test.n_events <= asked.split.train.n_events
    if asked.split.at is not None:
        assert before.split.test.time.max() < asked.split.at


def test_a_short_log_and_a_small_fleet_get_cautious_weights():
    tiny = bought(3, n_users=8, events=6)
    mix = learn_mix(question(tiny, "temporal"), QUICK, "purchases", seed=0)
    assert mix.devices < 100
    assert set(mix.served.values()) <= {CAUTIOUS, "prior"}
    many_rounds = replace(QUICK, train=replace(QUICK.train, rounds=1_000, max_participations=1))
    assert set(learn_mix(question(tiny, "temporal"), many_rounds, "purchases", seed=0).served.values()) == {CAUTIOUS}


def test_under_a_plan_no_second_table_is_trained_no_pair_is_counted_and_the_sums_are_paid_for():
    log = bought(4)
    private = privately(QUICK, epsilon=8.0, delta=1e-6, n_devices=log.n_users)
    assert private.train.privacy is not None
    asked = question(log, "temporal")
    with pytest.raises(FederationError, match="needs the table"):
        learn_mix(asked, private, "purchases", seed=0)
    training = train(asked.split.train, private.train, seed=0, now=asked.now)
    mix = learn_mix(asked, private, "purchases", training.table, seed=0)
    assert mix.tables.transitions.nnz == 0
    released = sum_popularity(asked.split.train, asked.now, private.train.privacy.noise_multiplier, seed=0)
    assert training.table.trend.tolist() == trend_of(released.decayed(private.train.trend_half_life)).tolist()
    exact = build_tables(asked.split.train, asked.now)
    assert (mix.tables.trends != exact.trends).any()  # of the same release, not of the log
    known = tables_from(released.decayed, no_transitions(log.n_items), asked.now, no_attributes(log.n_items))
    np.testing.assert_array_equal(mix.tables.trends, known.trends)
    asked_most = int(training.participations.max())
    assert participations_of(training, mix) == asked_most + TABLE_PARTICIPATIONS + MIX_PARTICIPATIONS
    assert participations_of(training, None) == asked_most + TABLE_PARTICIPATIONS
    assert private.train.privacy.epsilon_after(participations_of(training, mix)) <= 8.0
    in_vain = replace(mix, devices=0, served=dict.fromkeys(mix.served, CAUTIOUS))  # asked, and too few answered
    assert participations_of(training, in_vain) == participations_of(training, mix)


def test_a_recipe_without_a_mix_is_served_by_the_plain_score():
    log = bought(5)
    plain = replace(QUICK, mix=None)
    assert shipped_mix(log, int(log.time.max()) + 1, plain, seed=0) is None
    compared = compare_models(question(log, "temporal"), plain, seed=0, models=["personalized"], bootstrap=100)
    assert compared.mix is None
    assert compared.to_dict()["mix"] is None


def test_personalized_is_the_mix_and_its_part_new_has_weights_of_its_own():
    log = bought(6)
    asked = question(log, "temporal")
    compared = compare_models(asked, QUICK, seed=0, models=["personalized"], bootstrap=100)
    assert compared.mix is not None
    assert compared.to_dict()["mix"]["served"] == dict(compared.mix.served)
    from recsys.mix.pools import Signals

    arm = Mixed("x", Signals(compared.training.table, QUICK.serve, compared.mix.tables), compared.mix)
    lists = arm.scores_by_list(asked.histories, np.arange(5), asked.now)
    assert not np.array_equal(lists["all"], lists["new"])


def test_a_large_fleet_pays_for_pairs_and_gets_a_table_of_what_came_before_the_examples(monkeypatch):
    """Large is 300 here. The table is that of the sum over events before the earlier moment, and no other."""
    for module in ("recipes", "mixing"):
        monkeypatch.setattr(f"federation.lab.{module}.PAIR_DEVICES", 300)
    log = bought(5, n_users=400)
    private = privately(QUICK, epsilon=200.0, delta=1e-6, n_devices=log.n_users)
    assert private.train.privacy is not None
    asked = question(log, "temporal")
    training = train(asked.split.train, private.train, seed=0, now=asked.now)
    mix = learn_mix(asked, private, "purchases", training.table, seed=0)
    z = private.train.privacy.noise_multiplier
    released = sum_popularity(asked.split.train, asked.now, z, seed=0)
    known = asked.split.train.where(asked.split.train.time < released.moment)
    popular = released.decayed(np.inf, earlier=True)
    alone = round_transitions(private_transitions(known, training.table, popular, z, seed=0))
    assert mix.tables.transitions.nnz > 0
    assert (mix.tables.transitions != alone).nnz == 0
    spent = participations_of(training, mix)
    assert spent == int(training.participations.max()) + TABLE_PARTICIPATIONS + MIX_PARTICIPATIONS + PAIR_PARTICIPATIONS
    assert private.train.privacy.epsilon_after(spent) <= 200.0
