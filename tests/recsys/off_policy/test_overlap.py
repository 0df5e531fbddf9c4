"""A log that says too little about a policy is refused, with figures and what to do."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from data.errors import DataError
from data.logged_feedback import LoggedFeedback, open_logged_feedback, read_logged_feedback
from recsys.off_policy.estimate import estimate_policy
from recsys.off_policy.overlap import OverlapLimits, check_overlap, measure_overlap
from recsys.off_policy.policies import SlotPolicy
from recsys.off_policy.policy_report import evaluate_policy
from tests.recsys.off_policy.world import ContextPolicy, World


def test_figures_by_hand():
    found = measure_overlap(np.array([0, 1, 1, 2.0]), np.array([1, 1, 0, 1.0]))
    assert found.effective_rounds == 16 / 6
    assert found.effective_rewards == 9 / 5
    assert (found.rounds, found.matched, found.max_weight, found.max_weight_share) == (4, 0.75, 2, 0.5)
    assert (found.mean_weight, found.mean_weight_error) == (1, pytest.approx(np.sqrt(0.5) / 2))
    by_user = measure_overlap(np.array([0, 0, 2, 2.0]), np.ones(4), np.array([0, 0, 1, 1]))
    assert by_user.mean_weight_error == pytest.approx(np.sqrt(2**2 + 2**2) / 4)


def test_even_weights_pass_and_a_single_heavy_round_does_not():
    check_overlap(measure_overlap(np.ones(200), np.ones(200)), "same")
    heavy = np.append(np.full(5000, 0.9), 500.0)
    with pytest.raises(
        DataError, match=r"overlap of far: .*effective rounds of 5,001, largest weight 500.*log with more"
    ):
        check_overlap(measure_overlap(heavy, heavy), "far")
    relaxed = OverlapLimits(min_effective_rounds=10)
    with pytest.raises(DataError, match=r"one round of 5,001 carries 10% of all weight"):
        check_overlap(measure_overlap(heavy, heavy), "far", relaxed)


def test_propensities_that_are_not_what_they_were_are_found():
    """The mean weight is 1 where propensities are right and everything could have been shown."""
    world = World(base=0.1)
    log, policy = world.log(3000, 0), world.target()
    estimate_policy(log, policy)
    for factor, why in (
        (0.8, "propensities are smaller than|contradicts what log shows"),
        (1.25, "propensities are too large"),
    ):
        wrong = log.rounds.with_columns((pl.col("propensity") * factor).clip(upper_bound=1.0))
        with pytest.raises(DataError, match=why):
            estimate_policy(LoggedFeedback("log", wrong, log.items, log.slots, log.by_user), policy)


def test_items_that_a_log_could_not_have_shown_are_found():
    world = World(base=0.1)
    log, policy = world.log(3000, 0), world.target(0.0)
    never = world.logging[log.rounds["context"].to_numpy(), 0]
    left = log.rounds.with_columns(pl.col("propensity") / (1 - never))
    shown = pl.col("item_idx") != log.items.ids.to_list().index("i0")
    without = LoggedFeedback("log", left.filter(shown), log.items, log.slots, log.by_user)
    with pytest.raises(DataError, match="the policy shows items that this log could not have shown"):
        estimate_policy(without, policy)


def test_an_estimate_that_rests_on_no_reward_is_refused_instead_of_given_an_interval_without_width():
    frame = pl.DataFrame({"item": ["a", "b"] * 500, "reward": [0.0] * 1000, "propensity": [0.5] * 1000})
    log = read_logged_feedback(frame)
    with pytest.raises(DataError, match="ips: rests on 0 rounds with a reward, must be at least 10"):
        estimate_policy(log, SlotPolicy.uniform(log))


def test_the_open_bandit_sample_estimates_one_policy_refuses_the_other_and_ranks_none():
    log = open_logged_feedback("sample:open-bandit")
    random, bts = log.of_policy("random"), log.of_policy("bts")
    report = evaluate_policy(random, SlotPolicy.frequencies(bts, "bts"), own_log=bts, resamples=200)
    assert report.on_policy is not None
    truth = report.on_policy.value
    assert truth == pytest.approx(157 / 30_000)
    assert all(one.low <= truth <= one.high for one in report.estimates)
    assert report.verdict.startswith("Too few rewards to say which is better: 54 effective ones of 130")
    assert report.to_frame().height == 6
    with pytest.raises(
        DataError, match=r"overlap of uniform: 5.5 effective rounds of 30,000, largest weight 2.174e\+04"
    ):
        evaluate_policy(bts, SlotPolicy.uniform(random))
    only = evaluate_policy(bts, SlotPolicy.uniform(random), ["clipped"], resamples=200)
    assert only.estimates[0].low < random.reward.mean() < only.estimates[0].high
    assert only.verdict.startswith("Only clipped estimates")


def test_a_verdict_says_better_only_with_an_interval_above_nothing():
    world = World(base=0.1)
    log = world.log(4000, 0)
    assert "would have earned more than what was live (+" in evaluate_policy(log, world.target(3.0)).verdict
    assert "cannot tell" in evaluate_policy(log, ContextPolicy("same", world.logging)).verdict
    assert "would have earned less" in evaluate_policy(log, world.target(-1.0)).verdict
