import numpy as np
import polars as pl
import pytest

from data.errors import DataError
from data.logged_feedback import read_logged_feedback
from recsys.off_policy.estimate import estimate_policy
from recsys.off_policy.log_checks import check_log, propensity_gaps
from recsys.off_policy.policies import SlotPolicy
from recsys.off_policy.policy_report import evaluate_policy
from tests.recsys.off_policy.world import World


def a_log(item, propensity, **columns):
    n = len(item)
    rng = np.random.default_rng(5)
    frame = {
        "item": [f"i{one}" for one in item],
        "propensity": propensity,
        "reward": (rng.random(n) < 0.1).astype(float),
    }
    return read_logged_feedback(pl.DataFrame(frame | columns), name="log")


def test_a_log_of_a_rule_is_refused_however_its_propensities_are_written():
    rng = np.random.default_rng(1)
    context, user = rng.integers(0, 10, 5_000), rng.integers(0, 800, 5_000)
    sticky = a_log(user % 10, np.full(5_000, 0.1), user=user.astype(str))
    assert check_log(sticky) == ()  # drawn once for each user, as far as a log can tell
    for log, why in (
        (a_log(context, np.ones(5_000), context=context), "every propensity is 1"),
        (a_log(context, np.full(5_000, 0.1), slot=[f"s{one}" for one in context]), "each slot shows one item alone"),
        (a_log(context, np.full(5_000, 0.1), context=context), "all rounds of one context show one item"),
    ):
        for name in ("ips", "snips", "clipped", "dr"):
            with pytest.raises(DataError, match=f"no exploration: {why}"):
                estimate_policy(log, SlotPolicy.uniform(log), [name], resamples=100)
        with pytest.raises(DataError, match=f"no exploration: {why}"):
            evaluate_policy(log, SlotPolicy.uniform(log), resamples=100)


def test_propensities_that_contradict_the_shares_are_refused_by_item():
    """.1 written for ten items that were shown in 30 % to 2 % of rounds: the mean weight of uniform is exactly 1."""
    shares = np.array([0.30, 0.20, 0.14, 0.10, 0.08, 0.06, 0.05, 0.03, 0.02, 0.02])
    item = np.random.default_rng(2).choice(10, 20_000, p=shares)
    log = a_log(item, np.full(20_000, 0.1))
    gaps = {gap.item: gap for gap in propensity_gaps(log)}
    assert gaps["i0"].errors > 5
    assert gaps["i9"].errors < -5
    assert "i3" not in gaps
    with pytest.raises(DataError, match=r"propensity: contradicts what log shows: item 'i.' of slot 'all' shown in "):
        evaluate_policy(log, SlotPolicy.uniform(log), resamples=100)
    right = a_log(item, shares[item])
    assert evaluate_policy(right, SlotPolicy.uniform(right), resamples=100).warnings == ()


def test_an_item_that_was_out_of_stock_is_a_warning_alone():
    rng = np.random.default_rng(3)
    stocked = rng.random(20_000) < 0.5
    item = np.where(stocked, rng.integers(0, 5, 20_000), rng.integers(0, 4, 20_000))
    log = a_log(item, np.where(stocked, 0.2, 0.25))
    (warning,) = check_log(log)
    assert "item 'i4' of slot 'all' shown in " in warning
    assert "i3" not in warning


def test_logs_with_right_propensities_pass():
    """Contexts, rare items and users of many rounds: 60 logs, none refused and none warned of."""
    for seed in range(60):
        world = World(n_items=8, skill=2.0, seed=seed)
        assert check_log(world.log(2_000, seed, per_user=1 + seed % 3)) == ()
