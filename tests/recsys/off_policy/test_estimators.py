"""Each estimator by hand, against obp, and on a world whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.logged_feedback import LoggedFeedback, read_logged_feedback
from recsys.off_policy.estimate import Estimate, compare_policies, estimate_policy, rounds_for
from recsys.off_policy.estimators import clip_candidates, clipped, doubly_robust, ips, replay, snips, tuned_clip
from recsys.off_policy.overlap import OverlapLimits
from recsys.off_policy.policies import SlotPolicy
from recsys.off_policy.reward_model import SlotItemMeans, cross_fitted
from tests.benchmarks.off_policy import differences
from tests.recsys.off_policy.oracle_case import CASES
from tests.recsys.off_policy.world import KnownRewards, World

ANY = OverlapLimits(min_effective_rounds=0, min_rewarded=0, max_weight_share=1, mean_errors=np.inf)
GOLDEN = json.loads(Path(__file__).with_name("golden_obp.json").read_text())


def hand_log() -> LoggedFeedback:
    """Shown a, a, b, b with chances 0.5, 0.5, 0.25, 0.25 and rewards 1, 0, 1, 0."""
    return read_logged_feedback(
        pl.DataFrame({"item": list("aabb"), "reward": [1, 0, 1, 0], "propensity": [0.5, 0.5, 0.25, 0.25]})
    )


HAND = SlotPolicy("hand", np.array([[0.25, 0.75]]))  # weights 0.5, 0.5, 3, 3


def ratio(terms) -> float:
    return terms.numerator.sum() / terms.denominator.sum()


def test_by_hand():
    rounds = rounds_for(hand_log(), HAND)
    assert rounds.weights.tolist() == [0.5, 0.5, 3, 3]
    assert ratio(ips(rounds)) == (0.5 * 1 + 3 * 1) / 4
    assert ratio(snips(rounds)) == (0.5 * 1 + 3 * 1) / (0.5 + 0.5 + 3 + 3)
    cut = clipped(rounds, 2.0)
    assert ratio(cut) == (0.5 * 1 + 2 * 1) / 4
    assert cut.above is not None
    assert cut.above.mean() == 1 - (0.5 + 0.5 + 2 + 2) / 4


def test_doubly_robust_by_hand():
    """Two users, two folds: what is said of a user's rounds comes from the other user's."""
    frame = pl.DataFrame(
        {"user": list("xxyy"), "item": list("abab"), "reward": [1.0, 0, 1, 1], "propensity": [0.5] * 4}
    )
    log = read_logged_feedback(frame)
    rounds = rounds_for(log, HAND, reward_model=SlotItemMeans(strength=0))
    terms = doubly_robust(type(rounds)(**{**vars(rounds), "folds": 2}))
    # x by y's means (a 1, b 1): value 1; rounds: 1 + .5·(1 − 1) = 1, 1 + 1.5·(0 − 1) = −.5
    # y by x's means (a 1, b 0): value .25; rounds: .25 + .5·(1 − 1) = .25, .25 + 1.5·(1 − 0) = 1.75
    assert terms.numerator.tolist() == [1.0, -0.5, 0.25, 1.75]


def test_replay_by_hand():
    frame = pl.DataFrame({"item": list("abab"), "reward": [1.0, 0, 0, 1], "propensity": [0.5] * 4})
    log = read_logged_feedback(frame)
    always_b = SlotPolicy("b", np.array([[0.0, 1.0]]))
    assert ratio(replay(rounds_for(log, always_b))) == 0.5
    with pytest.raises(DataError, match=r"slot 'all' are 0.25..0.5: must all be the same.*ips and snips need no such"):
        replay(rounds_for(hand_log(), always_b))


@pytest.mark.parametrize("name", CASES)
def test_estimates_equal_those_of_obp(name):
    """Golden figures: sb-obp in its own environment, by `python -m tests.benchmarks.off_policy`."""
    assert GOLDEN["source"].startswith("sb-obp==")
    assert set(GOLDEN["figures"][name]) >= {"ips", "snips", "dr", "clipped_2", "clipped_tuned", "tuned_lambda"}
    assert differences(GOLDEN["figures"], [name])[name] < 1e-12


def test_all_but_clipped_are_unbiased_and_a_good_model_makes_dr_narrower_than_ips():
    world = World(base=0.1)
    policy = world.target(3.0)
    truth, models = world.truth(policy), {"good": KnownRewards(world), "bad": KnownRewards(world, 5.0)}
    found: dict[str, list[float]] = {}
    for seed in range(300):
        log = world.log(400, seed)
        rounds = rounds_for(log, policy)
        for name, make in (("ips", ips), ("snips", snips)):
            found.setdefault(name, []).append(ratio(make(rounds)))
        found.setdefault("clipped", []).append(ratio(clipped(rounds, 0.5)))
        for name, model in models.items():
            found.setdefault(name, []).append(ratio(doubly_robust(rounds_for(log, policy, reward_model=model))))
    mean = {name: np.mean(values) - truth for name, values in found.items()}
    error = {name: np.std(values) / np.sqrt(300) for name, values in found.items()}
    for name in ("ips", "snips", "good", "bad"):
        assert abs(mean[name]) < 3.5 * error[name], (name, mean[name], error[name])
    assert mean["clipped"] < -20 * error["clipped"]
    assert error["good"] < 0.97 * error["ips"] < 0.97 * error["bad"]


def test_a_clipped_interval_holds_the_truth_where_ips_would_be_refused():
    """A policy that the log almost never shows: the answer is wide, and right."""
    world = World(skill=-3.0, base=0.05, seed=3)
    policy = world.target(4.0)
    truth = world.truth(policy)
    held = 0
    for seed in range(60):
        one = estimate_policy(world.log(300, seed), policy, ["clipped"], limits=OverlapLimits(min_rewarded=1))[0]
        held += one.low <= truth <= one.high
        assert one.clip is not None
        assert one.bias_bound >= 0
    assert held >= 54


def test_the_tuned_bound_cuts_nothing_where_weights_are_even_and_something_where_they_are_not():
    reward = np.tile([0.0, 1.0], 500)
    assert tuned_clip(np.ones(1000), reward) == 1.0
    assert clip_candidates(np.array([0.2, 5.0])).tolist() == [1.0, 2.0, 4.0, 5.0]
    rng = np.random.default_rng(0)
    heavy = rng.pareto(1.1, 1000) + 0.05
    assert tuned_clip(heavy, reward) < heavy.max()


def test_intervals_are_over_users_not_rounds():
    """Copying every user's rounds ten times tells nothing new: the interval by users stays, that by rounds shrinks."""
    world = World(base=0.2)
    log, policy = world.log(400, 0), world.target()
    copied = LoggedFeedback(log.name, pl.concat([log.rounds] * 10), log.items, log.slots, log.by_user)
    alone = copied.rounds.with_columns(unit_idx=pl.int_range(pl.len(), dtype=pl.Int64))
    by_round = LoggedFeedback(log.name, alone, log.items, log.slots, by_user=False)
    for kind in ("bootstrap", "asymptotic"):
        width = [
            one.high - one.low
            for one in (estimate_policy(each, policy, ["snips"], interval=kind)[0] for each in (log, copied, by_round))
        ]
        assert width[1] == pytest.approx(width[0], rel=1e-9)
        assert width[2] == pytest.approx(width[0] / np.sqrt(10), rel=0.1)


def test_the_two_intervals_agree_where_there_is_plenty():
    world = World(base=0.2)
    log, policy = world.log(4000, 1), world.target()
    for boot, normal in zip(
        estimate_policy(log, policy), estimate_policy(log, policy, interval="asymptotic"), strict=True
    ):
        assert boot.value == normal.value
        assert boot.high - boot.low == pytest.approx(normal.high - normal.low, rel=0.1)


def test_a_policy_compared_with_itself_differs_by_nothing_and_a_better_one_is_found():
    world = World(base=0.1)
    log = world.log(3000, 2)
    good, same = world.target(3.0), world.target(3.0)
    null = compare_policies(log, good, same)
    assert (null.difference, null.low, null.high, null.p_value) == (0, 0, 0, 1.0)
    for estimator in ("ips", "snips", "dr"):
        found = compare_policies(log, good, SlotPolicy.uniform(log), estimator)
        assert found.low > 0
        assert found.users == 3000
        assert found.low < world.truth(good) - world.value.mean() < found.high
    with pytest.raises(DataError, match="two biases do not subtract"):
        compare_policies(log, good, None, "clipped")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10))
def test_scaling_rewards_scales_estimates_and_snips_stays_within_them(seed, factor):
    world = World(base=0.2)
    log, policy = world.log(600, seed), world.target()  # long enough to show every item
    scaled = LoggedFeedback(
        log.name, log.rounds.with_columns(pl.col("reward") * factor), log.items, log.slots, log.by_user
    )
    for make in (ips, snips, doubly_robust):
        assert ratio(make(rounds_for(scaled, policy))) == pytest.approx(factor * ratio(make(rounds_for(log, policy))))
    assert 0 <= ratio(snips(rounds_for(scaled, policy))) <= factor * (1 + 1e-12)


def test_the_logging_policy_itself_has_weights_of_one_and_its_own_mean():
    frame = pl.DataFrame({"item": ["a", "b", "a", "b"] * 50, "reward": [1, 0, 1, 1] * 50, "propensity": [0.5] * 200})
    log = read_logged_feedback(frame)
    found: list[Estimate] = estimate_policy(log, SlotPolicy.uniform(log), ["ips", "snips", "dr"])
    assert [one.value for one in found] == pytest.approx([0.75] * 3, abs=1e-3)


def test_no_round_is_predicted_by_a_model_that_saw_its_user():
    frame = pl.DataFrame(
        {
            "user": [str(one // 2) for one in range(40)],
            "item": ["a"] * 40,
            "reward": np.arange(40) // 2,
            "propensity": 1.0,
        }
    )
    log = read_logged_feedback(frame)
    seen: list[LoggedFeedback] = []

    class Remembers:
        def fit(self, part: LoggedFeedback) -> Remembers:
            seen.append(part)
            self.known = set(part.reward.tolist())
            return self

        def predict(self, part: LoggedFeedback) -> np.ndarray:
            assert not self.known & set(part.reward.tolist())
            return np.zeros((len(part), 1))

    class Makes:
        def fit(self, part: LoggedFeedback) -> Remembers:
            return Remembers().fit(part)

    predict = cross_fitted(Makes(), log, folds=4, seed=0)
    assert predict(slice(0, 40)).shape == (40, 1)
    assert [len(part) for part in seen] == [30] * 4
    with pytest.raises(DataError, match=r"folds=30: must be 2..20"):
        cross_fitted(Makes(), log, folds=30, seed=0)


def test_mistakes():
    log = hand_log()
    with pytest.raises(DataError, match="estimator='best': must be one of ips, snips, clipped, dr, replay"):
        estimate_policy(log, HAND, ["best"], limits=ANY)
    with pytest.raises(DataError, match="interval='exact': must be bootstrap or asymptotic"):
        estimate_policy(log, HAND, ["ips"], interval="exact", limits=ANY)
    with pytest.raises(DataError, match="clip=0: must be above 0"):
        clipped(rounds_for(log, HAND), 0)
    with pytest.raises(DataError, match="reward_bound=0: must be above 0"):
        rounds_for(log, HAND, reward_bound=0)
    with pytest.raises(DataError, match="clipping needs rewards of 0 or more"):
        clipped(
            rounds_for(LoggedFeedback("x", log.rounds.with_columns(reward=-1.0), log.items, log.slots, False), HAND)
        )
